"""`longtake doctor`: one line for each check, and what to do about those that fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from deployments.cli.exits import ExitCode
from deployments.cli.options import DEFAULTS, REPEATABLE, Common, Switch, load_settings
from deployments.cli.screen import Screen


def doctor(
    *,
    gpu: Annotated[Switch, Parameter(help="Check also what a worker of pool gpu needs here.")] = False,
    model: Annotated[Sequence[str], REPEATABLE, Parameter(help="A model it is to load, as engine:model.")] = (),
    common: Common = DEFAULTS,
) -> ExitCode:
    """Check this installation and say what to do about what is wrong."""
    screen, settings = Screen(as_json=common.json), load_settings(common)
    from deployments.doctor import checks

    found = checks(settings, gpu=gpu, models=model)
    wrong = [check for check in found if not check.ok]
    screen.document({"ok": not wrong, "checks": [asdict(check) for check in found]})
    if not screen.as_json:
        for check in found:
            screen.say(f"{'✓' if check.ok else '✗'} {check.name:<15} {check.detail}")
            if check.fix:
                screen.say(f"  {'':<15} {check.fix}")
    return ExitCode.FAILED if wrong else ExitCode.OK
