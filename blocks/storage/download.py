"""Fetch a file that a stranger named, without being led into our own network (SSRF).

Every name is resolved once and every address checked, at the moment of connecting, and the connection goes to the
checked address: no second look-up can answer otherwise. TLS still checks the name. Redirects go through the same door.
No cookie, key, proxy variable or other authority is ever sent. It speaks httpcore rather than httpx, which has no way
to say where a connection goes.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin

import httpcore
import httpx

from blocks.storage.names import safe_name
from blocks.storage.protocol import StorageError, StorageUnavailable
from blocks.storage.reachable import Resolve, checked_addresses, resolve
from blocks.storage.receive import Body, Cut, Limits, receive, span_of, strong_etag
from blocks.storage.signatures import may_be_media
from blocks.supabase.address import is_loopback_name

_MOST_REDIRECTS = 5
#: The web's ports. A stranger's URL to any other would make us knock at mail servers, databases and whatever listens.
_PORTS = (443, 8443)
_HOST = re.compile(rb"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_CONNECT = 10.0

#: Opens a connection to an address, given as text, and a port.
Dial = Callable[[str, int, float | None], httpcore.NetworkStream]


def dial(address: str, port: int, timeout: float | None) -> httpcore.NetworkStream:
    return httpcore.SyncBackend().connect_tcp(address, port, timeout=timeout)


@dataclass(frozen=True, slots=True)
class Downloader:
    """Fetches foreign https URLs. `allow_loopback`: also http(s) on this machine's own address, for the local stack."""

    allow_loopback: bool = False
    limits: Limits = field(default_factory=Limits)
    resolve: Resolve = resolve
    dial: Dial = dial
    ssl_context: ssl.SSLContext | None = None

    def fetch(self, url: str, folder: Path) -> Path:
        """A picture or a video, in `folder`, under a name of its own. Raises `StorageError`, `StorageUnavailable`."""
        first = self._checked(url, None)
        deadline = time.monotonic() + self.limits.total

        def open_at(offset: int, etag: str | None) -> contextlib.AbstractContextManager[Body]:
            return self._open(first, offset, etag, deadline)

        return receive(open_at, folder / local_name(url), self.limits, what=_named(first), only_media=True)

    def _checked(self, url: str, came_from: httpx.URL | None) -> httpx.URL:
        """`url` if we may go there. `came_from` is the URL that redirected to it."""
        try:
            there = httpx.URL(urljoin(str(came_from), url) if came_from else url)
        except (httpx.InvalidURL, ValueError, TypeError):
            raise StorageError("The address is no URL. Give the https address of a picture, video or sound.") from None
        if there.scheme not in ("http", "https"):
            raise StorageError(f"An address of the kind {there.scheme[:20]!r} is not fetched. Give an https address.")
        if not _HOST.fullmatch(there.raw_host):
            raise StorageError("The address names no server. Give the https address of a picture, video or sound.")
        if there.userinfo:
            raise StorageError(f"The address at {there.host!r} carries a user name. Give one that opens without.")
        if self._is_ours(there) and (came_from is None or self._is_ours(came_from)):
            return there
        if there.scheme == "http":
            raise StorageError(f"http://{there.host} is not encrypted, so what comes is nobody's word. Give https.")
        if (there.port or 443) not in _PORTS:
            raise StorageError(f"Port {there.port} of {there.host!r} is not fetched from. Use 443 or 8443.")
        return there

    def _is_ours(self, url: httpx.URL) -> bool:
        return self.allow_loopback and is_loopback_name(url.host)

    @contextlib.contextmanager
    def _open(self, first: httpx.URL, offset: int, etag: str | None, deadline: float) -> Iterator[Body]:
        url = first
        for _ in range(_MOST_REDIRECTS + 1):
            with self._get(url, offset if etag else 0, etag, deadline) as response:
                headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
                if response.status in (301, 302, 303, 307, 308):
                    url = self._checked(headers.get("location", ""), url)
                    continue
                yield self._body(response, headers, url)
                return
        raise StorageError(f"{_named(first)} redirects more than {_MOST_REDIRECTS} times. Give its final address.")

    def _body(self, response: httpcore.Response, headers: dict[str, str], url: httpx.URL) -> Body:
        what, status = _named(url), response.status
        if status in (408, 425, 429) or status >= 500:
            raise StorageUnavailable(f"{what} cannot be fetched now (HTTP {status}). Try again later.")
        if status not in (200, 206):
            raise StorageError(f"{what} cannot be fetched (HTTP {status}). Check that it opens without signing in.")
        if not may_be_media(headers.get("content-type", "")):
            kind = safe_name(headers["content-type"])[:60]
            raise StorageError(f"{what} is {kind}, no picture, video or sound. Give the address of the file itself.")
        if headers.get("content-encoding", "identity") != "identity":
            raise StorageError(f"{what} comes compressed although we asked for it as it is. Give another address.")
        chunked = "chunked" in headers.get("transfer-encoding", "")
        length = None if chunked else headers.get("content-length")
        if length is None and not chunked:
            raise StorageError(f"{what} comes without its length, so a cut would go unseen. Give another address.")
        offset, size = span_of(status, headers.get("content-range"), length)
        # Errors while reading pass through the `with` of `_get`, which turns them into a Cut.
        return Body(offset, size, strong_etag(headers.get("etag")), response.iter_stream())

    @contextlib.contextmanager
    def _get(self, url: httpx.URL, offset: int, etag: str | None, deadline: float) -> Iterator[httpcore.Response]:
        headers = [("Accept", "image/*, video/*"), ("Accept-Encoding", "identity"), ("User-Agent", "longtake")]
        if offset and etag:
            headers += [("Range", f"bytes={offset}-"), ("If-Range", etag)]
        network = _CheckedNetwork(self.resolve, self.dial, self._is_ours(url), deadline)
        stall = self.limits.stall
        timeout = {"connect": _CONNECT, "read": stall, "write": stall, "pool": stall}
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        with httpcore.ConnectionPool(ssl_context=self.ssl_context, network_backend=network) as pool:
            try:
                with pool.stream("GET", target, headers=headers, extensions={"timeout": timeout}) as response:
                    yield response
            except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
                raise Cut(str(error) or type(error).__name__) from error


