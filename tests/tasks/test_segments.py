from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from blocks.storage.protocol import StorageUnavailable
from tasks.segments import check_bytes


def test_a_file_with_other_bytes_than_its_task_has_stored_is_not_used(tmp_path: Path) -> None:
    film = tmp_path / "segment.mp4"
    film.write_bytes(b"as it was")
    wanted = hashlib.sha256(b"as it was").hexdigest()
    check_bytes(film, wanted, "segment 2: here")
    film.write_bytes(b"as it is now")
    with pytest.raises(StorageUnavailable, match=f"segment 2: here is not what .* and was {wanted}"):
        check_bytes(film, wanted, "segment 2: here")
