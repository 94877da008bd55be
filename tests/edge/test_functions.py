"""Each function and its answers. Who may call is in test_callers.py, what is refused in test_bad_input.py."""

from __future__ import annotations

import uuid

import pytest

from tasks import kinds
from tests.edge.callers import World

# create-task


def test_the_same_task_again_is_not_created_again(world: World) -> None:
    task = {
        "task_id": str(uuid.uuid4()),
        "task_type": "single_image",
        "params": {"a": 1},
        "project_id": world.a.project,
    }
    first, again = world.a.session.ok("create-task", task), world.a.session.ok("create-task", task)
    assert first["task_id"] == again["task_id"] == task["task_id"]
    assert (first["status"], first["created"], again["created"]) == ("Task queued", True, False)
    other = world.a.session.post("create-task", task | {"params": {"a": 2}})
    assert (other.status_code, other.json()["code"]) == (409, "task_conflict")


def test_dependant_on_takes_one_id_or_a_list(world: World) -> None:
    first, second = world.a.session.enqueue(world.a.project), world.a.session.enqueue(world.a.project)
    one = world.a.session.get(world.a.session.enqueue(world.a.project, dependant_on=first))
    both = world.a.session.get(world.a.session.enqueue(world.a.project, dependant_on=[first, second]))
    assert (one["dependant_on"], one["depends_on"]) == (first, [first])
    assert (both["dependant_on"], both["depends_on"]) == (None, [first, second])


def test_a_batch_is_stored_whole_or_not_at_all(world: World) -> None:
    ids = [str(uuid.uuid4()) for _ in range(2)]
    task = {"task_type": "single_image", "params": {}, "project_id": world.a.project}
    chain = [task | {"id": ids[1], "depends_on": [ids[0]]}, task | {"id": ids[0]}]
    stored = world.a.session.ok("create-task", {"tasks": chain})["tasks"]
    assert [(entry["task"]["id"], entry["created"]) for entry in stored] == [(ids[1], True), (ids[0], True)]
    broken = [task | {"id": str(uuid.uuid4())}, task | {"priority": "high"}]
    assert world.a.session.post("create-task", {"tasks": broken}).status_code == 422
    assert world.a.session.ok("task-counts")["ready"] == 1


def test_params_arrive_as_they_were_sent(world: World) -> None:
    text = '{"seed":9007199254740993,"prompt":"Meer, 海, 🌊","list":[1,2.5,null,true,{"a":{}}]}'
    body = f'{{"task_type":"single_image","project_id":"{world.a.project}","params":{text}}}'
    assert world.a.session.post("create-task", body.encode()).status_code == 200
    claimed = world.a.session.ok("claim-next-task")
    assert claimed["params"]["seed"] == 9007199254740993
    assert claimed["params"]["list"] == [1, 2.5, None, True, {"a": {}}]
    assert claimed["params"]["prompt"] == "Meer, 海, 🌊"


# claim-next-task


def test_an_empty_queue_answers_204_without_a_body(world: World) -> None:
    answer = world.a.session.post("claim-next-task")
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_claim_brings_the_task_and_the_right_to_it(world: World) -> None:
    task_id = world.a.session.enqueue(world.a.project)
    claimed = world.a.session.ok("claim-next-task", {"worker_id": "gpu-1"})
    assert {key: claimed[key] for key in ("task_id", "task_type", "project_id", "params", "attempt")} == {
        "task_id": task_id,
        "task_type": "single_image",
        "project_id": world.a.project,
        "params": {"prompt": "the sea"},
        "attempt": 1,
    }
    assert uuid.UUID(claimed["claim_token"])
    assert claimed["lease_expires_at"] > claimed["task"]["created_at"]
    assert claimed["task"]["worker_id"] == "gpu-1"


def test_a_worker_without_a_name_is_named_after_its_key_and_registered(world: World) -> None:
    names = set()
    for _ in range(2):
        names.add(world.worker.claim(world.a.session.enqueue(world.a.project))["task"]["worker_id"])
    (name,) = names
    assert name.startswith("edge_")
    assert len(name) == 21
    assert world.database.run("select id from public.workers") == [(name,)]


def test_a_lost_answer_does_not_lose_a_task(world: World) -> None:
    for _ in range(2):
        world.a.session.enqueue(world.a.project)
    asked = {"worker_id": "w", "request_id": "r-1", "lease": 30}
    first, again = world.a.session.ok("claim-next-task", asked), world.a.session.ok("claim-next-task", asked)
    assert (first["task_id"], first["claim_token"]) == (again["task_id"], again["claim_token"])
    assert world.a.session.ok("task-counts")["in_progress"] == 1


