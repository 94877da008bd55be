"""The PostgreSQL of a local stack: copied from a template that is made once for each bootstrap and server version."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import psycopg

from deployments.stack import home as homes
from deployments.stack.errors import DatabaseMismatch, StackError
from deployments.stack.postgres import Binaries, Postgres, binaries_in, find_binaries
from deployments.stack.process import Child
from deployments.stack.unprivileged import SHARED_ROOT, is_reachable, unprivileged_ids

SUPERUSER = "supabase_admin"
#: Roles that log in. Each gets a new password at every start.
LOGINS = ("postgres", "authenticator", "supabase_auth_admin", "supabase_storage_admin")
_BOOTSTRAP = Path(__file__).with_name("bootstrap.sql")
#: The superuser's password, beside the data: a copy of the cluster needs it.
_PASSWORD_FILE = "superuser"  # noqa: S105 - a file's name


class Cluster:
    """The cluster of one home. `folder` holds its data and its superuser's password."""

    def __init__(
        self, folder: Path, log: Path, env: Mapping[str, str], *, binaries: Path | None, port: int, durable: bool
    ) -> None:
        self.folder = folder
        self.port = port
        self._log = log
        self._env = dict(env)
        self._binaries = binaries_in(binaries) if binaries else find_binaries()
        self._durable = durable
        self._postgres: Postgres | None = None
        self._passwords = {role: secrets.token_urlsafe(24) for role in LOGINS}

    @property
    def exists(self) -> bool:
        return (self.folder / "data" / "PG_VERSION").exists()

    def start(self) -> Child:
        """Raises `StackError`."""
        if self.exists:
            self._check_version()
            self._postgres = self._server((self.folder / _PASSWORD_FILE).read_text())
        else:
            self._postgres = self._copied_template()
        child = self._postgres.start()
        self._postgres.wait_ready()
        with self.connect(SUPERUSER) as connection:
            for role, password in self._passwords.items():
                connection.execute(f"alter role {role} password '{password}'")
        return child

    def stop(self) -> None:
        if self._postgres:
            self._postgres.stop()
            self._postgres = None

    def remove(self) -> None:
        """Drop all data. The server must not run."""
        shutil.rmtree(self.folder / "data", ignore_errors=True)

    def url(self, role: str) -> str:
        password = self._passwords.get(role) or (self.folder / _PASSWORD_FILE).read_text()
        return f"postgresql://{role}:{quote(password)}@127.0.0.1:{self.port}/postgres"

    def connect(self, role: str) -> psycopg.Connection:
        return psycopg.connect(self.url(role), autocommit=True, connect_timeout=10)

    def _server(self, password: str) -> Postgres:
        return Postgres(
            *(self.folder, password, self.port, self._log, self._env),
            durable=self._durable,
            user=SUPERUSER,
            binaries=self._binaries,
        )

    def _check_version(self) -> None:
        written_by = (self.folder / "data" / "PG_VERSION").read_text().strip()
        if written_by != self._binaries.major:
            raise DatabaseMismatch(
                f"{self.folder} was written by PostgreSQL {written_by}, this one is {self._binaries.version}.",
                "Make it anew with: longtake supabase reset",
            )

    def _copied_template(self) -> Postgres:
        template = make_template(self._binaries, self._log, self._env)
        password = (template / _PASSWORD_FILE).read_text()
        server = self._server(password)  # makes the folder, where PostgreSQL's own user can go
        homes.write_private(self.folder / _PASSWORD_FILE, password)
        part = server.folder / f".data.{os.getpid()}"
        shutil.rmtree(part, ignore_errors=True)
        copied = subprocess.run(["cp", "-a", str(template / "data"), str(part)], capture_output=True, text=True)
        if copied.returncode:
            raise StackError(f"Cannot copy {template} to {server.folder}: {copied.stderr.strip()}")
        part.rename(server.data_dir)
        return server


def make_template(binaries: Binaries, log: Path, env: Mapping[str, str]) -> Path:
    """A stopped cluster with everything in bootstrap.sql. Made once; several processes may ask at a time."""
    bootstrap = _BOOTSTRAP.read_bytes()
    key = hashlib.sha256(bootstrap + f"{binaries.bin_dir} {binaries.version}".encode()).hexdigest()[:16]
    template = template_root() / f"postgres-{key}"
    if template.exists():
        return template
    work = template.with_name(f".{template.name}.{os.getpid()}.{secrets.token_hex(4)}")
    work.mkdir(parents=True)
    password = secrets.token_urlsafe(24)
    try:
        server = Postgres(
            work, password, homes.free_port(), log, dict(env), durable=False, user=SUPERUSER, binaries=binaries
        )
        server.create()
        server.start()
        try:
            server.wait_ready()
            address = f"postgresql://{SUPERUSER}:{quote(password)}@127.0.0.1:{server.port}/postgres"
            with psycopg.connect(address, autocommit=True) as connection:
                connection.execute(bootstrap)
        finally:
            server.stop()
        homes.write_private(work / _PASSWORD_FILE, password)
        return _published(work, template)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _published(work: Path, template: Path) -> Path:
    """Another process may have been quicker: its template is as good."""
    try:
        work.rename(template)
    except OSError:
        if not template.exists():
            raise
    return template


def template_root() -> Path:
    """The user's cache; as root a place which PostgreSQL's own user can reach."""
    cache = homes.cache_folder()
    if unprivileged_ids() and not is_reachable(cache / "template" / "data"):
        return SHARED_ROOT
    return cache
