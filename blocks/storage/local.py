"""Files in a folder of this machine. Locations are absolute paths."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from pathlib import Path

from blocks.storage.names import safe_name, sha256_of
from blocks.storage.protocol import Storage, StorageError, StorageUnavailable, Stored


class LocalStorage(Storage):
    local_paths = True

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).resolve()

    def put(self, source: Path, *, owner: str, task_id: str, attempt: int, name: str) -> Stored:
        return self._store(source, self.root / safe_name(owner) / safe_name(task_id) / str(attempt) / safe_name(name))

    def put_input(self, source: Path, *, owner: str) -> Stored:
        folder = self.root / safe_name(owner) / "inputs" / sha256_of(source)[:32]
        return self._store(source, folder / safe_name(source.name))

    def keeps(self, location: str) -> bool:
        return "://" not in location or location.startswith("file://")

    def fetch(
        self,
        location: str,
        folder: Path,  # noqa: ARG002  (nothing to copy: the file is here)
        *,
        owner: str | None = None,  # noqa: ARG002  (everything here has one owner)
    ) -> Path:
        if not self.keeps(location):
            raise StorageError(
                f"The local storage cannot read {location.split('?')[0]!r}: it reads files of this machine only. "
                "Download the file and give its path."
            )
        path = Path(location.removeprefix("file://"))
        path = path if path.is_absolute() else self.root / path
        if not path.is_file():
            raise StorageError(f"There is no file {str(path)!r}. Check the path; it must be absolute.")
        return path

    def delete(self, location: str) -> None:
        path = Path(location)
        if path.is_absolute() and path.resolve().is_relative_to(self.root):
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # the folder of an attempt goes with its last file
                path.parent.rmdir()

    def _store(self, source: Path, target: Path) -> Stored:
        part = target.with_name(f".{uuid.uuid4().hex}.part")
        try:
            wanted, size = sha256_of(source), source.stat().st_size
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, part)
            with part.open("rb") as file:
                os.fsync(file.fileno())  # Complete promises a readable file, also after a power cut
            if sha256_of(part) != wanted:
                raise StorageUnavailable(f"{target} was written with other bytes than {source}: check the disk.")
            part.replace(target)
        except OSError as error:
            raise StorageUnavailable(f"{target} cannot be written: {error.strerror}. Check room and rights.") from error
        finally:
            part.unlink(missing_ok=True)
        return Stored(str(target), wanted, size)
