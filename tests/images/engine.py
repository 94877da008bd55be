"""A Docker engine that starts nothing: the few calls of its HTTP API that a worker makes, and what it was asked for."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CONTAINER = "c0ffee"
_LOGS, _LOOK = f"GET /containers/{CONTAINER}/logs", f"GET /containers/{CONTAINER}/json"


@dataclass
class DockerEngine:
    """`images` are those this host has; `exit_code` is how its containers end."""

    images: set[str]
    exit_code: int = 0
    calls: list[str] = field(default_factory=list)
    created: dict[str, Any] = field(default_factory=dict)
    pulled: list[str] = field(default_factory=list)
    address: str = ""

    @contextmanager
    def serving(self) -> Iterator[DockerEngine]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"engine": self}))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.address = f"tcp://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    @property
    def _is_removed(self) -> bool:
        """At its end, if that was asked for. docker-py looks once more before it reads the output, which ends it."""
        looks = self.calls[self.calls.index(_LOGS) :].count(_LOOK) if _LOGS in self.calls else 0
        return looks > 1 and bool(self.created["HostConfig"].get("AutoRemove"))

    def answer(self, method: str, path: str, query: str, body: Any) -> tuple[int, Any]:
        match method, path:
            case "GET", "/version":
                return 200, {"ApiVersion": "1.50", "MinAPIVersion": "1.24", "Version": "28.2.2"}
            case "GET", _ if found := re.fullmatch("/images/(.+)/json", path):
                known = found[1] in self.images
                return (
                    (200, {"Id": "sha256:1", "RepoTags": [found[1]]}) if known else (404, {"message": "No such image"})
                )
            case "POST", "/images/create":
                self.pulled.append(query)
                return 200, {"status": "Downloaded"}
            case "POST", "/containers/create":
                self.created = {**body, "query": query}
                return 201, {"Id": CONTAINER, "Warnings": []}
            case "POST", _ if path.endswith("/start"):
                return 204, None
            case "GET", _ if path.endswith("/logs"):
                return 200, None
            case _ if self._is_removed and path.startswith(f"/containers/{CONTAINER}"):
                return 404, {"message": f"No such container: {CONTAINER}"}
            case "POST", _ if path.endswith("/wait"):
                return 200, {"StatusCode": self.exit_code}
            case "GET", _ if path.startswith(f"/containers/{CONTAINER}"):
                ended = _LOGS in self.calls
                state = (
                    {"Status": "exited", "ExitCode": self.exit_code} if ended else {"Status": "running", "ExitCode": 0}
                )
                return 200, {"Id": CONTAINER, "Name": "/made", "State": state, "Config": {"Tty": True, "Labels": {}}}
        return 404, {"message": f"the engine of this test knows no {method} {path}"}


class _Handler(BaseHTTPRequestHandler):
    engine: DockerEngine
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"null")
        path, _, query = re.sub(r"^/v[\d.]+", "", self.path).partition("?")
        self.engine.calls.append(f"{self.command} {path}")
        status, answer = self.engine.answer(self.command, path, query, body)
        content = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _serve  # noqa: N815  (http.server's names)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the test asks `calls`."""
