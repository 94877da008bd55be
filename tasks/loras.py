"""LoRAs as local files: fetched once, verified, kept beside the work of all tasks."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import math
import os
import tempfile
import time
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

logger = logging.getLogger(__name__)

_MOST = 16
#: A LoRA of high rank for a 14B model takes about two.
_LIMITS = Limits(size=4 << 30)
_FOLDER = "loras"


@step("fetch LoRAs")
async def fetch_loras(work: Work, loras: Mapping[str, float]) -> dict[str, float]:
    """Local files and their strengths, for {path or URL: strength}. Raises `InvalidInput`, `EngineError`.

    The files stay where they are until the run ends.
    """
    if not loras:
        return {}
    check_strengths(loras)
    cache = LoraCache(work.site.work_dir / _FOLDER, work.site.storage, work.task.user_id)
    found = {}
    for location, strength in loras.items():
        path = await asyncio.to_thread(cache.fetch, location, work.folder.path, work.until_end)
        found[str(path)] = strength
    await asyncio.to_thread(cache.prune, int(work.site.engines.lora_cache_gb * 10**9))
    return found


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
    """A folder in which each location has one file, named by the location's hash and then as at its source.

    The source's own name is kept, since it is what tells the halves of a pair for Wan 2.2 apart. Processes of one
    machine share the folder: its own lock is held while names come and go, and a file's for as long as it is used.
    """

    folder: Path
    storage: Storage
    owner: str
    downloader: WeightsDownloader = field(default_factory=lambda: WeightsDownloader(limits=_LIMITS))

    def fetch(self, location: str, desk: Path, until_end: contextlib.ExitStack) -> Path:
        """The verified file, which nobody prunes before `until_end` closes.

        `desk` is a folder of the same disk for what is half done. Raises `StorageError`, `StorageUnavailable`, and
        `BadWeights` for what is no LoRA.
        """
        foreign = location.startswith("https://") and not self.storage.keeps(location)
        # Whoever knows a URL may read what is there; a location of the storage opens to its owner.
        path = self.folder / _name(location, "" if foreign else self.owner)
        if self._found(path, until_end):
            return path
        with tempfile.TemporaryDirectory(dir=desk) as scratch:
            got = self._get(location, Path(scratch), foreign=foreign)
            read_header(got)
            if not got.is_relative_to(scratch):
                return got  # a file of this machine, used where it lies
            with self._locked():
                if not path.is_file():  # another process may have been faster
                    got.replace(path)
                _hold(path, until_end)
        return path

    def prune(self, budget: int) -> None:
        """Delete the files used longest ago until the rest takes `budget` bytes, except for those in use."""
        with self._locked():
            statuses = {path: path.stat() for path in self.folder.iterdir()}
            excess = sum(status.st_size for status in statuses.values()) - budget
            for path, status in sorted(statuses.items(), key=lambda each: each[1].st_atime_ns):
                if excess > 0 and _is_free(path):
                    path.unlink()
                    excess -= status.st_size
                    logger.info("lora_pruned file=%s size=%d", path.name, status.st_size)

    def _get(self, location: str, scratch: Path, *, foreign: bool) -> Path:
        if not foreign:
            return self.storage.fetch(location, scratch, owner=self.owner)
        path = scratch / local_name(location)
        self.downloader.fetch_weights(location, path)
        return path

    def _found(self, path: Path, until_end: contextlib.ExitStack) -> bool:
        with self._locked():
            if found := path.is_file():
                _hold(path, until_end)
            return found

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)  # and with it the lock, as at the death of a process


def _hold(path: Path, until_end: contextlib.ExitStack) -> None:
    file = until_end.enter_context(path.open("rb"))
    fcntl.flock(file, fcntl.LOCK_SH)
    # Said outright, since most disks are mounted so that reading hardly changes it; the time of change stays.
    os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def _is_free(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _name(location: str, owner: str) -> str:
    """`owner`: empty for what is the same for everybody."""
    key = f"{owner} {location}" if owner else location
    digest, name = hashlib.sha256(key.encode()).hexdigest(), local_name(location).partition("-")[2]
    return f"{digest}-{name}" if name.endswith(".safetensors") else f"{digest}-{name}.safetensors"


def _shown(location: str) -> str:
    """Without the query, which may hold somebody's token."""
    return repr(location.split("?", 1)[0][:200])
