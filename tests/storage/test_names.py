from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from blocks.storage.names import PART, content_type_of, fingerprint_of, safe_name
from blocks.storage.protocol import StorageError


@pytest.mark.parametrize(
    "odd", ["../../etc/passwd", "näme mit Löchern?.mp4", "", "...", "a" * 500, "x\x00y", "/abs", "ab." + "c" * 119]
)
def test_an_odd_name_becomes_one_plain_path_element(odd: str) -> None:
    name = safe_name(odd)
    assert name
    assert "/" not in name
    assert not name.startswith(".")
    assert name.isascii()
    assert len(name) <= 120


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 5])
def test_a_fingerprint_knows_the_etags_of_one_call_and_of_parts(tmp_path: Path, size: int) -> None:
    file = tmp_path / "clip"
    file.write_bytes(content := os.urandom(size))
    parts = [hashlib.md5(content[at : at + PART]).digest() for at in range(0, max(size, 1), PART)]
    found = fingerprint_of(file)
    assert (found.size, found.sha256) == (size, hashlib.sha256(content).hexdigest())
    assert found.etags == {hashlib.md5(content).hexdigest(), f"{hashlib.md5(b''.join(parts)).hexdigest()}-{len(parts)}"}


def test_a_file_is_declared_as_media_or_as_nothing_definite() -> None:
    assert [content_type_of(name) for name in ("a.MP4", "b.webp", "c.json")] == [
        "video/mp4",
        "image/webp",
        "application/json",
    ]
    assert {content_type_of(name) for name in ("page.html", "x.svg", "y.js", "lora.safetensors", "none")} == {
        "application/octet-stream"
    }


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere.*cannot be read"):
        fingerprint_of(tmp_path / "nowhere")
