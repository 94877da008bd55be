"""The local stack: real PostgreSQL, real Deno, and one service that speaks the HTTP of a Supabase project."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from deployments.local import migrations
from deployments.local.cluster import SUPERUSER, Cluster
from deployments.local.functions.process import Functions
from deployments.local.keys import Keys
from deployments.local.project import OURS, Project
from deployments.local.service import ServiceSettings
from deployments.local.state import State, folder_in
from deployments.settings import MARKER
from deployments.stack import home as homes
from deployments.stack import leftovers
from deployments.stack.errors import HomeInUse, NotReady, ProcessDied, StackError
from deployments.stack.postgres import data_dir_in
from deployments.stack.process import Child, Recipe
from deployments.stack.supervision import Supervisor

_REPOSITORY = Path(__file__).resolve().parents[2]


class LocalSupabase:
    """One stack: use it as a context manager, or `start` and `stop`. Data stay in `home`, keys are new at each start.

    `project` is a folder in the Supabase CLI's layout; `binaries` the folder of another PostgreSQL's programs.
    `durable=False` is for data that is thrown away. Ports of 0 are any free ones. Call `start` from a thread that lives
    as long as the stack: Linux ends PostgreSQL and Deno with that thread.
    """

    url: str
    publishable_key: str
    secret_key: str
    anon_key: str
    service_role_key: str
    jwt_secret: str
    #: As the role `postgres`, which migrations run as.
    database_url: str
    #: As the cluster's superuser.
    admin_database_url: str
    schema_version: str | None

    def __init__(
        self,
        home: Path,
        *,
        project: Path = OURS,
        binaries: Path | None = None,
        durable: bool = False,
        port: int = 0,
        database_port: int = 0,
        function_env: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder_in(home.expanduser().absolute())
        self.functions_log = self.folder / "logs" / "functions.log"
        self._project_folder = project
        self._binaries = binaries
        self._durable = durable
        self._port = port
        self._database_port = database_port
        self._function_env = dict(function_env or {})
        self._lock = homes.HomeLock(self.folder)
        self._supervisor = Supervisor()
        self._cluster: Cluster | None = None
        self._keys: Keys
        self._functions_port: int

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, *, anew: bool = False) -> None:
        """`anew` drops what a former life left. Raises `StackError`, and has then left no process behind."""
        try:
            self._take_home()
            self._choose_keys()
            if anew:
                self._wipe()
            self._start_processes()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything. Twice is as good as once."""
        if not self._lock.held:
            return
        self._end_processes()
        State.forget(self.folder)
        self._lock.release()

    def reset(self) -> None:
        """Drop all data and files, then apply migrations and seeds anew. Url and keys stay.

        Raises `StackError`, and has then stopped.
        """
        try:
            self._end_processes()
            self._wipe()
            self._start_processes()
        except BaseException:
            self.stop()
            raise

    def _wipe(self) -> None:
        assert self._cluster is not None
        self._cluster.remove()
        for files in ("objects", "uploads"):
            shutil.rmtree(self.folder / files, ignore_errors=True)

    def wait(self, timeout: float | None = None) -> bool:
        """Block until a process died that cannot be restarted; False after `timeout` seconds without that."""
        return self._supervisor.failed.wait(timeout)

    @property
    def failure(self) -> ProcessDied | None:
        return self._supervisor.failure

    def create_user(self, email: str, password: str) -> str:
        """A user with a confirmed address; its id."""
        answer = self._ask_auth("/admin/users", {"email": email, "password": password, "email_confirm": True})
        return str(answer["id"])

    def sign_in(self, email: str, password: str) -> str:
        """An access token, as Auth issues it."""
        answer = self._ask_auth("/token?grant_type=password", {"email": email, "password": password})
        return str(answer["access_token"])

    def sign_user_jwt(self, user_id: str, **claims: Any) -> str:
        """An access token that Auth could have issued; `claims` replace its own."""
        return self._keys.sign_user(user_id, **claims)

    def _take_home(self) -> None:
        # As root, PostgreSQL's user passes through the first; the others hold what only we may read.
        for folder, mode in ((self.folder, 0o711), (self.folder / "logs", 0o700), (self.folder / "functions", 0o700)):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(mode)
            except OSError as error:
                raise StackError(
                    f"Cannot use {folder}: {error.strerror}.", "Choose another folder with --home."
                ) from error
        try:
            self._lock.acquire()
        except HomeInUse as error:
            raise HomeInUse(
                f"A local Supabase already runs in {self.folder}.",
                "Stop it with `longtake supabase stop`, or use another folder with --home.",
            ) from error
        leftovers.end_all(leftovers.find_leftovers(self.folder, data_dir_in(self.folder / "postgres")))

    def _choose_keys(self) -> None:
        self._port = chosen_port(self._port)
        self._functions_port = homes.free_port()
        self._cluster = Cluster(
            self.folder / "postgres",
            self.folder / "logs" / "postgres.log",
            self._environment(),
            binaries=self._binaries,
            port=chosen_port(self._database_port),
            durable=self._durable,
        )
        self.url = f"http://127.0.0.1:{self._port}"
        self._keys = keys = Keys.make(f"{self.url}/auth/v1")
        self.publishable_key, self.secret_key = keys.publishable, keys.secret
        self.anon_key, self.service_role_key = keys.anon, keys.service_role
        self.jwt_secret = keys.jwt_secret

    def _start_processes(self) -> None:
        """All programs load while the database starts; the service waits at its gate for the migrations."""
        project = Project.read(self._project_folder)
        functions = Functions(project, self.folder / "functions", self._function_environment())
        assert self._cluster is not None
        supervisor = self._supervisor = Supervisor()
        settings_file = self.folder / "service.json"
        service = Child(self._service_recipe(settings_file))
        supervisor.watch(service, lambda: self._revived_service(settings_file))
        if functions:
            functions.cache()
            recipe = functions.recipe(self._functions_port, self.functions_log)
            supervisor.watch(Child(recipe), lambda: Child(recipe))
        supervisor.watch(self._cluster.start())
        self.database_url = self._cluster.url("postgres")
        self.admin_database_url = self._cluster.url(SUPERUSER)
        with self._cluster.connect("postgres") as connection:
            self.schema_version = migrations.migrate(connection, project)
        with self._cluster.connect(SUPERUSER) as connection:
            migrations.make_buckets(connection, project)
        self._service_settings(project, self._cluster).write(settings_file)
        service.wait_imported()
        service.open_gate()
        wait_listening(service, self._port)
        if functions:
            wait_listening(supervisor.child("functions"), self._functions_port)
        supervisor.start()
        self.state().write(self.folder)

    def _end_processes(self) -> None:
        self._supervisor.stop()
        for name in ("service", "functions"):
            self._supervisor.end(name)
        if self._cluster:
            self._cluster.stop()

    def _service_recipe(self, settings_file: Path) -> Recipe:
        argv = [sys.executable, "-m", "deployments.local.service", str(settings_file)]
        return Recipe("service", argv, self._environment(), _REPOSITORY, self.folder / "logs" / "service.log")

    def _revived_service(self, settings_file: Path) -> Child:
        child = Child(self._service_recipe(settings_file))
        child.open_gate()
        return child

    def _service_settings(self, project: Project, cluster: Cluster) -> ServiceSettings:
        return ServiceSettings(
            port=self._port,
            keys=self._keys,
            rest_database=cluster.url("authenticator"),
            auth_database=cluster.url("supabase_auth_admin"),
            storage_database=cluster.url("supabase_storage_admin"),
            functions_url=f"http://127.0.0.1:{self._functions_port}",
            functions={one.name: one.verify_jwt for one in project.functions()},
            schemas=project.schemas,
            extra_search_path=project.extra_search_path,
            max_rows=project.max_rows,
            jwt_expiry=project.jwt_expiry,
            storage_folder=str(self.folder),
            file_size_limit=project.file_size_limit,
        )

    def _environment(self) -> dict[str, str]:
        """For our processes: nothing of a person's Longtake, Supabase or PostgreSQL settings, plus our marker."""
        foreign = ("LONGTAKE_", "PREFECT_", "SUPABASE_", "PG")
        kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(foreign)}
        return {**kept, MARKER: str(self.folder)}

    def _function_environment(self) -> dict[str, str]:
        return {
            MARKER: str(self.folder),
            "SUPABASE_URL": self.url,
            "SUPABASE_PUBLISHABLE_KEYS": f'{{"default":"{self.publishable_key}"}}',
            "SUPABASE_SECRET_KEYS": f'{{"default":"{self.secret_key}"}}',
            "SUPABASE_ANON_KEY": self.anon_key,
            "SUPABASE_SERVICE_ROLE_KEY": self.service_role_key,
            **self._function_env,
        }

    def state(self) -> State:
        """What others are told of a stack that is ready."""
        children = {name: entry.child.pid for name, entry in self._supervisor.watched.items()}
        return State(
            url=self.url,
            keys={
                "publishable": self.publishable_key,
                "secret": self.secret_key,
                "anon": self.anon_key,
                "service_role": self.service_role_key,
                "jwt_secret": self.jwt_secret,
            },
            database_url=self.database_url,
            schema_version=self.schema_version,
            project=str(self._project_folder),
            pids={"supervisor": os.getpid(), **children},
        )

    def _ask_auth(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = httpx.post(
            f"{self.url}/auth/v1{path}", json=body, headers={"apikey": self.secret_key}, trust_env=False
        )
        if answer.is_error:
            raise StackError(f"Auth refused {path}: {answer.text}")
        said: dict[str, Any] = answer.json()
        return said


def chosen_port(asked: int) -> int:
    """Raises `StackError` if somebody else has it."""
    if not asked:
        return homes.free_port()
    if not homes.is_free(asked):
        raise StackError(f"Port {asked} is taken by another program.", "End that program, or choose another port.")
    return asked


def wait_listening(child: Child, port: int, patience: float = 30.0) -> None:
    deadline = time.monotonic() + patience
    while True:
        if not child.alive:
            raise child.died()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                message = f"{child.name} did not answer within {patience:.0f} s."
                raise NotReady(message, f"Its log: {child.recipe.log}") from None
            time.sleep(0.01)
