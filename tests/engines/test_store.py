from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tasks.engines import registry
from tasks.engines.protocol import DEFAULT_SETUP, Capabilities, EngineError, EngineOutOfMemory, Frame, Request, Setup
from tasks.engines.store import ModelStore
from tests.engines.conftest import Models


class Weighted:
    """An engine whose models are named by their size in bytes; `memory` is what the machine has."""

    name = "weighted"
    capabilities = Capabilities(default_model="1")
    memory = 10**9
    live: dict[str, int] = {}  # noqa: RUF012 (what all of them hold together)

    def __init__(self) -> None:
        self.model = ""

    def check(self, model: str, request: Request) -> None: ...

    def weigh(self, model: str, setup: Setup) -> int:
        return int(model)

    def load(self, model: str, setup: Setup = DEFAULT_SETUP) -> None:
        if sum(self.live.values()) + int(model) > self.memory:
            raise EngineOutOfMemory(f"no room for {model}")
        self.model, self.live[model] = model, int(model)

    def size(self) -> int:
        return self.live[self.model]

    def generate(self, request: Request, on_step: object) -> Iterator[Frame]:
        yield from ()

    def unload(self) -> None:
        self.live.pop(self.model, None)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Weighted, "live", {})
    monkeypatch.setattr(registry, "BUILTIN", registry.BUILTIN | {"weighted": f"{__name__}:Weighted"})


def names(store: ModelStore) -> list[str]:
    return [loaded.model for loaded in store.loaded()]


def test_a_model_is_loaded_once_and_its_uses_are_counted() -> None:
    store = ModelStore()
    assert store.get("weighted", "5") is store.get("weighted", "5") is store.get("weighted", "5")
    assert [(loaded.name, loaded.size, loaded.hits) for loaded in store.loaded()] == [("weighted:5", 5, 2)]


def test_an_empty_name_is_the_engines_own_model() -> None:
    store = ModelStore()
    assert store.get("weighted", "") is store.get("weighted", "1")


def test_the_least_recently_used_goes_first_and_before_the_new_one_is_loaded() -> None:
    store, Weighted.memory = ModelStore(budget=10), 10
    try:
        for model in ("3", "4", "3", "6"):
            store.get("weighted", model)
    finally:
        Weighted.memory = 10**9
    assert names(store) == ["6", "3"]
    assert Weighted.live == {"3": 3, "6": 6}


def test_a_model_above_the_budget_is_loaded_alone_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    store = ModelStore(budget=10)
    store.get("weighted", "3")
    with caplog.at_level(logging.WARNING):
        store.get("weighted", "11")
    assert names(store) == ["11"]
    assert "model_above_budget model=weighted:11" in caplog.text


def test_a_model_that_does_not_fit_beside_the_others_gets_their_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Weighted, "memory", 10)
    store = ModelStore()
    store.get("weighted", "5")
    store.get("weighted", "8")
    assert names(store) == ["8"]
    with pytest.raises(EngineOutOfMemory):
        store.get("weighted", "11")


def test_another_setup_loads_the_model_anew() -> None:
    store = ModelStore()
    first = store.get("weighted", "5")
    assert store.get("weighted", "5", Setup(offload="model")) is not first
    assert names(store) == ["5"]


def test_a_failed_load_leaves_nothing_behind(models: Models) -> None:
    store = ModelStore()
    with pytest.raises(EngineError):
        store.get("wan", str(models["image"]))
    assert store.loaded() == ()


def test_unloading_gives_the_memory_back(models: Models) -> None:
    import gc
    import weakref

    store = ModelStore()
    part = weakref.ref(store.get("image", str(models["image"]))._pipe.unet)  # type: ignore[attr-defined]
    store.unload_all()
    gc.collect()
    assert part() is None
    assert store.loaded() == ()
