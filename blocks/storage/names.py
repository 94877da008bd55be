"""File names and what identifies a file's bytes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from blocks.storage.protocol import StorageError

_CHUNK = 1 << 20
#: The part size of resumable uploads: Supabase Storage accepts no other.
PART = 6 << 20

# `mimetypes` reads the machine's own tables, so the same file would be declared otherwise elsewhere.
_TYPES = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".avi": "video/x-msvideo",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".avif": "image/avif",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".json": "application/json",
}


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a file's bytes are known by. `etags` are the two that an object store may give a file with these bytes."""

    size: int
    sha256: str
    etags: frozenset[str]


def safe_name(name: str) -> str:
    """One path element of ASCII letters, digits, dot, dash and underscore; never empty, hidden or a way up."""
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "_", name)
    return cleaned[-120:].lstrip(".") or "file"


def content_type_of(name: str) -> str:
    """What a file is declared as. Only what pictures, films, sound and JSON are: never a page that a browser runs."""
    return _TYPES.get(Path(name).suffix.lower(), "application/octet-stream")


def sha256_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def fingerprint_of(path: Path) -> Fingerprint:
    """In one pass: SHA-256, and the MD5s of S3: of the whole, and of the MD5s of its parts with their number."""
    sha256, whole = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    parts, size = [], 0
    try:
        with path.open("rb") as file:
            while True:
                part = hashlib.md5(usedforsecurity=False)
                for _ in range(PART // _CHUNK):
                    chunk = file.read(_CHUNK)
                    size += len(chunk)
                    for digest in (sha256, whole, part):
                        digest.update(chunk)
                parts.append(part.digest())
                if len(chunk) < _CHUNK:
                    break
    except OSError as error:
        raise unreadable(path, error) from error
    # A file of whole parts ends with an empty one, which no server counts.
    parts = parts[: max(-(-size // PART), 1)]
    joined = hashlib.md5(b"".join(parts), usedforsecurity=False).hexdigest()
    return Fingerprint(size, sha256.hexdigest(), frozenset({whole.hexdigest(), f"{joined}-{len(parts)}"}))


def unreadable(path: Path, error: OSError) -> StorageError:
    return StorageError(f"{str(path)!r} cannot be read: {error.strerror}. Check the path and its rights.")
