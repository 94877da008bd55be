"""`longtake up`: everything on this machine until somebody stops it."""

from __future__ import annotations

import sys
from collections.abc import Callable

from deployments.settings import Settings
from deployments.stack.signals import Stopped, raising_stopped
from deployments.stack.stack import Stack

Say = Callable[[str], None]


def up(settings: Settings, say: Say = print) -> int:
    """Start, say where to look, wait. The exit code: 0 after a stop that was asked for.

    Raises `StackError` when it cannot start, or when a process died that cannot be restarted.
    """
    stack = Stack(settings, on_step=lambda step, seconds: say(f"  {step:<9} {seconds:5.1f} s"))
    with raising_stopped():
        try:
            say(f"Starting Longtake in {settings.home}")
            stack.start()
            for line in welcome(stack):
                say(line)
            stack.wait()
        except Stopped:
            _announce_stop(stack, say)
        finally:
            stack.stop(grace=0 if stack.failure else None)
    if stack.failure:
        raise stack.failure
    say("Stopped. Everything is kept; the same command starts it again.")
    return 0


def welcome(stack: Stack) -> list[str]:
    connection, settings = stack.connection, stack.settings
    # A log file is read by more people than a terminal.
    shown = connection.auth_string if sys.stdout.isatty() else f"the auth_string in {settings.server_file}"
    return [
        "",
        f"  Prefect UI   {connection.ui_url}",
        f"  sign in with {shown}",
        f"  home         {settings.home}  (logs in {settings.logs_dir.name}/)",
        "",
        "  In another terminal:",
        "    longtake travel create a.jpg b.jpg c.jpg --watch",
        f"  Ctrl-C stops everything: running work gets {settings.stop_grace_seconds:.0f} s to finish,",
        "  and what is not finished goes on at the next start.",
    ]


def _announce_stop(stack: Stack, say: Say) -> None:
    running = stack.running_flow_runs()
    say(f"Stopping; flow runs at work: {running}." + (" Ctrl-C again ends them now." if running else ""))
