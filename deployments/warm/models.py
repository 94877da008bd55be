"""What a child knows of the models in its memory: the engines' shared store, where somebody has imported it."""

from __future__ import annotations

import sys

_STORE = "tasks.engines.store"


def load(name: str) -> None:
    """`name` is engine:model. Raises what the engine raises."""
    from tasks.engines.store import SHARED

    engine, colon, model = name.partition(":")
    if not (engine and colon):
        raise ValueError(f"models: {name!r} is not of the form engine:model")
    SHARED.get(engine, model)


def limit(size: int) -> None:
    from tasks.engines.store import SHARED

    SHARED.budget = size


def loaded() -> tuple[str, ...]:
    """Names of the models in memory, the one used last first. Imports nothing."""
    store = sys.modules.get(_STORE)
    return tuple(one.name for one in store.SHARED.loaded()) if store else ()
