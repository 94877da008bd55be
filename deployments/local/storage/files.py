"""Bytes on the disk: received in constant memory, kept under names of our own, never under a client's."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from deployments.local.storage.errors import invalid, too_large

_FIELD_LIMIT = 1 << 20
_DEFAULT_TYPE = "application/octet-stream"


@dataclass(slots=True)
class Received:
    """A whole body, in a file that is not yet anybody's object."""

    path: Path
    size: int
    etag: str
    content_type: str
    cache_control: str
    user_metadata: dict[str, Any] | None


class Files:
    def __init__(self, folder: Path) -> None:
        self._objects = folder / "objects"
        self._uploads = folder / "uploads"
        for place in (self._objects, self._uploads):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def uploads(self) -> Path:
        return self._uploads

    def version(self, version: str) -> Path:
        return self._objects / version[:2] / version

    def scratch(self) -> Path:
        return self._uploads / f"direct-{uuid.uuid4()}"

    def keep(self, path: Path) -> str:
        """Make the file the bytes of a new version; its name."""
        version = str(uuid.uuid4())
        target = self.version(version)
        target.parent.mkdir(exist_ok=True)
        path.replace(target)
        return version

    def share(self, version: str) -> str:
        """Another version with the same bytes. They are never changed, so a second name is enough."""
        copy = self._uploads / f"copy-{uuid.uuid4()}"
        os.link(self.version(version), copy)
        return self.keep(copy)

    def drop(self, version: str | None) -> None:
        if version:
            self.version(version).unlink(missing_ok=True)


async def receive(request: Request, path: Path, limit: int, accept: Callable[[str], None]) -> Received:
    """Write the body of an upload, raw or the file of a form, to `path`.

    `accept` is told the type before any byte is kept, and may refuse. Raises `StorageRefusal`.
    """
    if int(request.headers.get("content-length") or 0) > limit + _FIELD_LIMIT:
        raise too_large()
    content_type = request.headers.get("content-type", _DEFAULT_TYPE)
    with path.open("wb") as file:
        sink = _Sink(file, limit)
        if content_type.startswith("multipart/form-data"):
            form = _Form(sink, accept)
            await form.read(request, content_type)
            content_type, cache_control, metadata = form.content_type, form.cache_control, form.fields.get("metadata")
        else:
            accept(content_type)
            async for chunk in request.stream():
                sink.write(chunk)
            cache_control = request.headers.get("cache-control", "no-cache")
            encoded = request.headers.get("x-metadata")
            metadata = base64.b64decode(encoded) if encoded else None
    return Received(path, sink.size, f'"{sink.digest.hexdigest()}"', content_type, cache_control, json_object(metadata))


def json_object(text: str | bytes | None) -> dict[str, Any] | None:
    try:
        said = json.loads(text) if text else None
    except ValueError:
        return None  # as hosted: metadata that cannot be read is none
    return said if isinstance(said, dict) else None


@dataclass(slots=True)
class _Sink:
    file: BinaryIO
    limit: int
    size: int = 0
    digest: Any = field(default_factory=lambda: hashlib.md5(usedforsecurity=False))

    def write(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.size > self.limit:
            raise too_large()
        self.digest.update(chunk)
        self.file.write(chunk)


class _Form:
    """The part with a file name goes to the sink, the others are small fields."""

    def __init__(self, sink: _Sink, accept: Callable[[str], None]) -> None:
        self.fields: dict[str, bytes] = {}
        self.content_type = ""
        self._sink = sink
        self._accept = accept
        self._header, self._value = b"", b""
        self._headers: dict[str, bytes] = {}
        self._field: str | None = None

    @property
    def cache_control(self) -> str:
        age = self.fields.get("cacheControl")
        return f"max-age={age.decode()}" if age else "no-cache"

    async def read(self, request: Request, content_type: str) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise invalid("The form has no boundary.")
        parser = MultipartParser(
            boundary,
            {
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
            },
        )
        try:
            async for chunk in request.stream():
                parser.write(chunk)
            parser.finalize()
        except FormParserError as error:
            raise invalid(f"The form is malformed: {error}") from None
        if not self.content_type:
            raise invalid("The form holds no file.")

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header.decode("latin-1").lower()] = self._value
        self._header, self._value = b"", b""

    def _on_headers_finished(self) -> None:
        options = parse_options_header(self._headers.get("content-disposition", b""))[1]
        if b"filename" in options:
            self._field = None
            self.content_type = self._headers.get("content-type", _DEFAULT_TYPE.encode()).decode("latin-1")
            self._accept(self.content_type)
        else:
            self._field = options.get(b"name", b"").decode("utf-8", "replace")
        self._headers = {}

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._sink.write(data[start:end])
            return
        self.fields[self._field] = self.fields.get(self._field, b"") + data[start:end]
        if len(self.fields[self._field]) > _FIELD_LIMIT:
            raise too_large()
