"""Which child gets a run, and where children live."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from deployments.warm.affinity import choose
from deployments.warm.places import Place, places, visible_gpus
from deployments.warm.plan import Limits, Want, wishes


@dataclass(frozen=True)
class Child:
    name: str
    models: tuple[str, ...] = ()
    travel: str | None = None
    idle_since: float = 0.0


def want(models: tuple[str, ...] = (), travel: str | None = None) -> Want:
    return Want(uuid.uuid4(), "a.b", models=frozenset(models), travel=travel)


def chosen(children: list[Child], wanted: Want) -> str | None:
    child = choose(children, wanted)
    return child and child.name


def test_the_child_that_has_the_model_gets_the_run() -> None:
    children = [Child("empty"), Child("has it", ("image:b", "wan:a"), idle_since=9)]
    assert chosen(children, want(("wan:a",))) == "has it"


def test_among_those_the_one_that_made_the_travels_last_segment() -> None:
    children = [Child("other", ("wan:a",)), Child("same", ("wan:a",), "t1", 9), Child("no model", (), "t1", 1)]
    assert chosen(children, want(("wan:a",), "t1")) == "same"


def test_otherwise_the_one_that_has_been_idle_the_longest() -> None:
    children = [Child("late", idle_since=5), Child("early", idle_since=2)]
    assert chosen(children, want(("wan:a",), "t1")) == "early"
    assert chosen([], want()) is None


def test_a_runs_tags_tell_its_models_and_its_travel() -> None:
    tags = ["task:1", "model:wan:org/name", "model:image:x", "travel:abc"]
    assert wishes(tags) == (frozenset({"wan:org/name", "image:x"}), "abc")
    assert wishes([]) == (frozenset(), None)


def test_children_are_spread_over_the_gpus_before_one_gets_two() -> None:
    found = places(["0", "1"], 2, None, "w")
    assert [place.gpu for place in found] == ["0", "1", "0", "1"]
    assert len({place.name for place in found}) == 4
    assert [place.gpu for place in places(["0", "1"], 2, 2, "w")] == ["0", "1"]


def test_a_child_sees_its_own_gpu_alone() -> None:
    assert Place("gpu-1-0", "1").environment == {"CUDA_VISIBLE_DEVICES": "1"}


def test_without_gpus_there_are_as_many_slots_as_the_worker_may_run() -> None:
    assert len(places([], 1, 3, "w")) == 3
    assert len(places([], 1, None, "w")) == 1
    (slot,) = places(["0"], 0, None, "a b/c")
    assert slot == Place("cpu-a-b-c-0")


def test_gpus_that_are_hidden_from_the_worker_are_not_used() -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "2, 3"}) == ["2", "3"]
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}) == []
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "-1"}) == []


def test_a_child_is_worn_by_runs_or_by_memory() -> None:
    limits = Limits(recycle_after_runs=3, recycle_above_bytes=100)
    assert not limits.worn(2, 100)
    assert limits.worn(3, 0)
    assert limits.worn(1, 101)
    assert not Limits().worn(10_000, 10**12)
