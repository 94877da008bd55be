from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from blocks.storage.local import LocalStorage
from blocks.storage.protocol import StorageError

KEY = {"owner": "user-1", "task_id": "task-1"}


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "storage")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"moving pictures")
    return path


def test_a_stored_file_lies_under_owner_task_and_attempt(storage: LocalStorage, clip: Path) -> None:
    stored = storage.put(clip, **KEY, attempt=2, name="clip.mp4")
    assert Path(stored.location) == storage.root / "user-1/task-1/2/clip.mp4"


def test_what_is_stored_is_what_was_given(storage: LocalStorage, clip: Path) -> None:
    stored = storage.put(clip, **KEY, attempt=1, name="clip.mp4")
    assert Path(stored.location).read_bytes() == clip.read_bytes()
    assert stored.sha256 == hashlib.sha256(clip.read_bytes()).hexdigest()
    assert stored.size == len(clip.read_bytes())


def test_two_attempts_with_one_file_name_do_not_overwrite_each_other(storage: LocalStorage, clip: Path) -> None:
    first = storage.put(clip, **KEY, attempt=1, name="clip.mp4")
    clip.write_bytes(b"another take")
    storage.put(clip, **KEY, attempt=2, name="clip.mp4")
    assert Path(first.location).read_bytes() == b"moving pictures"


def test_a_user_gives_the_same_picture_twice_and_it_is_stored_once(storage: LocalStorage, clip: Path) -> None:
    assert storage.put_input(clip, owner="u").location == storage.put_input(clip, owner="u").location


def test_storing_leaves_no_partial_file_behind(storage: LocalStorage, clip: Path) -> None:
    stored = storage.put(clip, **KEY, attempt=1, name="clip.mp4")
    assert [p.name for p in Path(stored.location).parent.iterdir()] == ["clip.mp4"]


def test_storing_a_missing_file_says_which(storage: LocalStorage, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere\.mp4.*Check the path"):
        storage.put(tmp_path / "nowhere.mp4", **KEY, attempt=1, name="x.mp4")


def test_a_stored_file_can_be_fetched_by_its_location(storage: LocalStorage, clip: Path, tmp_path: Path) -> None:
    stored = storage.put(clip, **KEY, attempt=1, name="clip.mp4")
    assert storage.fetch(stored.location, tmp_path).read_bytes() == clip.read_bytes()


def test_fetching_what_is_not_there_names_it(storage: LocalStorage, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"no file '/no/such\.png'"):
        storage.fetch("/no/such.png", tmp_path)


def test_an_address_of_the_web_is_refused_without_its_query(storage: LocalStorage, tmp_path: Path) -> None:
    with pytest.raises(StorageError) as refused:
        storage.fetch("https://example.com/a.png?token=secret", tmp_path)
    assert "secret" not in str(refused.value)


def test_deleting_removes_our_file_and_its_empty_folder(storage: LocalStorage, clip: Path) -> None:
    stored = storage.put(clip, **KEY, attempt=1, name="clip.mp4")
    storage.delete(stored.location)
    assert not Path(stored.location).parent.exists()


def test_deleting_never_touches_a_file_outside_the_storage(storage: LocalStorage, clip: Path) -> None:
    storage.delete(str(clip))
    storage.delete(str(storage.root / ".." / "clip.mp4"))
    assert clip.exists()
