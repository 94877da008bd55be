"""Which child gets a run, and where children live."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from deployments.warm.affinity import choose
from deployments.warm.places import Gpu, Place, installed_gpus, places, visible_gpus
from deployments.warm.plan import Limits, Want, wishes

#: What `nvidia-smi -L` prints for a GPU that is divided, and a whole one.
LISTED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 1g.5gb      Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 1g.5gb      Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-8bd08411-6c1a-4a05-a4a5-5ad5c6b6ad07)"""
INSTALLED: list[Gpu] = [
    (
        "0",
        "GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77",
        "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f",
        "MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb",
    ),
    ("1", "GPU-8bd08411-6c1a-4a05-a4a5-5ad5c6b6ad07"),
]


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


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[Gpu]]:
    """What is found where PATH holds such an nvidia-smi alone, and /dev two GPUs."""
    for name in ("nvidia0", "nvidia3", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.setenv("PATH", str(tmp_path))

    def ask(program: str) -> list[Gpu]:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "nvidia-smi").chmod(0o755 if program else 0o644)
        return installed_gpus(tmp_path)

    return ask


def test_the_driver_lists_gpus_with_their_names(driver: Callable[[str], list[Gpu]]) -> None:
    assert driver(f"echo '{LISTED}'") == INSTALLED


def test_a_driver_that_fails_has_no_gpus(driver: Callable[[str], list[Gpu]]) -> None:
    assert driver("exit 9") == []


def test_devices_without_the_drivers_programs_are_gpus(driver: Callable[[str], list[Gpu]]) -> None:
    found = driver("")
    assert visible_gpus({}, found) == ["0", "1"]
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "GPU-5d5b"}, found) == ["GPU-5d5b"]


@pytest.mark.parametrize(
    ("chosen", "seen"),
    [
        ("1, 0", ["1", "0"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0,-1,1", ["0"]),  # as CUDA has it: nothing after what it does not know
        ("0,7,1", ["0"]),
        ("GPU-8bd0,0", ["GPU-8bd0", "0"]),
        ("GPU-none", []),
        ("MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f", ["MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f"]),
        ("MIG-none", []),
    ],
)
def test_gpus_that_are_hidden_from_the_worker_are_not_used(chosen: str, seen: list[str]) -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": chosen}, INSTALLED) == seen
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": chosen}, []) == []


def test_a_child_is_worn_by_runs_or_by_memory() -> None:
    limits = Limits(recycle_after_runs=3, recycle_above_bytes=100)
    assert not limits.worn(2, 100)
    assert limits.worn(3, 0)
    assert limits.worn(1, 101)
    assert not Limits().worn(10_000, 10**12)