def local_name(location: str) -> str:
    """A file name that is safe, tells what it is, and differs for any two locations."""
    last = unquote(location.split("?", 1)[0].split("#", 1)[0].rstrip("/").rsplit("/", 1)[-1])
    return f"{hashlib.sha256(location.encode()).hexdigest()[:16]}-{safe_name(last)}"


def _named(url: httpx.URL) -> str:
    """For messages: without the query, which may hold somebody's token."""
    path = url.raw_path.split(b"?", 1)[0]
    return f"{url.scheme}://{(url.netloc + path).decode('ascii')}"[:200]


class _CheckedNetwork(httpcore.NetworkBackend):
    """Where names become connections: checked, pinned and paced."""

    def __init__(self, resolve: Resolve, dial: Dial, loopback: bool, deadline: float) -> None:
        self._resolve, self._dial, self._loopback, self._deadline = resolve, dial, loopback, deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 (the interface has it)
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        problem: Exception = httpcore.ConnectError("no address")
        for address in checked_addresses(host, port, self._resolve, loopback=self._loopback):
            try:
                return _PacedStream(self._dial(address, port, timeout), self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                problem = error
        raise problem


class _PacedStream(httpcore.NetworkStream):
    """Ends at the deadline even if the other side sends a byte now and then, also within headers."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream, self._deadline = stream, deadline

    def _left(self, timeout: float | None) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the time for the whole file is over")
        return left if timeout is None else min(left, timeout)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _PacedStream(self._stream.start_tls(ssl_context, server_hostname, self._left(timeout)), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
