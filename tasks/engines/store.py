"""Models that stay loaded between runs, under a memory budget; the least recently used goes first."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from tasks.engines.protocol import DEFAULT_SETUP, Engine, EngineOutOfMemory, Setup
from tasks.engines.registry import capabilities, engine

logger = logging.getLogger(__name__)

_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory. `size` is the bytes of its weights, `seconds` what loading took, `hits` its later uses."""

    engine: str
    model: str
    size: int
    seconds: float
    hits: int

    @property
    def name(self) -> str:
        return f"{self.engine}:{self.model}"


@runtime_checkable
class Neighbour(Protocol):
    """An engine that, out of memory in the middle of its work, asks for the room of the other models."""

    #: Unloads the others; False if there were none.
    make_room: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class _Entry:
    ready: Engine
    setup: Setup
    loaded: Loaded


class ModelStore:
    """Engines by model. One run uses it at a time; another thread may ask what is loaded meanwhile.

    A model larger than the budget is loaded alone, with a warning: a budget set too low must not stop the machine,
    and whether the model fits at all is for the hardware to say.
    """

    def __init__(self, budget: int | None = None) -> None:
        #: Bytes that all loaded weights together may take; None is no limit.
        self.budget = budget
        # Least recently used first. Replaced, never changed, so that `loaded` can be asked at any moment.
        self._entries: dict[_Key, _Entry] = {}
        self._lock = threading.RLock()

    def get(self, engine: str, model: str, setup: Setup = DEFAULT_SETUP) -> Engine:
        """The engine with this model loaded (empty: the engine's default), making room for it first.

        A model that is loaded with another setup is loaded anew. Raises as `Engine.load` does.
        """
        key = (engine, model or capabilities(engine).default_model)
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and entry.setup == setup:
                used = replace(entry.loaded, hits=entry.loaded.hits + 1)
                self._entries = self._without(key) | {key: replace(entry, loaded=used)}
                logger.info("model_hit model=%s hits=%d", used.name, used.hits)
                return entry.ready
            if entry is not None:
                self._drop([key], "other_setup")
            return self._load(key, setup)

    def loaded(self) -> tuple[Loaded, ...]:
        """Most recently used first. Does not wait for a model that is being loaded."""
        return tuple(entry.loaded for entry in reversed(self._entries.values()))

    def unload_all(self) -> None:
        with self._lock:
            self._drop(list(self._entries), "all")

    def _load(self, key: _Key, setup: Setup) -> Engine:
        name, model = key
        ready = engine(name)
        if isinstance(ready, Neighbour):
            ready.make_room = lambda: self._drop_others(key)
        self._make_room(ready.weigh(model, setup))
        started = time.perf_counter()
        while True:
            try:
                ready.load(model, setup)
                break
            except EngineOutOfMemory:
                ready.unload()
                if not self._drop_others(key):
                    raise
        loaded = Loaded(name, model, ready.size(), time.perf_counter() - started, 0)
        self._make_room(loaded.size)
        if self.budget is not None and loaded.size > self.budget:
            logger.warning(
                "model_above_budget model=%s size=%d budget=%d: it is kept alone", loaded.name, loaded.size, self.budget
            )
        self._entries = self._entries | {key: _Entry(ready, setup, loaded)}
        logger.info("model_loaded model=%s seconds=%.1f size=%d", loaded.name, loaded.seconds, loaded.size)
        return ready

    def _make_room(self, size: int) -> None:
        if self.budget is None:
            return
        held, going = sum(entry.loaded.size for entry in self._entries.values()), []
        for key, entry in self._entries.items():
            if size + held <= self.budget:
                break
            going.append(key)
            held -= entry.loaded.size
        self._drop(going, "room")

    def _drop_others(self, key: _Key) -> bool:
        with self._lock:
            others = [other for other in self._entries if other != key]
            self._drop(others, "out_of_memory")
            return bool(others)

    def _without(self, key: _Key) -> dict[_Key, _Entry]:
        return {other: entry for other, entry in self._entries.items() if other != key}

    def _drop(self, keys: Sequence[_Key], why: str) -> None:
        for key in keys:
            entry = self._entries[key]
            self._entries = self._without(key)
            entry.ready.unload()
            logger.info("model_unloaded model=%s hits=%d why=%s", entry.loaded.name, entry.loaded.hits, why)
        if keys:
            free_memory()


def free_memory() -> None:
    """Give back what nothing refers to any more, on the CPU and, where torch is in use, on the GPU."""
    gc.collect()
    if torch := sys.modules.get("torch"):
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        elif torch.backends.mps.is_available():
            torch.mps.empty_cache()


#: One a process: a warm child keeps its models here between runs.
SHARED = ModelStore()
