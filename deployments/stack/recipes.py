"""How each Python process of a stack is started."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from deployments.settings import Connection, Settings
from deployments.stack.home import Secrets
from deployments.stack.prefect_env import client_environment, server_environment
from deployments.stack.process import Recipe


@dataclass(frozen=True, slots=True)
class Recipes:
    settings: Settings
    secrets: Secrets
    connection: Connection
    database_url: str

    def server(self) -> Recipe:
        env = server_environment(self.settings, self.secrets, self.connection, self.database_url)
        port = self.connection.ui_url.rpartition(":")[2]
        return self._launch("server", ["server", "server", "start", "--host", "127.0.0.1", "--port", port], env)

    def worker(self, pool: str) -> Recipe:
        # A name of its own per machine: a restarted worker is the same worker in the UI.
        name = f"{pool}@{platform.node() or 'localhost'}"
        slots = str(self.settings.slots(pool))
        arguments = ["worker", "worker", "start", "--pool", pool, "--type", "warm", "--name", name, "--limit", slots]
        return self._launch(f"worker-{pool}", arguments, client_environment(self.settings, self.connection))

    def setup(self) -> Recipe:
        document, secrets = self.settings.for_child()
        env = {**client_environment(self.settings, self.connection), **secrets}
        return self._launch("setup", ["setup", document], env)

    def _launch(self, name: str, arguments: list[str], env: Mapping[str, str]) -> Recipe:
        argv = [sys.executable, "-m", "deployments.stack.launch", *arguments]
        # Prefect reads prefect.toml, pyproject.toml and .env of its folder: ours has none.
        return Recipe(name, argv, env, self.settings.work_dir, self.settings.logs_dir / f"{name}.log")
