"""The folder that holds everything: who owns it, its secrets, its ports."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from deployments.settings import Connection, Settings
from deployments.stack.errors import HomeInUse, StackError

_LOCK = "up.lock"


@dataclass(frozen=True, slots=True)
class Secrets:
    """Made once for a home, never shown except the auth string, which a person needs to open the UI."""

    database_password: str = field(repr=False)
    encryption_key: str = field(repr=False)  # Fernet; without it a database dump would reveal every secret block
    auth_string: str = field(repr=False)


def prepare(settings: Settings) -> None:
    for folder in (
        settings.home,
        settings.logs_dir,
        settings.work_dir,
        settings.storage_root,
        settings.prefect_home,
        settings.tmp_dir,
    ):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StackError(
                f"Cannot create {folder}: {error.strerror}.", "Choose another folder with LONGTAKE_HOME or --home."
            ) from error


def write_private(path: Path, content: str) -> None:
    """Whole or not at all, readable by nobody else from the first byte on."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(content)
    part.replace(path)


def load_secrets(home: Path) -> Secrets:
    path = home / "secrets.json"
    try:
        return Secrets(**json.loads(path.read_text()))
    except FileNotFoundError:
        pass
    except (ValueError, TypeError) as error:
        raise StackError(f"{path} is damaged.", "Restore it, or move the whole folder away and start anew.") from error
    made = Secrets(
        database_password=secrets.token_urlsafe(24),
        encryption_key=base64.urlsafe_b64encode(os.urandom(32)).decode(),
        auth_string=f"longtake:{secrets.token_urlsafe(12)}",
    )
    write_private(path, json.dumps(asdict(made)))
    return made


def cache_folder() -> Path:
    """What can be made again, for all homes of a user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "longtake"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the last life's connections may linger
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def choose_server_port(settings: Settings) -> int:
    """The port asked for, else the one this home had before (people keep its links), else any free one."""
    if settings.server_port:
        if not is_free(settings.server_port):
            raise StackError(
                f"Port {settings.server_port} is taken by another program.",
                "End that program, or set LONGTAKE_SERVER_PORT to another port (0: any free one).",
            )
        return settings.server_port
    try:
        former = int(json.loads(settings.server_file.read_text())["port"])
    except (OSError, ValueError, KeyError, TypeError):
        return free_port()
    return former if is_free(former) else free_port()


def write_connection(settings: Settings, connection: Connection, port: int) -> None:
    content = {"api_url": connection.api_url, "auth_string": connection.auth_string, "port": port}
    write_private(settings.server_file, json.dumps(content))


class HomeLock:
    """One `up` per home. The kernel frees the lock with the process, also under `kill -9`."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        file = (self._home / _LOCK).open("a+")
        if holder := _take(file):
            file.close()
            raise HomeInUse(
                f"Longtake already runs in {self._home} (process {holder}).",
                f"Stop it (Ctrl-C, or kill {holder}), or use another folder with --home.",
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file = file

    @property
    def held(self) -> bool:
        return self._file is not None

    def release(self) -> None:
        if self._file:
            self._file.close()
            self._file = None


def running_up(home: Path) -> str | None:
    """The process id of the `up` that runs in `home`, or None."""
    try:
        with (home / _LOCK).open("r+") as file:
            return _take(file)
    except OSError:
        return None


def _take(file: IO[str]) -> str | None:
    """Lock the open file until it is closed; if another process has it, answer with the id written in it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        return file.read().strip() or "unknown"
    return None
