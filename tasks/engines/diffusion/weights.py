"""Whether weight files are what they should be, before any library opens one. Needs no torch.

A safetensors file begins with the length of a JSON header, which says where each tensor's bytes lie: a file that was
cut off is known by its size. Pickles run code when they are opened, so they never are.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from tasks.engines.protocol import EngineError

_LONGEST_HEADER = 100_000_000  # as the format's own reader has it
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_WIDTHS = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}
_FLOATS = ("F64", "F32", "F16", "BF16")
_INDEX = ".safetensors.index.json"
_SHA256 = re.compile(r"[0-9a-f]{64}")
#: Of the names that a component's weights may have, diffusers' and transformers'.
_WHOLE = ("diffusion_pytorch_model.safetensors", "model.safetensors")

#: Files whose hash was found right in this process: (path, size, time of change).
_verified: set[tuple[str, int, int]] = set()


class BadWeights(EngineError):
    """A weight file is damaged, missing or of a kind that is not opened; `path` says which."""

    def __init__(self, path: Path, message: str) -> None:
        self.path = path
        super().__init__(f"{path}: {message}")


@dataclass(frozen=True, slots=True)
class Header:
    """What a safetensors file holds: tensor names, and how many numbers of each type."""

    tensors: tuple[str, ...]
    numbers: Mapping[str, int]

    def size(self, float_width: int) -> int:
        """Bytes in memory once its floating-point numbers are loaded at this width."""
        return sum(n * (float_width if kind in _FLOATS else _WIDTHS.get(kind, 1)) for kind, n in self.numbers.items())


def read_header(path: Path) -> Header:
    """Raises `BadWeights` for a pickle, by name or by content, and for a file that is not whole."""
    if path.suffix in _PICKLES:
        raise BadWeights(path, _no_pickles())
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            refuse_pickle(path, start)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or length > min(_LONGEST_HEADER, size - 8):
                raise BadWeights(path, "it is no safetensors file, or only the beginning of one. Fetch it again.")
            entries = json.loads(file.read(length))
        spans = {name: entry for name, entry in entries.items() if name != "__metadata__"}
        ends = [_checked_end(entry) for entry in spans.values()]
    except OSError as error:
        raise BadWeights(path, f"it cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadWeights(path, "its header makes no sense, so it is damaged. Fetch it again.") from error
    whole = 8 + length + max(ends, default=0)
    if size != whole:
        raise BadWeights(path, f"it has {size} bytes and its header promises {whole}. It was cut off; fetch it again.")
    numbers: dict[str, int] = {}
    for entry in spans.values():
        numbers[entry["dtype"]] = numbers.get(entry["dtype"], 0) + prod(entry["shape"])
    return Header(tuple(spans), numbers)


def refuse_pickle(path: Path, start: bytes) -> None:
    """A pickle under another name: bare, or in torch's zip."""
    if start[:2] == b"PK" or (start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")):
        raise BadWeights(path, f"whatever its name, it is a pickle. {_no_pickles()}")


def _checked_end(entry: Mapping[str, Any]) -> int:
    begin, end = entry["data_offsets"]
    width = _WIDTHS.get(entry["dtype"])
    if begin > end or (width and end - begin != prod(entry["shape"]) * width):
        raise ValueError("a tensor's place does not fit its shape")
    return int(end)


def _no_pickles() -> str:
    return "Pickles run code when they are opened and are refused; use a safetensors version of the weights."


def weight_files(folder: Path) -> list[Path]:
    """All weights that a pipeline's folder would load. Raises `BadWeights` for what is missing or only a pickle."""
    components = read_json(folder / "model_index.json")
    found: list[Path] = []
    for name, value in components.items():
        home = folder / name
        # Only models have a config.json; schedulers, tokenizers and processors name theirs otherwise.
        if isinstance(value, list) and value[0] is not None and (home / "config.json").is_file():
            found += _component_files(home)
    return found


def _component_files(home: Path) -> list[Path]:
    indexes = sorted(home.glob(f"*{_INDEX}"))
    if indexes:
        files = [home / name for name in sorted(set(read_json(indexes[0])["weight_map"].values()))]
    else:
        files = [home / name for name in _WHOLE if (home / name).is_file()]
    for file in files:
        if not file.is_file():
            raise BadWeights(file, f"the index {indexes[0].name} names it, and it is not there. Fetch the model again.")
    if files:
        return files
    pickles = sorted(file for file in home.iterdir() if file.suffix in _PICKLES)
    if pickles:
        raise BadWeights(pickles[0], _no_pickles())
    raise BadWeights(home, f"there are no weights, neither {' nor '.join(_WHOLE)}. Fetch the model again.")


def verify(folder: Path) -> list[Header]:
    """The headers of all weights of a pipeline's folder, each file whole and, where a hash is known, of that hash."""
    files = weight_files(folder)
    headers = [read_header(file) for file in files]
    known = _manifest(folder)
    for file in files:
        wanted = known.get(file.relative_to(folder).as_posix()) or _hub_hash(folder, file)
        if wanted:
            _check_hash(file, wanted)
    return headers


def _manifest(folder: Path) -> dict[str, str]:
    path = folder / "SHA256SUMS"
    if not path.is_file():
        return {}
    lines = (line.split(maxsplit=1) for line in path.read_text().splitlines() if line.strip())
    return {rest.strip().removeprefix("*").removeprefix("./"): digest.lower() for digest, rest in lines}


def _hub_hash(folder: Path, file: Path) -> str | None:
    """What the model hub said: a file of its cache is named by its hash; a plain folder keeps notes beside it."""
    candidates: Iterator[str] = iter((file.resolve().name,))
    note = folder / ".cache" / "huggingface" / "download" / f"{file.relative_to(folder).as_posix()}.metadata"
    if note.is_file():
        candidates = iter(note.read_text().splitlines()[1:2])
    return next((text for text in candidates if _SHA256.fullmatch(text)), None)


def _check_hash(file: Path, wanted: str) -> None:
    status = file.stat()
    key = (os.path.realpath(file), status.st_size, status.st_mtime_ns)
    if key in _verified:
        return
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if digest != wanted:
        raise BadWeights(file, f"its SHA-256 is {digest}, not {wanted} as published. Fetch it again.")
    _verified.add(key)


def read_json(path: Path) -> dict[str, Any]:
    """A model's own description. Raises `BadWeights` where it is missing or no JSON object."""
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise BadWeights(path, f"it cannot be read: {error.strerror}. Is the folder a whole pipeline?") from error
    except ValueError as error:
        raise BadWeights(path, f"it is no JSON: {error}. Fetch the model again.") from error
    if not isinstance(content, dict):
        raise BadWeights(path, "it is no JSON object. Fetch the model again.")
    return content