def test_several_are_claimed_at_once(world: World) -> None:
    ids = [world.a.session.enqueue(world.a.project) for _ in range(3)]
    claimed = world.a.session.ok("claim-next-task", {"limit": 2, "lease": 30})
    assert [claim["task"]["id"] for claim in claimed["claims"]] == ids[:2]
    assert claimed["task_id"] == ids[0]
    assert claimed["task"]["generation_started_at"] is None


def test_task_types_narrow_a_claim(world: World) -> None:
    world.a.session.enqueue(world.a.project)
    stitch = world.a.session.enqueue(world.a.project, task_type="travel_stitch")
    assert world.a.session.post("claim-next-task", {"task_types": []}).status_code == 204
    assert world.a.session.ok("claim-next-task", {"task_types": ["travel_stitch"]})["task_id"] == stitch


@pytest.mark.parametrize("pool", kinds.POOLS)
def test_a_run_type_is_a_pool(world: World, pool: str) -> None:
    for kind in kinds.KINDS:
        for name in kind.names:
            world.a.session.enqueue(world.a.project, task_type=name)
    counts = world.a.session.ok("task-counts", {"run_type": pool})
    assert set(counts["ready_by_type"]) == set(kinds.types_of(pool))
    assert counts["ready"] == len(kinds.types_of(pool))
    claimed = world.a.session.ok("claim-next-task", {"run_type": pool, "limit": 100})
    claims = claimed["claims"]
    assert {claim["task"]["task_type"] for claim in claims} == set(kinds.types_of(pool))


# complete-task and update-task-status (with bytes: test_outputs.py)


def test_completing_twice_answers_the_same(world: World) -> None:
    held = world.a.session.claim(world.a.session.enqueue(world.a.project))
    done = {"task_id": held["task_id"], "claim_token": held["claim_token"], "output_location": "https://e.com/a.mp4"}
    first, again = world.a.session.ok("complete-task", done), world.a.session.ok("complete-task", done)
    assert first["success"] is True
    assert first["public_url"] == again["public_url"] == "https://e.com/a.mp4"
    assert first["outcome"]["task"]["status"] == again["outcome"]["task"]["status"] == "Complete"


def test_what_a_completion_makes_ready_is_told(world: World) -> None:
    first = world.a.session.enqueue(world.a.project)
    second = world.a.session.enqueue(world.a.project, depends_on=[first])
    held = world.a.session.claim(first)
    done = {"task_id": first, "claim_token": held["claim_token"], "result": {"frames": 81}}
    answer = world.a.session.ok("complete-task", done)
    assert answer["outcome"]["ready"] == [second]
    assert answer["outcome"]["task"]["result"] == {"frames": 81}
    assert answer["public_url"] is None


def test_a_stale_token_completes_nothing(world: World) -> None:
    held = world.a.session.claim(world.a.session.enqueue(world.a.project))
    stale = {"task_id": held["task_id"], "claim_token": str(uuid.uuid4()), "output_location": "https://e.com/a.mp4"}
    answer = world.a.session.post("complete-task", stale)
    assert (answer.status_code, answer.json()["code"]) == (409, "stale_claim")
    assert world.a.session.get(held["task_id"])["status"] == "In Progress"


def test_failing_with_retry_puts_the_task_back(world: World) -> None:
    held = world.a.session.claim(world.a.session.enqueue(world.a.project))
    failed = {"status": "Failed", "error": "no room", "retry": True, "delay": 0}
    fence = {"task_id": held["task_id"], "claim_token": held["claim_token"]}
    answer = world.a.session.ok("update-task-status", fence | failed)
    assert answer["outcome"]["task"]["status"] == "Queued"
    assert world.a.session.claim(held["task_id"])["attempt"] == 2


def test_the_holder_may_hand_a_task_back(world: World) -> None:
    held = world.a.session.claim(world.a.session.enqueue(world.a.project))
    fence = {"task_id": held["task_id"], "claim_token": held["claim_token"]}
    task = world.a.session.ok("update-task-status", fence | {"status": "Queued"})["outcome"]["task"]
    assert (task["status"], task["attempts"]) == ("Queued", 0)


def test_the_owner_may_cancel_and_the_holder_is_told(world: World) -> None:
    held = world.worker.claim(world.a.session.enqueue(world.a.project))
    world.a.session.ok("update-task-status", {"task_id": held["task_id"], "status": "Cancelled"})
    fence = {"task_id": held["task_id"], "claim_token": held["claim_token"]}
    assert world.worker.ok("heartbeat", fence) == {"lease_expires_at": None, "cancelled": True}
    progress = world.worker.post("update-task-status", fence | {"status": "In Progress"})
    assert (progress.status_code, progress.json()["code"]) == (409, "task_ended")


# readers


