"""The last words of the demo: where the film is, what each step took, how to look at the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from blocks.queue.model import Task
from deployments.cli.rows import title
from deployments.cli.screen import Screen
from deployments.cli.watch import Family
from deployments.settings import Settings

_STEPS = {
    "database": "start PostgreSQL",
    "server": "start the Prefect server",
    "set-up": "register pools, blocks and deployments",
    "stop": "stop everything",
}


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    seconds: float


def account(timings: Mapping[str, float], family: Family) -> list[Part]:
    """What each step took: of the stack, from enqueue to the first segment, each child from its start to its end."""
    parts = [Part(words, timings[step]) for step, words in _STEPS.items() if step in timings and step != "stop"]
    begun = [child.generation_started_at for child in family.children if child.generation_started_at]
    if begun:
        parts.append(Part("plan and dispatch", (min(begun) - family.task.created_at).total_seconds()))
    parts += [Part(title(child), _took(child)) for child in family.children]
    return [*parts, Part(_STEPS["stop"], timings.get("stop", 0.0))]


def tell(screen: Screen, settings: Settings, family: Family, parts: list[Part], took: float) -> None:
    if screen.as_json:
        return
    screen.say()
    for part in parts:
        screen.say(f"  {part.name:<40} {part.seconds:5.1f} s")
    screen.say(f"  {'altogether':<40} {took:5.1f} s")
    screen.say()
    screen.say(f"Film:          {_shown(family.task.output_location)}")
    if sheet := (family.task.result or {}).get("contact_sheet"):
        screen.say(f"Contact sheet: {_shown(sheet)}")
    screen.say(f"Look at the run in Prefect: longtake up --home {_shown(str(settings.home))}")


def _took(child: Task) -> float:
    begun, ended = child.generation_started_at, child.generation_processed_at
    return (ended - begun).total_seconds() if begun and ended else 0.0


def _shown(location: str | None) -> str:
    """Relative where that is shorter: a person reads it in the folder the demo was called from."""
    path, here = Path(location or ""), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
