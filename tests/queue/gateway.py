"""A gateway between a client and its project that fails on command, as networks and platforms do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import httpx

Reply = tuple[int, dict[str, str], bytes]
_OF_A_CONNECTION = ("host", "connection", "content-length", "transfer-encoding", "date", "server")


@dataclass
class Fault:
    """Befalls the next `times` calls whose path contains `path`. Without a reply, the connection is cut."""

    path: str
    times: int = 1
    reply: Reply | None = None
    #: Whether the project hears the call before that.
    delivered: bool = False


@dataclass
class Gateway:
    """Use as a context manager; `url` is then where a client finds it."""

    upstream: str
    calls: list[str] = field(default_factory=list)
    _faults: list[Fault] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._http = httpx.Client(trust_env=False, timeout=30)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._http.close()

    def lose_answer(self, path: str, times: int = 1) -> None:
        """The project does what it is asked, and nobody is told."""
        self._faults.append(Fault(path, times, delivered=True))

    def cut(self, path: str, times: int = 1) -> None:
        self._faults.append(Fault(path, times))

    def reply(self, path: str, status: int, times: int = 1, body: bytes = b"{}", **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._faults.append(Fault(path, times, (status, named, body)))

    def heal(self) -> None:
        self._faults.clear()

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> Reply | None:
        self.calls.append(path)
        fault = next((each for each in self._faults if each.path in path and each.times > 0), None)
        if fault is None:
            return self._forward(path, headers, body)
        fault.times -= 1
        if fault.delivered:
            self._forward(path, headers, body)
        return fault.reply

    def _forward(self, path: str, headers: dict[str, str], body: bytes) -> Reply:
        kept = {name: value for name, value in headers.items() if name.lower() not in _OF_A_CONNECTION}
        answer = self._http.post(self.upstream + path, headers=kept | {"accept-encoding": "identity"}, content=body)
        told = {name: value for name, value in answer.headers.items() if name.lower() not in _OF_A_CONNECTION}
        return answer.status_code, told, answer.content


def _handler(gateway: Gateway) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            reply = gateway.answer(self.path, dict(self.headers), body)
            if reply is None:
                self.close_connection = True
                with suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
                return
            status, headers, content = reply
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        log_message: Callable[..., Any] = lambda *_: None

    return Handler
