"""The calls of Supabase Storage that we need, on objects of one bucket."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

import httpx

from blocks.storage.protocol import StorageError, StorageUnavailable
from blocks.storage.receive import Body, Cut, span_of, strong_etag
from blocks.supabase.address import is_loopback_name
from blocks.supabase.errors import SupabaseError, SupabaseRefused, SupabaseUnavailable
from blocks.supabase.http import SupabaseClient
from blocks.supabase.key import KeyKind

_STALL = 30.0
#: How Storage says that there is nothing there, or nothing for us.
_NOT_SEEN = (400, 403, 404)


@dataclass(frozen=True, slots=True)
class Found:
    """What the server says of a stored object. `etag` without quotes."""

    size: int
    etag: str


@contextlib.contextmanager
def as_storage_errors(doing: str) -> Iterator[None]:
    """Supabase's refusals in the words of the storage protocol."""
    try:
        yield
    except SupabaseUnavailable as error:
        raise StorageUnavailable(f"{doing}: {error}") from error
    except SupabaseRefused as error:
        hint = error.hint or _HINTS.get(error.status, "")
        raise StorageError(f"{doing}: {error.message} (HTTP {error.status}). {hint}".strip()) from error
    except SupabaseError as error:
        raise StorageError(f"{doing}: {error}") from error


_HINTS = {
    401: "Check the key.",
    403: "Check that the key may write there: a user writes below <user id>/inputs/ only.",
    404: "Check the location, and that the bucket has this name.",
    413: "Raise the file size limit of the project and of the bucket, or make the file smaller.",
    415: "Allow its type in the bucket's settings.",
}


class Objects:
    def __init__(self, client: SupabaseClient, bucket: str) -> None:
        self.client = client
        self.bucket = bucket
        self._public_prefix = f"{client.access.url}/storage/v1/object/public/{bucket}/"

    def public_url(self, path: str) -> str:
        return self._public_prefix + quote(path)

    def path_of(self, location: str) -> str | None:
        """The object's path if the location is one of this bucket: its public URL or its storage path.

        A path with a way up in it is none: with our key, `../` would reach other buckets and other services.
        """
        if "://" in location:
            path = self._below_public_prefix(location)
        elif location.startswith(("/", "\\", "~")) or location[1:2] == ":":
            return None
        else:
            path = location.removeprefix(f"{self.bucket}/")
        parts = path.split("/")
        plain = path.isprintable() and "\\" not in path and len(parts) > 1
        return path if plain and all(part not in ("", ".", "..") for part in parts) else None

    def _below_public_prefix(self, location: str) -> str:
        ours = urlsplit(self._public_prefix)
        try:
            there = urlsplit(location)
            same = (there.scheme, there.port, there.username) == (ours.scheme, ours.port, None)
        except ValueError:
            return ""
        hosts = [there.hostname or "", ours.hostname or ""]
        # This machine has several names, and what wrote the location may have used another one.
        same = same and (hosts[0] == hosts[1] or all(is_loopback_name(host) for host in hosts))
        return unquote(there.path.removeprefix(ours.path)) if same and there.path.startswith(ours.path) else ""

    def url(self, kind: str, path: str) -> str:
        return f"/storage/v1/object/{kind}{self.bucket}/{quote(path)}"

    def find(self, path: str) -> Found | None:
        """None if there is no such object, or none that our key may see."""
        for public in self._readings():
            kind = "info/public/" if public else "info/authenticated/"
            try:
                answer = self.client.request("GET", self.url(kind, path), public=public)
            except SupabaseRefused as error:
                if error.status not in _NOT_SEEN:
                    raise
                continue
            told = answer.body if isinstance(answer.body, dict) else {}
            size = told.get("size")
            if isinstance(size, int):
                return Found(size, str(told.get("etag") or "").removeprefix("W/").strip('"'))
        return None

    def put_small(self, path: str, content: bytes, content_type: str, *, replace: bool) -> None:
        headers = {"content-type": content_type, "x-upsert": str(replace).lower(), "cache-control": "max-age=3600"}
        self.client.request("POST", self.url("", path), headers=headers, content=content)

    def put_small_signed(self, path: str, content: bytes, content_type: str, token: str) -> None:
        headers = {"content-type": content_type, "cache-control": "max-age=3600"}
        url = f"{self.url('upload/sign/', path)}?token={quote(token, safe='')}"
        self.client.request("PUT", url, headers=headers, content=content, public=True)

    def delete(self, path: str) -> None:
        try:
            self.client.request("DELETE", self.url("", path))
        except SupabaseRefused as error:
            if error.status not in _NOT_SEEN:
                raise

    @contextlib.contextmanager
    def open(
        self, path: str, offset: int, etag: str | None, stall: float, *, public: bool = False
    ) -> Iterator[tuple[Body, str]]:
        """(the bytes from `offset` on, their declared type); they start over if the etag is another now.

        `public`: as anybody could read them, without our key.
        """
        headers = {"accept-encoding": "identity"}
        if offset and etag:
            headers |= {"range": f"bytes={offset}-", "if-range": etag}
        try:
            with self._reading(path, headers, stall, (True,) if public else self._readings()) as response:
                told = response.headers
                start, size = span_of(response.status_code, told.get("content-range"), told.get("content-length"))
                body = Body(start, size, strong_etag(told.get("etag")), response.iter_raw())
                yield body, told.get("content-type", "")
        except httpx.TransportError as error:
            raise Cut(str(error) or type(error).__name__) from error

    def read(self, path: str, start: int, length: int) -> bytes:
        """A piece of a stored object, from the store itself rather than from a cache in front of it."""
        headers = {"accept-encoding": "identity", "range": f"bytes={start}-{start + length - 1}"}
        piece = bytearray()
        try:
            with self._reading(f"{path}?cacheNonce={uuid.uuid4().hex}", headers, _STALL, self._readings()) as response:
                if response.status_code == httpx.codes.PARTIAL_CONTENT or start == 0:
                    for chunk in response.iter_raw():
                        piece += chunk
                        if len(piece) >= length:
                            break
        except httpx.TransportError as error:
            raise SupabaseUnavailable(f"{path} could not be read back: {type(error).__name__}.") from error
        return bytes(piece[:length])

    @contextlib.contextmanager
    def _reading(
        self, path: str, headers: Mapping[str, str], stall: float, readings: tuple[bool, ...]
    ) -> Iterator[httpx.Response]:
        path, question, query = path.partition("?")
        with contextlib.ExitStack() as stack:
            for public in readings:
                url = self.url("public/" if public else "authenticated/", path) + question + query
                try:
                    opened = self.client.stream(url, headers=headers, stall=stall, public=public)
                    yield stack.enter_context(opened)
                    return
                except SupabaseRefused as error:
                    if error.status not in _NOT_SEEN or public is readings[-1]:
                        raise

    def _readings(self) -> tuple[bool, ...]:
        """As whom to read, in order; True is the public.

        A token opens edge functions only, and row-level security may hide from a user what the public bucket shows.
        """
        kind = self.client.access.kind
        if kind is KeyKind.TOKEN:
            return (True,)
        return (False,) if kind.is_service else (False, True)
