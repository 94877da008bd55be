from __future__ import annotations

from pathlib import Path

import pytest

from blocks.storage.local import LocalStorage
from blocks.storage.protocol import StorageError, StorageUnavailable, Stored
from tasks.files import WorkFolder, store


class Maker:
    """Writes a file and counts how often."""

    def __init__(self, content: bytes = b"clip") -> None:
        self.calls = 0
        self.content = content

    def __call__(self, out: Path) -> None:
        self.calls += 1
        out.write_bytes(self.content)


def test_a_finished_file_is_not_made_again_by_the_next_attempt(tmp_path: Path) -> None:
    make = Maker()
    first, made = WorkFolder(tmp_path, "t").made_once("clip.mp4", {"seed": 1}, make)
    again, made_again = WorkFolder(tmp_path, "t").made_once("clip.mp4", {"seed": 1}, make)
    assert (first, made, again, made_again, make.calls) == (again, True, first, False, 1)


def test_another_recipe_makes_another_file(tmp_path: Path) -> None:
    make = Maker()
    folder = WorkFolder(tmp_path, "t")
    folder.made_once("clip.mp4", {"seed": 1}, make)
    folder.made_once("clip.mp4", {"seed": 2}, make)
    assert make.calls == 2


def test_a_file_whose_maker_was_killed_is_made_again(tmp_path: Path) -> None:
    folder = WorkFolder(tmp_path, "t")

    def killed(out: Path) -> None:
        out.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folder.made_once("clip.mp4", {}, killed)
    path, made = folder.made_once("clip.mp4", {}, Maker(b"whole"))
    assert (path.read_bytes(), made) == (b"whole", True)


def test_a_file_that_was_cut_off_after_it_was_finished_is_made_again(tmp_path: Path) -> None:
    folder, make = WorkFolder(tmp_path, "t"), Maker(b"whole")
    path, _ = folder.made_once("clip.mp4", {}, make)
    path.write_bytes(b"who")
    folder.made_once("clip.mp4", {}, make)
    assert (path.read_bytes(), make.calls) == (b"whole", 2)


class Flaky(LocalStorage):
    """A real storage whose first calls find it away."""

    def __init__(self, root: Path, error: StorageError, failures: int) -> None:
        super().__init__(root)
        self.error, self.failures, self.calls = error, failures, 0

    def put(self, source: Path, **place: object) -> Stored:  # type: ignore[override]
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return super().put(source, **place)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)


def put(storage: LocalStorage, source: Path) -> Stored:
    return store(storage, source, owner="u", task_id="t", attempt=1, name="clip.mp4")


def test_a_storage_that_is_away_for_a_moment_costs_nothing(tmp_path: Path) -> None:
    source = tmp_path / "clip.mp4"
    source.write_bytes(b"clip")
    stored = put(Flaky(tmp_path / "s", StorageUnavailable("away"), failures=3), source)
    assert Path(stored.location).read_bytes() == b"clip"


def test_a_storage_that_refuses_is_not_asked_again(tmp_path: Path) -> None:
    storage = Flaky(tmp_path / "s", StorageError("no such bucket"), failures=9)
    with pytest.raises(StorageError, match="no such bucket"):
        put(storage, tmp_path / "clip.mp4")
    assert storage.calls == 1
