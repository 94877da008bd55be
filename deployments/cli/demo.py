"""`longtake demo`: the whole of it, once, in a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from deployments.cli.exits import ExitCode, Refusal
from deployments.cli.options import DEFAULTS, Common, load_settings
from deployments.cli.screen import Screen
from deployments.cli.travel import USUAL, check_pictures


def demo(
    *images: Annotated[Path, Parameter(name="IMAGES", help="Your own pictures instead of the samples.")],
    common: Common = DEFAULTS,
) -> ExitCode:
    """Make a film from three sample pictures: starts all it needs in ./.longtake/demo, and ends it again."""
    screen = Screen(as_json=common.json)
    load_settings(common)  # refuses what is set wrongly, before anything is started
    if images:
        check_pictures(images, USUAL)
    from deployments.demo import HOME, run_demo
    from deployments.stack.signals import Stopped, raising_stopped

    try:
        # SIGTERM and a closed terminal must end the processes that it started, as Ctrl-C does.
        with raising_stopped():
            return run_demo(common.home or HOME, images, screen)
    except Stopped:
        raise Refusal(
            "The demo was stopped; no process is left.",
            "Run it again any time.",
            code="interrupted",
            exit_code=ExitCode.INTERRUPTED,
        ) from None
