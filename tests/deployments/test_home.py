from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from deployments.settings import Connection, Settings
from deployments.stack import home
from deployments.stack.errors import HomeInUse, StackError
from deployments.stack.prefect_env import base_environment


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings.load(home=tmp_path / "home")
    home.prepare(made)
    return made


def test_secrets_are_made_once(settings: Settings) -> None:
    assert home.load_secrets(settings.home) == home.load_secrets(settings.home)


def test_two_homes_have_different_secrets(settings: Settings, tmp_path: Path) -> None:
    assert home.load_secrets(settings.home) != home.load_secrets(tmp_path)


def test_nobody_else_can_read_the_secrets(settings: Settings) -> None:
    home.load_secrets(settings.home)
    assert stat.S_IMODE((settings.home / "secrets.json").stat().st_mode) == 0o600


def test_secrets_do_not_show_in_a_traceback(settings: Settings) -> None:
    secrets = home.load_secrets(settings.home)
    assert secrets.database_password not in repr(secrets)


def test_damaged_secrets_are_not_replaced_silently(settings: Settings) -> None:
    (settings.home / "secrets.json").write_text("{")
    with pytest.raises(StackError, match="damaged"):
        home.load_secrets(settings.home)


def test_temporary_files_of_our_processes_stay_at_home(settings: Settings) -> None:
    """Prefect's workers share a folder below the system's temporary one, which the first user of a machine owns."""
    environment = base_environment(settings, {"TMPDIR": "/shared"})
    assert environment["TMPDIR"] == str(settings.tmp_dir)
    assert settings.tmp_dir.is_dir()


def test_a_second_up_learns_who_holds_the_home(settings: Settings) -> None:
    lock, second = home.HomeLock(settings.home), home.HomeLock(settings.home)
    lock.acquire()
    with pytest.raises(HomeInUse, match=rf"{settings.home} \(process {os.getpid()}\)"):
        second.acquire()
    lock.release()


def test_a_released_home_can_be_taken_again(settings: Settings) -> None:
    lock = home.HomeLock(settings.home)
    lock.acquire()
    lock.release()
    lock.acquire()
    assert lock.held
    lock.release()


def test_the_server_keeps_its_port_between_starts(settings: Settings) -> None:
    port = home.free_port()
    home.write_connection(settings, Connection(f"http://127.0.0.1:{port}/api", "a:b", "test"), port)
    assert home.choose_server_port(settings) == port


def test_a_kept_port_that_is_taken_meanwhile_is_given_up(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        home.write_connection(settings, Connection(f"http://127.0.0.1:{port}/api", "a:b", "test"), port)
        assert home.choose_server_port(settings) != port


def test_a_port_asked_for_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = Settings.load(home=tmp_path, server_port=other.getsockname()[1])
        with pytest.raises(StackError, match="LONGTAKE_SERVER_PORT"):
            home.choose_server_port(settings)


def test_a_home_that_cannot_be_made_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StackError, match="LONGTAKE_HOME"):
        home.prepare(Settings.load(home=tmp_path / "file" / "home"))