def test_the_output_of_a_predecessor_is_null_until_it_is_complete(world: World) -> None:
    first = world.a.session.enqueue(world.a.project)
    second = world.a.session.enqueue(world.a.project, depends_on=[first])
    nothing = {"predecessor_id": None, "output_location": None, "status": None, "predecessors": []}
    assert world.a.session.ok("get-predecessor-output", {"task_id": first}) == nothing
    held = world.a.session.claim(first)
    fence = {"task_id": first, "claim_token": held["claim_token"]}
    world.a.session.ok("update-task-status", fence | {"status": "In Progress", "output_location": "step 3 of 20"})
    waiting = world.a.session.ok("get-predecessor-output", {"task_id": second})
    assert (waiting["predecessor_id"], waiting["output_location"], waiting["status"]) == (first, None, "In Progress")
    world.a.session.ok("complete-task", fence | {"output_location": "https://e.com/a.mp4"})
    done = world.a.session.ok("get-predecessor-output", {"task_id": second})
    assert (done["output_location"], done["status"]) == ("https://e.com/a.mp4", "Complete")
    assert done["predecessors"] == [{"id": first, "status": "Complete", "output_location": "https://e.com/a.mp4"}]


def test_counts_are_those_of_the_caller_and_the_services_of_all(world: World) -> None:
    world.a.session.enqueue(world.a.project, dependant_on=world.a.session.enqueue(world.a.project))
    world.b.session.enqueue(world.b.project)
    counts = world.a.session.ok("task-counts")
    assert (counts["ready"], counts["blocked"], counts["ready_by_type"]) == (1, 1, {"single_image": 1})
    assert world.service.ok("task-counts")["ready"] == 2
    assert "complete" not in world.a.session.ok("task-counts", {"history": False})


def test_a_heartbeat_extends_the_lease_and_reports_progress(world: World) -> None:
    held = world.a.session.claim(world.a.session.enqueue(world.a.project), lease=30)
    fence = {"task_id": held["task_id"], "claim_token": held["claim_token"]}
    renewed = world.a.session.ok("heartbeat", fence | {"lease": 600, "tick": 3, "max_ticks": 20})
    assert renewed["lease_expires_at"] > held["lease_expires_at"]
    assert renewed["cancelled"] is False
    task = world.a.session.get(held["task_id"])
    assert (task["tick"], task["max_ticks"]) == (3, 20)
    assert world.a.session.post("heartbeat", fence | {"claim_token": str(uuid.uuid4())}).status_code == 409


# queue


def test_the_other_verbs_are_answered_by_one_function(world: World) -> None:
    queue = world.worker
    parent = world.a.session.enqueue(world.a.project, task_type="travel_orchestrator")
    claimed = queue.claim(parent, lease=30)
    run = str(uuid.uuid4())
    fence = {"task_id": parent, "claim_token": claimed["claim_token"]}
    assert queue.ok("queue", {"verb": "dispatched", "flow_run_id": run} | fence) is None
    started = queue.ok("queue", {"verb": "start", "task_id": parent, "attempt": 1, "worker_id": "w"})
    assert started["task"]["flow_run_id"] == run
    child = world.a.session.enqueue(world.a.project, parent_id=parent)
    waiting = queue.ok("queue", {"verb": "wait", "task_id": parent, "claim_token": started["claim_token"]})
    assert waiting["task"]["waiting"] is True
    assert [task["id"] for task in queue.ok("queue", {"verb": "children", "parent_id": parent})] == [child]
    assert {task["id"] for task in queue.ok("queue", {"verb": "list", "status": ["In Progress"]})} == {parent}
    cancelled = queue.ok("queue", {"verb": "cancel", "task_id": child})
    assert [task["id"] for task in cancelled["ended"]] == [parent]
    assert queue.ok("queue", {"verb": "retry", "task_id": parent})["ready"] == [child]
    held = queue.claim(child)
    released = queue.ok("queue", {"verb": "release", "task_id": child, "claim_token": held["claim_token"]})
    assert released["task"]["attempts"] == 0
    assert queue.ok("queue", {"verb": "predecessors", "task_id": child}) == []
    assert queue.ok("queue", {"verb": "segments", "run_id": parent}) == []


def test_the_pulse_changes_with_every_write(world: World) -> None:
    before = world.a.session.ok("queue", {"verb": "pulse"})
    world.a.session.enqueue(world.a.project)
    assert world.a.session.ok("queue", {"verb": "pulse"}) != before


def test_the_service_rescues_what_a_dead_run_held(world: World) -> None:
    held = world.service.claim(world.a.session.enqueue(world.a.project), lease=600)
    (rescued,) = world.service.ok("queue", {"verb": "rescue", "lost": [[held["task_id"], 1]]})
    assert (rescued["task"]["id"], rescued["dead_letter"]) == (held["task_id"], False)


def test_the_callers_request_id_comes_back(world: World) -> None:
    assert world.a.session.post("task-counts", {}, **{"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert world.a.session.post("task-counts").headers["x-request-id"]
