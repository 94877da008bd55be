"""Servers that misbehave on purpose, in threads on this machine's own address."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    line: str
    headers: dict[str, str]

    @property
    def path(self) -> str:
        return self.line.split(" ")[1]

    @property
    def offset(self) -> int:
        """Where its Range begins; 0 without one."""
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        return int(found[1]) if found else 0


#: What to send for a request: raw bytes, after which the connection is closed.
Script = Callable[[Asked], Iterator[bytes]]


class Listener(ABC):
    """A port of this machine's own address. Use as a context manager."""

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._socket.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self.take, args=(connection,), daemon=True).start()

    @abstractmethod
    def take(self, connection: socket.socket) -> None:
        """Do what is to be done with one connection, and close it."""


@dataclass
class Server(Listener):
    """Answers every request by its script; keeps what it was asked."""

    script: Script
    tls: ssl.SSLContext | None = None
    asked: list[Asked] = field(default_factory=list)

    def take(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.enter_context(connection)
            if self.tls:
                connection = stack.enter_context(self.tls.wrap_socket(connection, server_side=True))
            head = b""
            while b"\r\n\r\n" not in head:
                if not (piece := connection.recv(4096)):
                    return
                head += piece
            line, *rest = head.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
            asked = Asked(line, {k.lower(): v.strip() for k, v in (entry.split(":", 1) for entry in rest)})
            self.asked.append(asked)
            for piece in self.script(asked):
                connection.sendall(piece)


def answer(
    body: bytes, *, status: str = "200 OK", kind: str = "image/png", length: int | None = None, **headers: str
) -> bytes:
    """A whole answer. `length` may lie; a header given as "" is left out."""
    told = {"content-type": kind, "content-length": str(len(body) if length is None else length)}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}" for name, value in told.items() if value]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode() + body


def always(whole: bytes) -> Script:
    return lambda asked: iter([whole])


def broken_off(whole: bytes, after: int) -> Script:
    """Sends so many bytes of a whole file and no more; whoever asks for the rest gets it."""

    def script(asked: Asked) -> Iterator[bytes]:
        at = asked.offset
        if not at:
            yield answer(whole[:after], length=len(whole), etag='"v1"')
        else:
            span = f"bytes {at}-{len(whole) - 1}/{len(whole)}"
            yield answer(whole[at:], status="206 Partial Content", etag='"v1"', content_range=span)

    return script


def redirect(location: str, status: str = "302 Found") -> bytes:
    return answer(b"", status=status, location=location)


@dataclass
class CuttingProxy(Listener):
    """Passes bytes to `upstream` (a port); cuts (with a reset) each time so many bytes have gone up in all."""

    upstream: int
    cuts: list[int]
    passed: int = 0
    done: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, connection: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(connection)
            server = stack.enter_context(socket.create_connection(("127.0.0.1", self.upstream)))
            answers = threading.Thread(target=self._pump, args=(server, connection, False), daemon=True)
            answers.start()
            self._pump(connection, server, True)
            answers.join()

    def _pump(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 18):
                if up and self._due(len(piece)):
                    reset = struct.pack("ii", 1, 0)
                    for side in (source, target):
                        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                    break
                target.sendall(piece)
        for side in (source, target):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()

    def _due(self, size: int) -> bool:
        with self._lock:
            self.passed += size
            if self.done < len(self.cuts) and self.passed >= self.cuts[self.done]:
                self.done += 1
                return True
            return False
