"""The program `longtake`. Commands are named here and imported when they are called: help must be quick."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence

from cyclopts import App, CycloptsError

from deployments.cli.exits import ExitCode, Refusal, explain
from deployments.cli.screen import Screen


def _installed_version() -> str:
    from importlib.metadata import version

    return version("longtake")


app = App(
    name="longtake",
    help="Turns still images into one continuous shot.",
    version=_installed_version,
    help_format="plaintext",
    # Errors and interrupts are told in one place, `main`.
    exit_on_error=False,
    print_error=False,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
_COMMANDS = (
    ("demo", "demo:demo", "Make a film from three sample pictures on this machine."),
    ("up", "machine:up", "Run everything here until Ctrl-C: server, workers, poller."),
    ("travel", "travel:app", "Turn images into a film."),
    ("task", "task:app", "Create tasks and follow them."),
    ("supabase", "supabase:app", "Run a local Supabase: database, edge functions, storage, auth."),
    ("token", "token:app", "Make and revoke access tokens of a Supabase project."),
    ("migrate-sqlite", "migrate:migrate_sqlite", "Copy a SQLite queue and its files into a Supabase project."),
    ("doctor", "doctor:doctor", "Check this installation and say what to do about what is wrong."),
    ("setup", "machine:setup", "Make the Prefect server you point at ready."),
    ("version", "machine:version", "Say which versions run here."),
)
for _order, (_name, _path, _help) in enumerate(_COMMANDS):
    app.command(f"deployments.cli.{_path}", name=_name, help=_help, sort_key=_order)


def main() -> int:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")  # to stderr
    return run(sys.argv[1:])


def run(tokens: Sequence[str]) -> int:
    """The exit code of one command; every expected error becomes a line or two on stderr."""
    screen = Screen(as_json="--json" in tokens)
    try:
        return _guarded(lambda: app(list(tokens)), screen)
    except BrokenPipeError:
        # Python would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.READER_GONE


def _guarded(command: Callable[[], object], screen: Screen) -> int:
    try:
        ended = command()
    except CycloptsError as error:
        error.verbose = False
        names = " ".join(("longtake", *(error.command_chain or ())))
        refusal = Refusal(str(error), f"Look at: {names} --help", code="usage")
    except KeyboardInterrupt:
        refusal = Refusal("Interrupted.", code="interrupted", exit_code=ExitCode.INTERRUPTED)
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise  # nobody expected it: the traceback is what a report needs
        refusal = explained
    else:
        return ended if isinstance(ended, int) else ExitCode.OK
    screen.refuse(refusal)
    return refusal.exit_code
