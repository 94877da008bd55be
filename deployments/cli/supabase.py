"""`longtake supabase …`: a local Supabase for development, without Docker or an account."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from deployments.cli.exits import ExitCode, Refusal
from deployments.cli.options import DEFAULTS, Common, Switch, load_settings
from deployments.cli.screen import Screen

if TYPE_CHECKING:
    from deployments.local.running import Options
    from deployments.local.state import State

app = App(
    name="supabase", help="Run a local Supabase: database, edge functions, storage, auth.", help_format="plaintext"
)

Project = Annotated[
    Path | None, Parameter(help="The folder with config.toml, migrations and functions; otherwise Longtake's own.")
]
#: How the keys are called in the environment of a program that uses them.
_KEYS = {
    "publishable": "publishable key",
    "secret": "secret key",
    "anon": "anon key (legacy)",
    "service_role": "service key (legacy)",
    "jwt_secret": "JWT secret",
}


@app.command
def start(
    *,
    detach: Annotated[bool, Parameter(alias="-d", negative=(), show_default=False, help="Leave it running.")] = False,
    port: Annotated[int, Parameter(help="Port of the API; 0: any free one.")] = 0,
    database_port: Annotated[int, Parameter(help="Port of PostgreSQL; 0: any free one.")] = 0,
    project: Project = None,
    binaries: Annotated[Path | None, Parameter(help="The bin folder of another PostgreSQL.")] = None,
    common: Common = DEFAULTS,
) -> ExitCode:
    """Start it here until Ctrl-C, and show its address and keys: new ones each time. Data are kept."""
    screen = Screen(as_json=common.json)
    options = _options(common, project, port=port, database_port=database_port, binaries=binaries)
    from deployments.local.running import run, start_detached, tell_failure
    from deployments.stack.errors import HomeInUse, StackError

    if detach:
        _show(screen, start_detached(options), ["Stop it with: longtake supabase stop"])
        return ExitCode.OK
    try:
        run(options, on_ready=lambda state: _show(screen, state, ["Ctrl-C stops it; its data are kept."]))
    except HomeInUse:
        raise  # another one's home: it is not for us to tell its failures
    except StackError as error:
        tell_failure(options.folder, error)  # for a `reset` in another terminal that waits for us
        raise
    if not screen.as_json:
        screen.say("Stopped.")
    return ExitCode.OK


@app.command
def stop(*, common: Common = DEFAULTS) -> ExitCode:
    """Stop the one that runs in this home."""
    screen, options = Screen(as_json=common.json), _options(common)
    from deployments.local.running import stop_running

    stopped = stop_running(options.folder)
    screen.document({"stopped": stopped})
    if not screen.as_json:
        screen.say("Stopped. Its data are kept." if stopped else "None runs in this home.")
    return ExitCode.OK


@app.command
def status(
    *,
    show_keys: Annotated[Switch, Parameter(help="Show the keys too.")] = False,
    common: Common = DEFAULTS,
) -> ExitCode:
    """Show the address, processes and schema version of the one that runs in this home."""
    screen, options = Screen(as_json=common.json), _options(common)
    from deployments.local.running import running_state

    state = running_state(options.folder)
    if state is None:
        raise Refusal(
            f"No local Supabase is ready in {options.folder}.",
            "Start one with: longtake supabase start",
            code="not_running",
            exit_code=ExitCode.UNAVAILABLE,
        )
    processes = ", ".join(f"{name} {pid}" for name, pid in state.pids.items())
    _show(
        screen, state, [f"schema      {state.schema_version or 'no migrations'}", f"processes   {processes}"], show_keys
    )
    return ExitCode.OK


@app.command
def reset(*, project: Project = None, common: Common = DEFAULTS) -> ExitCode:
    """Drop all data and files, then apply migrations and seed anew. One that runs keeps its address and keys."""
    screen, options = Screen(as_json=common.json), _options(common, project)
    from deployments.local.running import reset_running, reset_stopped, running_state

    running = running_state(options.folder)
    if running and project is not None and options.project != running.project:
        raise Refusal(
            f"The local Supabase that runs in this home serves another project: {running.project}.",
            "Stop it first, with: longtake supabase stop",
            code="other_project",
        )
    if running:
        reset_running(options.folder)
    else:
        reset_stopped(options)
    screen.document({"reset": True, "running": running is not None})
    if not screen.as_json:
        screen.say("All data dropped, migrations and seed applied.")
    return ExitCode.OK


def _options(common: Common, project: Path | None = None, *, binaries: Path | None = None, **ports: int) -> Options:
    settings = load_settings(common)
    from deployments.local.project import OURS
    from deployments.local.running import Options

    return Options(
        str(settings.home),
        str((project or OURS).expanduser().absolute()),  # it may be read by a process in another folder
        binaries=str(binaries.expanduser().absolute()) if binaries else None,
        **ports,
    )


def _show(screen: Screen, state: State, more: list[str], show_keys: bool = True) -> None:
    document: dict[str, Any] = {
        "url": state.url,
        "database_url": state.database_url,
        "keys": state.keys,
        "schema_version": state.schema_version,
        "project": state.project,
        "pids": state.pids,
    }
    screen.document(document)
    if screen.as_json:
        return
    screen.say(f"API         {state.url}")
    if show_keys:
        screen.say(f"database    {state.database_url}")
        for name, label in _KEYS.items():
            screen.say(f"{label:<21} {state.keys[name]}")
    for line in more:
        screen.say(line)
