"""From a connection to a finished file: bounded in size and time, whole or not there, continued after a cut."""

from __future__ import annotations

import contextlib
import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from blocks.storage.protocol import StorageError, StorageUnavailable
from blocks.storage.signatures import HEAD, looks_like_media

_TRIES_WITHOUT_PROGRESS = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes and seconds. `stall`: without a byte. `total`: for the whole file, cuts and all.

    `pause`: after a try that brought nothing, doubling with each.
    """

    size: int = 5 << 30
    stall: float = 30.0
    total: float = 3600.0
    pause: float = 0.25


class Cut(Exception):
    """The connection broke or went silent in the middle; the rest may be asked for."""


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes under way, from `offset` on. `size` is of the whole file; None if the server frames it in chunks.

    Reading `chunks` raises `Cut`; so does an end before the promised one.
    """

    offset: int
    size: int | None
    etag: str | None
    chunks: Iterator[bytes]


#: Opens the file at an offset; a server that cannot starts over, and so does one whose file has another etag now.
OpenAt = Callable[[int, str | None], AbstractContextManager[Body]]


def receive(open_at: OpenAt, target: Path, limits: Limits, *, what: str, only_media: bool) -> Path:
    """Write the file to `target` at once, when all of it is here. Raises `StorageError`, `StorageUnavailable`.

    `what` names the file in messages. `only_media`: it must begin like a picture, a video or sound.
    """
    part = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w+b") as file:
            _Reception(file, limits, what, only_media).run(open_at)
        part.replace(target)
    except OSError as error:
        raise StorageUnavailable(f"{target} cannot be written: {error.strerror}. Check room and rights.") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return target


def strong_etag(etag: str | None) -> str | None:
    """The etag, if it vouches for every byte, so that pieces under it fit together."""
    return etag if etag and not etag.startswith("W/") else None


def span_of(status: int, content_range: str | None, content_length: str | None) -> tuple[int, int | None]:
    """(offset of the first byte, size of the whole file) of an answer. Raises `Cut` for a range that makes no sense."""
    if status != 206:
        return 0, int(content_length) if content_length and content_length.isdecimal() else None
    unit, _, span = (content_range or "").partition(" ")
    where, _, size = span.partition("/")
    start = where.partition("-")[0]
    if unit != "bytes" or not start.isdecimal() or not size.isdecimal():
        raise Cut("the server answered a range without saying which")
    return int(start), int(size)


@dataclass
class _Reception:
    file: BinaryIO
    limits: Limits
    what: str
    only_media: bool
    etag: str | None = None

    def run(self, open_at: OpenAt) -> None:
        deadline = time.monotonic() + self.limits.total
        fruitless = 0
        while True:
            before = self.file.tell()
            try:
                with open_at(before, self.etag) as body:
                    self._take(body, deadline)
                return self._check_head(whole=True)
            except Cut as error:
                fruitless = 0 if self.file.tell() > before else fruitless + 1
                if fruitless >= _TRIES_WITHOUT_PROGRESS or time.monotonic() > deadline:
                    raise StorageUnavailable(f"{self.what} broke off: {error}. Try again later.") from error
                if fruitless:
                    time.sleep(self.limits.pause * 2**fruitless * random.uniform(0.5, 1))  # noqa: S311 (jitter)

    def _take(self, body: Body, deadline: float) -> None:
        if body.offset > self.file.tell():
            raise Cut(f"the server continued at {body.offset} instead of {self.file.tell()}")
        changed = body.offset > 0 and body.etag != self.etag  # a server that ignores If-Range mixes two files
        self.file.seek(0 if changed else body.offset)
        self.file.truncate()
        if changed:
            self.etag = None
            raise Cut("the file changed meanwhile")
        self.etag = body.etag if body.size is not None else None
        if body.size is not None and body.size > self.limits.size:
            raise self._too_large()
        for chunk in body.chunks:
            self.file.write(chunk)
            if self.file.tell() > self.limits.size:
                raise self._too_large()
            if time.monotonic() > deadline:
                raise StorageUnavailable(f"{self.what} did not arrive within {self.limits.total:.0f} seconds.")
            self._check_head(whole=False)
        if body.size is not None and self.file.tell() != body.size:
            raise Cut(f"{self.file.tell()} of {body.size} bytes arrived")

    def _check_head(self, *, whole: bool) -> None:
        """As soon as enough is here to tell, so that no gigabytes of something else are fetched first."""
        if not self.only_media or (self.file.tell() < HEAD and not whole):
            return
        self.only_media = False  # once is enough: what was written stays
        end = self.file.tell()
        self.file.seek(0)
        head = self.file.read(HEAD)
        self.file.seek(end)
        if not looks_like_media(head):
            raise StorageError(f"{self.what} is no picture, video or sound. Give the address of the file itself.")

    def _too_large(self) -> StorageError:
        return StorageError(
            f"{self.what} is larger than {self.limits.size / (1 << 20):.0f} MiB, the most that is fetched here. "
            "Make it smaller or raise the limit."
        )
