"""The process behind the stack's one port. Started as `-m deployments.local.service <settings file>`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from deployments.local.auth.service import Auth
from deployments.local.auth.users import Users
from deployments.local.database import Database
from deployments.local.functions.proxy import FunctionProxy
from deployments.local.gateway import Gateway
from deployments.local.keys import Keys
from deployments.local.rest.service import Rest
from deployments.local.storage.files import Files
from deployments.local.storage.resumable import Resumable
from deployments.local.storage.rows import Rows
from deployments.local.storage.service import Storage
from deployments.stack import lifeline
from deployments.stack.home import write_private

#: Connections of the pools, as on a small hosted project; the cluster takes 60.
_REST_CONNECTIONS, _STORAGE_CONNECTIONS, _AUTH_CONNECTIONS = 15, 8, 4


@dataclass(frozen=True)
class ServiceSettings:
    """What the service gets to know. Kept in a file of mode 0600, since it holds keys."""

    port: int
    keys: Keys
    rest_database: str
    auth_database: str
    storage_database: str
    functions_url: str
    functions: dict[str, bool]
    schemas: list[str]
    extra_search_path: list[str]
    max_rows: int
    jwt_expiry: int
    storage_folder: str
    file_size_limit: int

    def write(self, path: Path) -> None:
        write_private(path, json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> ServiceSettings:
        said: dict[str, Any] = json.loads(path.read_text())
        return cls(**{**said, "keys": Keys(**said["keys"])})


def build(settings: ServiceSettings) -> ASGIApp:
    keys = settings.keys
    rest_rows = Database(settings.rest_database, _REST_CONNECTIONS)
    storage_rows = Database(settings.storage_database, _STORAGE_CONNECTIONS)
    auth_rows = Database(settings.auth_database, _AUTH_CONNECTIONS)
    rest = Rest(rest_rows, settings.schemas, settings.extra_search_path, settings.max_rows)
    functions = FunctionProxy(settings.functions_url, settings.functions, keys)
    files = Files(Path(settings.storage_folder))
    storage = Storage(Rows(storage_rows), files, keys, settings.file_size_limit)
    auth = Auth(Users(auth_rows), keys, settings.jwt_expiry)
    # Resumable uploads first: their paths are Storage's own.
    others = [*Resumable(storage).routes(), *storage.routes(), *auth.routes()]
    return Gateway(keys, rest, functions, others, [rest_rows, storage_rows, auth_rows]).app()


def main() -> None:
    line = lifeline.take()
    if not lifeline.wait_at_gate(line):
        return
    lifeline.follow_parent(line)
    settings = ServiceSettings.read(Path(sys.argv[1]))
    uvicorn.run(
        build(settings),
        host="127.0.0.1",
        port=settings.port,
        log_level="warning",
        lifespan="on",
        access_log=False,
        ws="none",  # an upgrade is answered like any other request: not emulated
        server_header=False,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=75,  # longer than clients keep one: none is closed under a request
    )


if __name__ == "__main__":
    main()
