"""`/storage/v1/upload/resumable`: TUS 1.0 with creation and termination. All state is on the disk.

An upload is two files, what it is (JSON) and what has come so far; so it outlives a cut connection and this process.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from deployments.local.answers import route
from deployments.local.caller import Caller
from deployments.local.storage.errors import RESUMABLE, StorageRefusal, invalid
from deployments.local.storage.files import Received, json_object
from deployments.local.storage.rows import ADMIN, Entry
from deployments.local.storage.service import Storage
from deployments.stack.home import write_private

_LIFETIME = 24 * 3600
_HEADERS = {"tus-resumable": "1.0.0", "cache-control": "no-store"}
_CHUNKS = "application/offset+octet-stream"


@dataclass(frozen=True, slots=True)
class Upload:
    """`signed`: only the token of a signed upload opens it, else its owner, or a service key."""

    bucket: str
    name: str
    size: int
    content_type: str
    cache_control: str
    user_metadata: str | None
    owner: str | None
    replace: bool
    signed: bool

    @property
    def entry(self) -> Entry:
        return Entry(self.bucket, self.name, self.owner, self.replace)


class Resumable:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._folder = storage.files.uploads
        self._writers: dict[str, asyncio.Task[None]] = {}
        self._forget_old()

    def routes(self) -> list[Route]:
        one = {"HEAD": self._offset, "PATCH": self._append, "DELETE": self._end}
        return [
            route(f"{RESUMABLE}{signed}{path}", handlers)
            for signed in ("/sign", "")
            for path, handlers in (("", {"POST": self._create, "OPTIONS": self._options}), ("/{upload}", one))
        ]

    async def _options(self, _request: Request) -> Response:
        said = {"tus-version": "1.0.0", "tus-extension": "creation,creation-with-upload,termination,expiration"}
        return Response(status_code=204, headers={**_HEADERS, **said, "tus-max-size": str(self._storage.limit)})

    async def _create(self, request: Request) -> Response:
        said = _metadata(request.headers.get("upload-metadata", ""))
        length = request.headers.get("upload-length", "")
        if not length.isdecimal():
            raise invalid("Upload-Length is required; a deferred length is not supported.")
        bucket, name = said.get("bucketName", ""), said.get("objectName", "")
        caller, owner, replace = self._authority(request, bucket, name)
        age = said.get("cacheControl")
        upload = Upload(
            bucket=bucket,
            name=name,
            size=int(length),
            content_type=said.get("contentType") or "application/octet-stream",
            cache_control=f"max-age={age}" if age else "no-cache",
            user_metadata=said.get("metadata"),
            owner=owner,
            replace=replace,
            signed=_is_signed(request),
        )
        await self._storage.check(caller, upload.entry, upload.content_type, upload.size)
        key = str(uuid.uuid4())
        self._part(key).touch(mode=0o600)
        write_private(self._file(key), json.dumps(asdict(upload)))
        headers = {
            **_HEADERS,
            "location": f"{request.url.scheme}://{request.url.netloc}{request.url.path.rstrip('/')}/{key}",
        }
        if request.headers.get("content-type") == _CHUNKS or upload.size == 0:
            headers["upload-offset"] = str(await self._receive(request, key, upload, 0))
        return Response(status_code=201, headers=headers)

    async def _offset(self, request: Request) -> Response:
        key, upload = await self._opened(request)
        length = {"upload-offset": str(self._part(key).stat().st_size), "upload-length": str(upload.size)}
        return Response(status_code=200, headers={**_HEADERS, **length})

    async def _append(self, request: Request) -> Response:
        key, upload = await self._opened(request)
        offset = self._part(key).stat().st_size
        if request.headers.get("content-type") != _CHUNKS:
            raise StorageRefusal(415, "InvalidContentType", f"Content-Type must be {_CHUNKS}")
        if request.headers.get("upload-offset") != str(offset):
            raise StorageRefusal(409, "InvalidOffset", "Upload-Offset does not match what has come so far")
        offset = await self._receive(request, key, upload, offset)
        return Response(status_code=204, headers={**_HEADERS, "upload-offset": str(offset)})

    async def _end(self, request: Request) -> Response:
        key, _ = await self._opened(request)
        self._forget(key)
        return Response(status_code=204, headers=_HEADERS)

    async def _receive(self, request: Request, key: str, upload: Upload, offset: int) -> int:
        """Append what comes; the last byte makes it an object. What came before a cut is kept."""
        writer = self._writers[key] = asyncio.create_task(self._write(request.stream(), key, upload, offset))
        try:
            await writer
        except asyncio.CancelledError:
            if writer.cancelled():  # by a successor, who takes this connection for dead
                raise StorageRefusal(423, "Locked", "Another request continues this upload.") from None
            writer.cancel()
            raise
        finally:
            if self._writers.get(key) is writer:
                del self._writers[key]
        reached = self._part(key).stat().st_size
        if reached == upload.size:
            await self._finish(key, upload)
        return reached

    async def _write(self, chunks: AsyncIterator[bytes], key: str, upload: Upload, offset: int) -> None:
        with self._part(key).open("ab") as file, contextlib.suppress(ClientDisconnect):
            async for chunk in chunks:
                offset += len(chunk)
                if offset > upload.size:
                    raise StorageRefusal(413, "EntityTooLarge", "More came than Upload-Length said.")
                file.write(chunk)
                file.flush()  # what the offset counts outlives us

    async def _finish(self, key: str, upload: Upload) -> None:
        part = self._part(key)
        etag = f'"{uuid.UUID(key).hex}-1"'  # as S3 marks what came in parts: no digest of the whole
        metadata = json_object(upload.user_metadata)
        received = Received(part, upload.size, etag, upload.content_type, upload.cache_control, metadata)
        try:
            await self._storage.store(upload.entry, received)
        finally:
            self._forget(key)

    async def _opened(self, request: Request) -> tuple[str, Upload]:
        """The upload of the path, if the caller may go on with it. A request that still writes to it is ended."""
        key = request.path_params["upload"]
        try:
            upload = Upload(**json.loads(self._file(str(uuid.UUID(key))).read_text()))
        except (OSError, ValueError, TypeError):
            raise _Gone from None
        caller, owner, _ = self._authority(request, upload.bucket, upload.name)
        if upload.signed != _is_signed(request) or (owner != upload.owner and caller.role != "service_role"):
            raise _Gone
        if writer := self._writers.get(key):
            writer.cancel()
            await asyncio.wait([writer])
        if not self._part(key).exists():
            raise _Gone
        return key, upload

    def _authority(self, request: Request, bucket: str, name: str) -> tuple[Caller, str | None, bool]:
        """As whom to store, for whom, and whether to replace: the caller, or the token of a signed upload."""
        if not _is_signed(request):
            caller = self._storage.caller(request)
            return caller, caller.user_id, request.headers.get("x-upsert") == "true"
        claims = self._storage.checked_token(request.headers.get("x-signature"), (bucket, name), "upload")
        return ADMIN, claims.get("owner"), bool(claims.get("upsert"))

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.json"

    def _part(self, key: str) -> Path:
        return self._folder / f"{key}.part"

    def _forget(self, key: str) -> None:
        self._file(key).unlink(missing_ok=True)
        self._part(key).unlink(missing_ok=True)

    def _forget_old(self) -> None:
        """Uploads that nobody continued for a day, and the direct ones of a former life."""
        for path in self._folder.iterdir():
            resumable = path.suffix in (".json", ".part")
            if not resumable or path.stat().st_mtime < time.time() - _LIFETIME:
                path.unlink(missing_ok=True)


class _Gone(StorageRefusal):
    """No such upload, or none of this caller's."""

    def __init__(self) -> None:
        super().__init__(404, "NoSuchUpload", "Upload not found")


def _is_signed(request: Request) -> bool:
    return request.url.path.startswith(f"{RESUMABLE}/sign")


def _metadata(header: str) -> dict[str, str]:
    said = {}
    for pair in header.split(","):
        name, _, value = pair.strip().partition(" ")
        try:
            said[name] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise invalid("Upload-Metadata must be names and base64 values.") from None
    return said
