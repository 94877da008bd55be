from __future__ import annotations

from pathlib import Path

import pytest


def test_an_unknown_setting_is_refused_with_the_nearest_one(longtake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_GPU_SLOT", "2")
    answer = longtake("task", "list")
    assert answer.code == 2
    assert "LONGTAKE_GPU_SLOTS" in answer.err


def test_a_setting_of_the_wrong_kind_is_named(longtake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_GPU_SLOTS", "many")
    answer = longtake("task", "list")
    assert answer.code == 2
    assert "LONGTAKE_GPU_SLOTS" in answer.err
    assert "'many'" in answer.err


def test_an_option_wins_over_the_environment(longtake, home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert longtake("task", "list", "--home", other).code == 0
    assert (other / "queue.db").exists()
    assert not home.exists()


def test_a_home_that_cannot_be_made_is_refused(longtake, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = longtake("task", "list", "--home", tmp_path / "file" / "home")
    assert answer.code == 2
    assert "--home" in answer.err


def test_a_queue_file_that_is_none_is_told_without_a_traceback(longtake, home: Path) -> None:
    home.mkdir()
    (home / "queue.db").write_text("no database at all, but long enough to be looked at" * 20)
    answer = longtake("task", "list")
    assert answer.code in (1, 5)
    assert answer.err.startswith("error: ")
    assert "Traceback" not in answer.err


def test_setup_without_a_server_says_how_to_get_one(longtake) -> None:
    answer = longtake("setup")
    assert answer.code == 5
    assert "longtake up" in answer.err


def test_setup_on_a_server_that_does_not_answer_says_where_the_address_came_from(
    longtake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    answer = longtake("setup", "--json")
    assert answer.code == 5
    assert answer.document["error"]["code"] == "setup_failed"
    assert "PREFECT_API_URL" in answer.err
