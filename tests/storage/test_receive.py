from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.storage.protocol import StorageUnavailable
from blocks.storage.receive import Body, Limits, receive

QUICK = Limits(pause=0.001)


def test_an_end_before_the_promised_one_is_no_end_even_if_the_connection_calls_it_one(tmp_path: Path) -> None:
    @contextlib.contextmanager
    def open_at(offset: int, etag: str | None) -> Iterator[Body]:
        yield Body(0, 10, None, iter([b"12345"]))

    with pytest.raises(StorageUnavailable, match="5 of 10 bytes arrived"):
        receive(open_at, tmp_path / "a", QUICK, what="a", only_media=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_an_etag_is_begun_anew_after_a_cut(tmp_path: Path) -> None:
    asked: list[tuple[int, str | None]] = []

    @contextlib.contextmanager
    def open_at(offset: int, etag: str | None) -> Iterator[Body]:
        asked.append((offset, etag))
        yield Body(0, 10, None, iter([b"12345"] if len(asked) == 1 else [b"abcde", b"fghij"]))

    assert receive(open_at, tmp_path / "a", QUICK, what="a", only_media=False).read_bytes() == b"abcdefghij"
    assert asked == [(0, None), (5, None)]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageUnavailable, match=r"cannot be written.*Check room and rights"):
        receive(lambda *_: contextlib.nullcontext(), tmp_path / "file" / "a", QUICK, what="a", only_media=False)  # type: ignore[arg-type]
