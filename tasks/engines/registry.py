"""Engines by name. A name costs nothing; the engine's module is imported when it is asked for."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from tasks.engines.protocol import Capabilities, Engine, EngineError

GROUP = "longtake.engines"

#: Ours, as module:class. Importing the module must stay cheap: weights and torch wait for `load`.
BUILTIN = {
    "motion": "tasks.engines.motion:MotionEngine",
    "sketch": "tasks.engines.sketch:SketchEngine",
    "wan": "tasks.engines.wan:WanEngine",
    "image": "tasks.engines.image:ImageEngine",
}


class UnknownEngine(EngineError):
    """No engine has this name; the message offers the nearest one."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        self.name = name
        self.nearest = get_close_matches(name, known, n=1, cutoff=0.0)[0]
        super().__init__(f"There is no engine {name!r}. Did you mean {self.nearest!r}? There are: {', '.join(known)}.")


def names() -> tuple[str, ...]:
    """All engines that can be asked for: ours, then those other packages add by an entry point of GROUP."""
    return (*BUILTIN, *sorted(set(_added()) - set(BUILTIN)))


def engine(name: str) -> Engine:
    """A new engine, not loaded yet."""
    return _engine_class(name)()


def capabilities(name: str) -> Capabilities:
    """What a request to this engine must fit, without making one."""
    return _engine_class(name).capabilities


def _engine_class(name: str) -> type[Engine]:
    if name in BUILTIN:
        module, _, attribute = BUILTIN[name].partition(":")
        found: type[Engine] = getattr(import_module(module), attribute)
        return found
    added = _added()
    if name not in added:
        raise UnknownEngine(name, names())
    loaded: type[Engine] = added[name].load()
    return loaded


def _added() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
