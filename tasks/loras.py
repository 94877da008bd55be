"""LoRAs as local files: fetched once, verified, kept beside the work of all tasks."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from blocks.storage.download import Downloader, local_name
from blocks.storage.protocol import Storage
from blocks.storage.receive import Body, Limits, receive
from tasks.engines.diffusion.weights import read_header, refuse_pickle
from tasks.errors import InvalidInput
from tasks.step import step
from tasks.work import Work

_MOST = 16
#: A LoRA of high rank for a 14B model takes about two.
_LIMITS = Limits(size=4 << 30)
_FOLDER = "loras"


@step("fetch LoRAs")
async def fetch_loras(work: Work, loras: Mapping[str, float]) -> dict[str, float]:
    """Local files and their strengths, for {path or URL: strength}. Raises `InvalidInput`, `EngineError`."""
    if not loras:
        return {}
    check_strengths(loras)
    cache = LoraCache(work.site.work_dir / _FOLDER, work.site.storage)
    return {str(await asyncio.to_thread(cache.fetch, location)): strength for location, strength in loras.items()}


def check_strengths(loras: Mapping[str, float]) -> None:
    if len(loras) > _MOST:
        raise InvalidInput(f"additional_loras: {len(loras)} LoRAs were given; at most {_MOST} are put on one model.")
    for location, strength in loras.items():
        if not math.isfinite(strength) or abs(strength) > 10:
            raise InvalidInput(
                f"additional_loras: the strength {strength} of {_shown(location)} is not from -10 to 10."
            )


class WeightsDownloader(Downloader):
    """The door that pictures come through, with all of its checks; what comes must be safetensors, not a picture."""

    def fetch_weights(self, url: str, target: Path) -> None:
        """Raises `StorageError`, `StorageUnavailable`, and `BadWeights` at the first bytes of a pickle."""
        first = self._checked(url, None)
        deadline = time.monotonic() + self.limits.total

        @contextlib.contextmanager
        def open_at(offset: int, etag: str | None) -> Iterator[Body]:
            with self._open(first, offset, etag, deadline) as body:
                yield replace(body, chunks=_no_pickle(body, target))

        receive(open_at, target, self.limits, what=f"the LoRA at {first.host}", only_media=False)


def _no_pickle(body: Body, target: Path) -> Iterator[bytes]:
    for index, chunk in enumerate(body.chunks):
        if index == 0 and body.offset == 0:
            refuse_pickle(target, chunk)
        yield chunk


@dataclass(frozen=True, slots=True)
class LoraCache:
    """A folder in which each URL has one file, named by the hash of the URL and then as at its source.

    The source's own name is kept, since it is what tells the halves of a pair for Wan 2.2 apart.
    """

    folder: Path
    storage: Storage
    downloader: WeightsDownloader = field(default_factory=lambda: WeightsDownloader(limits=_LIMITS))

    def fetch(self, location: str) -> Path:
        """The verified file. Raises `StorageError`, `StorageUnavailable`, and `BadWeights` for what is no LoRA."""
        if not location.startswith("https://"):
            # A path, or an object of the local stack's own storage.
            path = self.storage.fetch(location, self.folder)
            read_header(path)
            return path
        path = self.folder / _name(location)
        if not path.is_file():
            self._download(location, path)
        return path

    def _download(self, url: str, path: Path) -> None:
        """Visible under its name only when it is whole and verified."""
        part = path.with_name(f"{uuid.uuid4().hex}.{path.name}")
        try:
            self.downloader.fetch_weights(url, part)
            read_header(part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def _name(url: str) -> str:
    digest, name = hashlib.sha256(url.encode()).hexdigest(), local_name(url).partition("-")[2]
    return f"{digest}-{name}" if name.endswith(".safetensors") else f"{digest}-{name}.safetensors"


def _shown(location: str) -> str:
    """Without the query, which may hold somebody's token."""
    return repr(location.split("?", 1)[0][:200])
