from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from deployments.settings import MARKER, Connection, Settings, UnknownSetting
from deployments.stack.home import write_connection


def test_a_misspelt_setting_is_refused_with_the_nearest_known_name() -> None:
    with pytest.raises(UnknownSetting, match=r"LONGTAKE_GPU_SLOT is not a setting.*Did you mean LONGTAKE_GPU_SLOTS\?"):
        Settings.load({"LONGTAKE_GPU_SLOT": "2"})


def test_a_setting_like_no_other_is_refused_with_all_known_names() -> None:
    with pytest.raises(UnknownSetting, match=r"Known: LONGTAKE_HOME, LONGTAKE_ENGINE"):
        Settings.load({"LONGTAKE_XYZZY": "2"})


def test_a_process_of_the_stack_may_read_settings_too() -> None:
    assert Settings.load({MARKER: "/somewhere"}).engine == "motion"


def test_a_setting_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_GPU_SLOTS", "3")
    assert Settings.load().slots("gpu") == 3


def test_an_option_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_GPU_SLOTS", "3")
    assert Settings.load(gpu_slots=2, cpu_slots=None).gpu_slots == 2


def test_a_pool_of_control_with_one_slot_is_refused() -> None:
    with pytest.raises(ValidationError, match="control_slots"):
        Settings.load(control_slots=1)  # poll would hold it, and no orchestrator could ever run


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings.load().engine = "wan"  # type: ignore[misc]


def test_the_home_becomes_absolute_and_holds_everything() -> None:
    settings = Settings.load(home=Path("~/film"))
    assert settings.queue_path == Path.home() / "film" / "queue.db"


def test_prefect_api_url_names_the_server(tmp_path: Path) -> None:
    found = Settings.load(home=tmp_path).connection({"PREFECT_API_URL": "https://prefect.example/api"})
    assert found == Connection("https://prefect.example/api", None, "PREFECT_API_URL")


def test_without_it_the_server_of_this_home_is_meant(tmp_path: Path) -> None:
    settings = Settings.load(home=tmp_path)
    write_connection(settings, Connection("http://127.0.0.1:4201/api", "u:secret", "longtake up"), 4201)
    found = settings.connection({})
    assert found is not None
    assert (found.ui_url, found.auth_string) == ("http://127.0.0.1:4201", "u:secret")


def test_without_both_there_is_none(tmp_path: Path) -> None:
    assert Settings.load(home=tmp_path).connection({}) is None


def test_a_connection_does_not_show_its_secret() -> None:
    assert "secret" not in repr(Connection("http://127.0.0.1:1/api", "u:secret", "test"))
