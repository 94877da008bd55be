"""`longtake demo | up | setup | doctor | version`: processes on this machine, and a server somewhere."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from deployments.cli.exits import ExitCode, Refusal
from deployments.cli.options import DEFAULTS, Common, load_settings
from deployments.cli.screen import Screen

if TYPE_CHECKING:
    from deployments.stack.stack import Stack

Slots = Annotated[int | None, Parameter(help="Runs at once in this pool.")]


def up(
    *,
    gpu_slots: Slots = None,
    cpu_slots: Slots = None,
    control_slots: Slots = None,
    port: Annotated[int | None, Parameter(help="Port of the Prefect server; 0: any free one.")] = None,
    common: Common = DEFAULTS,
) -> ExitCode:
    """Run everything on this machine until Ctrl-C: PostgreSQL, Prefect server, pools, deployments, workers, poller."""
    slots = {"gpu_slots": gpu_slots, "cpu_slots": cpu_slots, "control_slots": control_slots}
    screen, settings = Screen(as_json=common.json), load_settings(common, server_port=port, **slots)
    from deployments.stack.stack import Stack

    begun = time.monotonic()
    with ended_by_signals(), Stack(settings, on_step=lambda step, took: _say_step(screen, step, took)) as stack:
        _tell_it_is_up(screen, stack, time.monotonic() - begun)
        try:
            stack.wait()
        except KeyboardInterrupt:
            screen.say("Stopping; running work gets a moment to finish.")
            return ExitCode.OK  # this is how it is meant to end
        if stack.failure:
            raise stack.failure
    return ExitCode.OK


def setup(*, common: Common = DEFAULTS) -> ExitCode:
    """Make a Prefect server ready: pools, limits, blocks, deployments. Twice changes nothing.

    The server is PREFECT_API_URL, or else the one that `longtake up` runs here.
    """
    screen, settings = Screen(as_json=common.json), load_settings(common)
    from deployments.setup import SetupFailed, set_up
    from deployments.work_pools import WrongPoolType

    connection = settings.connection()
    steps: list[str] = []

    def heard(line: str) -> None:
        steps.append(line)
        screen.say(line)

    try:
        with contextlib.redirect_stdout(sys.stderr):  # Prefect's own words must not mix into a document
            set_up(settings, connection, on_step=heard)
    except (SetupFailed, WrongPoolType) as error:
        unreachable = error.__cause__ is not None and type(error.__cause__).__module__.startswith("httpx")
        exit_code = ExitCode.UNAVAILABLE if unreachable or connection is None else ExitCode.FAILED
        raise Refusal(str(error), code="setup_failed", exit_code=exit_code) from None
    screen.document({"api_url": connection and connection.api_url, "steps": steps})
    return ExitCode.OK


def version(*, common: Common = DEFAULTS) -> ExitCode:
    """Say which versions run here."""
    from importlib.metadata import version as installed
    from platform import platform, python_version

    versions = {
        "longtake": installed("longtake"),
        "python": python_version(),
        "prefect": installed("prefect"),
        "platform": platform(),
    }
    screen = Screen(as_json=common.json)
    screen.document(versions)
    if not screen.as_json:
        for name, value in versions.items():
            screen.say(f"{name:<9} {value}")
    return ExitCode.OK


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and a closed terminal end a command as Ctrl-C does: in order, leaving nothing behind."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signals = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)  # SIGINT is ignored when a shell started us with &
    former = {number: signal.signal(number, interrupt) for number in signals}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _say_step(screen: Screen, step: str, took: float) -> None:
    screen.say(f"{step:<9} {took:5.1f} s")


def _tell_it_is_up(screen: Screen, stack: Stack, took: float) -> None:
    settings, connection = stack.settings, stack.connection
    document: dict[str, Any] = {
        "api_url": connection.api_url,
        "ui_url": connection.ui_url,
        "home": str(settings.home),
        "server_file": str(settings.server_file),
        "seconds": round(took, 3),
    }
    screen.document(document)
    if screen.as_json:
        return
    screen.say(f"Longtake is up after {took:.0f} s. Everything it keeps is in {settings.home}.")
    screen.say(f"Look:   {connection.ui_url}")
    # A log file is read by more people than a terminal.
    shown = connection.auth_string if sys.stdout.isatty() else f"auth_string in {settings.server_file}"
    screen.say(f"Log in: {shown}")
    screen.say("Film:   longtake travel create one.jpg two.jpg three.jpg --watch")
    screen.say("Stop:   Ctrl-C")
