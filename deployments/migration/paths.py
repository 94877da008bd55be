"""Which texts of a row name files of this machine, and the row with the addresses of their copies instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deployments.migration.older import Row

#: A text of a task can name any file of this machine; what goes into a bucket that is readable by link are media alone.
_MEDIA = {
    ".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".mp4", ".mov", ".webm", ".mkv",
    ".avi", ".m4v", ".wav", ".mp3", ".m4a", ".flac", ".ogg",
}  # fmt: skip


class LocalFiles:
    """Knows files below the storage's folder, and media files elsewhere by their absolute path."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def find(self, said: str) -> Path | None:
        """The file that a text names; most texts name none."""
        path = self._path(said)
        try:
            if path is None or not path.is_file():
                return None
            return path if path.suffix.lower() in _MEDIA or path.resolve().is_relative_to(self._root) else None
        except OSError:
            return None

    def misses(self, said: str) -> bool:
        """Whether a text names a media file that should be here and is not."""
        path = self._path(said)
        if path is None or path.suffix.lower() not in _MEDIA or self.find(said):
            return False
        return Path(said.removeprefix("file://")).is_absolute() or not any(map(str.isspace, said))

    def _path(self, said: str) -> Path | None:
        if not said or len(said) > 4096 or "\0" in said or "://" in said.removeprefix("file://"):
            return None
        path = Path(said.removeprefix("file://"))
        if path.is_absolute():
            return path
        # A word of a prompt can be the name of a file, and a way up is none of the storage's.
        return self._root / path if "/" in said and ".." not in path.parts else None


def with_files(
    row: Row, find: Callable[[str], Path | None], output: Callable[[Path], str], other: Callable[[Path], str]
) -> Row:
    """The row with every text that names a file replaced by the address of its copy.

    `find` knows the files; `output` stores the row's own output, `other` any file that it names.
    """

    def moved(value: Any) -> Any:
        match value:
            case str():
                found = find(value)
                return other(found) if found else value
            case list():
                return [moved(item) for item in value]
            case dict():
                return {key: moved(item) for key, item in value.items()}
        return value

    row = dict(row)
    if row["status"] == "Complete" and (found := find(str(row.get("output_location") or ""))):
        row["output_location"] = output(found)
    for name in ("params", "result"):
        if name in row:
            row[name] = moved(row[name])
    return row


def texts_of(row: Row) -> Iterator[str]:
    """Every text of the row that may name a file."""
    if row["status"] == "Complete" and row.get("output_location"):
        yield row["output_location"]
    left = [row.get("params"), row.get("result")]
    while left:
        match left.pop():
            case str(text):
                yield text
            case list(items):
                left += items
            case dict(entries):
                left += entries.values()
