"""`longtake up | setup | version`: processes on this machine, and a server somewhere."""

from __future__ import annotations

import contextlib
import sys
from typing import Annotated

from cyclopts import Parameter

from deployments.cli.exits import ExitCode, explain
from deployments.cli.options import DEFAULTS, ELSEWHERE, HERE, Common, Home, Supabase, load_settings
from deployments.cli.screen import Screen

Slots = Annotated[int | None, Parameter(help="Runs at once in this pool.")]


def up(
    *,
    gpu_slots: Slots = None,
    cpu_slots: Slots = None,
    control_slots: Slots = None,
    port: Annotated[int | None, Parameter(help="Port of the Prefect server; 0: any free one.")] = None,
    supabase: Supabase = ELSEWHERE,
    home: Home = HERE,
) -> int:
    """Run everything on this machine until Ctrl-C: PostgreSQL, Prefect server, pools, deployments, workers, poller."""
    settings = load_settings(
        home,
        gpu_slots=gpu_slots,
        cpu_slots=cpu_slots,
        control_slots=control_slots,
        server_port=port,
        **supabase.overrides(),
    )
    from deployments.stack.up import up as run_everything

    return run_everything(settings, say=Screen(as_json=False).say)


def setup(*, supabase: Supabase = ELSEWHERE, common: Common = DEFAULTS) -> ExitCode:
    """Make a Prefect server ready: pools, limits, blocks, deployments. Twice changes nothing.

    The server is PREFECT_API_URL, or else the one that `longtake up` runs here.
    """
    screen, settings = Screen(as_json=common.json), load_settings(common, **supabase.overrides())
    from deployments.setup import set_up
    from deployments.stack.errors import SetupFailed

    connection = settings.connection()
    steps: list[str] = []

    def heard(line: str) -> None:
        steps.append(line)
        screen.say(line)

    try:
        with contextlib.redirect_stdout(sys.stderr):  # Prefect's own words must not mix into a document
            set_up(settings, connection, on_step=heard)
    except SetupFailed as error:
        refusal = explain(error)
        assert refusal is not None
        if connection is None or type(error.__cause__).__module__.startswith("httpx"):
            refusal.exit_code = ExitCode.UNAVAILABLE
        raise refusal from None
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
