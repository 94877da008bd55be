"""Users see and claim what is theirs, by every key and every way; the service and its workers see all."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from blocks.queue.errors import InvalidTask, NotAllowed, UnknownDependency, UnknownTask
from blocks.queue.model import Status, TaskFilter
from blocks.queue.supabase import SupabaseQueue
from blocks.queue.supabase_fallback import open_supabase
from blocks.supabase.access import SupabaseAccess
from deployments.local.stack import LocalSupabase
from tests.queue.acts import claimed_ids, complete, enqueue, fresh_id, hold, spec
from tests.queue.callers import CALLERS, WAYS, User, token_of
from tests.queue.sql import TestDatabase

pytestmark = pytest.mark.stack


@pytest.fixture
def ann(supabase: LocalSupabase, database: TestDatabase) -> User:
    return User(supabase, database)


@pytest.fixture
def bob(supabase: LocalSupabase, database: TestDatabase) -> User:
    return User(supabase, database)


@pytest.fixture(params=CALLERS)
def anns(request: pytest.FixtureRequest, ann: User) -> SupabaseQueue:
    return ann.queue(request.param)


@pytest.fixture
def bobs(bob: User) -> SupabaseQueue:
    return bob.queue("session over rpc")


@pytest.fixture(params=["secret key", "service_role key", "worker token"])
def service(request: pytest.FixtureRequest, supabase: LocalSupabase, database: TestDatabase) -> SupabaseQueue:
    keys = {"secret key": supabase.secret_key, "service_role key": supabase.service_role_key}
    key = keys.get(request.param) or token_of(database, None)
    return open_supabase(SupabaseAccess(supabase.url, key))


def test_a_user_without_tasks_claims_nothing(anns: SupabaseQueue) -> None:
    assert anns.claim("gpu-1") == []


def test_a_user_claims_a_task_of_the_user(anns: SupabaseQueue, ann: User) -> None:
    task_id = enqueue(anns)
    (claim,) = anns.claim("gpu-1")
    assert (claim.task.id, claim.task.user_id, claim.task.project_id) == (task_id, ann.id, ann.project)


def test_a_user_claims_no_task_of_another_user(anns: SupabaseQueue, bobs: SupabaseQueue) -> None:
    foreign = enqueue(bobs)
    assert anns.claim("gpu-1") == []
    assert anns.claim("gpu-1", task_ids=[foreign]) == []
    assert claimed_ids(bobs.claim("gpu-1")) == [foreign]


def test_the_service_claims_the_oldest_of_all_users(
    service: SupabaseQueue, anns: SupabaseQueue, bobs: SupabaseQueue
) -> None:
    wanted = [enqueue(bobs), enqueue(anns), enqueue(bobs)]
    assert claimed_ids(service.claim("gpu-1", limit=9)) == wanted


def test_two_workers_of_a_user_share_no_task(anns: SupabaseQueue, bobs: SupabaseQueue) -> None:
    wanted = {enqueue(anns) for _ in range(8)}
    enqueue(bobs)
    with ThreadPoolExecutor(2) as pool:
        taken = list(pool.map(lambda worker: claimed_ids(anns.claim(worker, limit=4)), ["gpu-1", "gpu-2"]))
    assert sorted(taken[0] + taken[1]) == sorted(wanted)


def test_everybody_names_workers_for_himself(service: SupabaseQueue, anns: SupabaseQueue, bobs: SupabaseQueue) -> None:
    anns.note_worker("gpu-1", "motion:flow", {"hits": 1})
    bobs.note_worker("gpu-1", "wan:small", {})
    service.note_worker("gpu-1", None, {"gpu": "the operator's"})
    assert [(each.current_model, each.metadata) for each in anns.workers()] == [("motion:flow", {"hits": 1})]
    assert [each.current_model for each in bobs.workers()] == ["wan:small"]
    assert {each.current_model for each in service.workers()} == {"motion:flow", "wan:small", None}


def test_a_claim_registers_its_worker_for_who_claims(
    service: SupabaseQueue, anns: SupabaseQueue, bobs: SupabaseQueue
) -> None:
    for queue in (anns, bobs, service):
        enqueue(anns)
        enqueue(bobs)
        queue.claim("gpu-1")
    assert [len(queue.workers()) for queue in (anns, bobs, service)] == [1, 1, 3]


FOREIGN: dict[str, Callable[[SupabaseQueue, str], object]] = {
    "get": lambda queue, task_id: queue.get(task_id),
    "predecessors": lambda queue, task_id: queue.predecessors(task_id),
    "cancel": lambda queue, task_id: queue.cancel(task_id),
    "retry": lambda queue, task_id: queue.retry(task_id),
    "release": lambda queue, task_id: queue.release(task_id, fresh_id()),
    "complete": lambda queue, task_id: queue.complete(task_id, fresh_id(), output_location="x"),
    "fail": lambda queue, task_id: queue.fail(task_id, fresh_id(), "x", retry=False),
    "renew": lambda queue, task_id: queue.renew(task_id, fresh_id()),
    "start": lambda queue, task_id: queue.start(task_id, 1, "gpu-1"),
    "wait": lambda queue, task_id: queue.wait(task_id, fresh_id()),
    "dispatched": lambda queue, task_id: queue.dispatched(task_id, fresh_id(), fresh_id()),
}


@pytest.mark.parametrize("verb", FOREIGN)
def test_a_foreign_task_is_an_unknown_task(anns: SupabaseQueue, bobs: SupabaseQueue, verb: str) -> None:
    foreign = enqueue(bobs)
    bobs.claim("gpu-1")
    with pytest.raises(UnknownTask):
        FOREIGN[verb](anns, foreign)
    assert bobs.get(foreign).status is Status.IN_PROGRESS


def test_a_stolen_claim_token_is_worth_nothing_to_another_user(anns: SupabaseQueue, bobs: SupabaseQueue) -> None:
    foreign = enqueue(bobs)
    token = hold(bobs, foreign).token
    with pytest.raises(UnknownTask):
        anns.complete(foreign, token, output_location="mine.mp4")


def test_readers_show_a_user_nothing_of_others(anns: SupabaseQueue, bobs: SupabaseQueue, bob: User) -> None:
    parent, own = enqueue(bobs), enqueue(anns)
    enqueue(bobs, parent_id=parent)
    segment = {"orchestrator_run_id": "run", "segment_index": 0}
    complete(bobs, enqueue(bobs, task_type="travel_segment", params=segment))
    assert [task.id for task in anns.list()] == [own]
    assert anns.list(TaskFilter(project_id=bob.project)) == []
    assert anns.children(parent) == anns.completed_segments(run_id="run") == []
    assert (anns.counts().ready, anns.counts().complete, dict(anns.ready_by_type())) == (1, 0, {"single_image": 1})
    assert len(bobs.completed_segments(run_id="run")) == 1


def test_a_user_enqueues_into_no_foreign_project(anns: SupabaseQueue, bob: User) -> None:
    with pytest.raises(InvalidTask, match="project_id"):
        anns.enqueue(spec(project_id=bob.project))


def test_a_user_hangs_no_task_on_a_foreign_one(anns: SupabaseQueue, bobs: SupabaseQueue) -> None:
    foreign = enqueue(bobs)
    for link in ({"depends_on": (foreign,)}, {"parent_id": foreign}):
        with pytest.raises(UnknownDependency):
            enqueue(anns, **link)


def test_only_the_service_rescues_and_prunes(anns: SupabaseQueue) -> None:
    with pytest.raises(NotAllowed):
        anns.rescue()
    with pytest.raises(NotAllowed):
        anns.prune(timedelta(0))


def test_a_token_alone_does_the_whole_work_of_a_worker(ann: User, supabase: LocalSupabase) -> None:
    queue = ann.queue("token")
    parent, segment, stitch = fresh_id(), fresh_id(), fresh_id()
    queue.enqueue(spec(id=parent, task_type="travel_orchestrator"))
    claim = hold(queue, parent, "control-1")
    queue.enqueue(
        spec(id=segment, parent_id=parent, task_type="travel_segment", params={"segment_index": 0}),
        spec(id=stitch, parent_id=parent, task_type="travel_stitch", depends_on=(segment,)),
    )
    queue.wait(parent, claim.token)
    (claim,) = queue.claim("gpu-1", task_types=["travel_segment"])
    queue.dispatched(segment, claim.token, fresh_id())
    queue.release(segment, claim.token)
    claim = hold(queue, segment)
    assert not queue.renew(segment, claim.token, tick=1, max_ticks=4).cancelled
    queue.fail(segment, claim.token, "out of memory", retry=False)
    assert queue.retry(segment).task.status is Status.QUEUED
    assert queue.complete(segment, hold(queue, segment).token, output_location="0.mp4").ready == (stitch,)
    assert queue.predecessors(stitch)[0].output_location == "0.mp4"
    assert queue.completed_segments(run_id=parent)[0].task_id == segment
    before = SupabaseQueue(WAYS["edge"](ann.token()), look_every=0).changed()
    complete(queue, stitch, "film.mp4")
    assert SupabaseQueue(WAYS["edge"](ann.token()), look_every=0).changed() != before
    assert [child.id for child in queue.children(parent)] == [segment, stitch]
    assert (queue.get(parent).status, queue.get(parent).output_location) == (Status.COMPLETE, "film.mp4")
    assert queue.counts().complete == len(queue.list(TaskFilter(status=[Status.COMPLETE]))) == 3
    assert queue.cancel(enqueue(queue)).task.status is Status.CANCELLED
    assert sum(queue.ready_by_type().values()) == 0
