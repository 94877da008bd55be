"""The entry point of the images, as a real process and by its rules."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.images.secret_files import UnusableSecret, with_secrets

ENTRY = [sys.executable, "-m", "deployments.images.secret_files"]
SHOW = [sys.executable, "-c", "import os; print(os.environ.get('PREFECT_API_AUTH_STRING'))"]


def enter(command: list[str], **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ENTRY, *command], capture_output=True, text=True, env={**os.environ, **environ})


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "auth"
    path.write_text("longtake:word\n")
    return path


def test_the_command_gets_what_the_file_says(secret: Path) -> None:
    ended = enter(SHOW, PREFECT_API_AUTH_STRING_FILE=str(secret))
    assert (ended.stdout, ended.returncode) == ("longtake:word\n", 0)


def test_a_file_that_is_not_there_stops_it_with_its_name(tmp_path: Path) -> None:
    ended = enter(SHOW, PREFECT_API_AUTH_STRING_FILE=str(tmp_path / "none"))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.count("\n") == 1
    assert "PREFECT_API_AUTH_STRING_FILE" in ended.stderr
    assert str(tmp_path / "none") in ended.stderr


def test_a_folder_in_its_place_stops_it(tmp_path: Path) -> None:
    """What Docker makes of a file that was missing on the host."""
    assert "Is a directory" in enter(SHOW, PREFECT_API_AUTH_STRING_FILE=str(tmp_path)).stderr


@pytest.mark.parametrize("content", ["", " \n"])
def test_an_empty_secret_is_none(secret: Path, content: str) -> None:
    secret.write_text(content)
    with pytest.raises(UnusableSecret, match="empty"):
        with_secrets({"PREFECT_API_AUTH_STRING_FILE": str(secret)})


def test_no_error_tells_the_secret(secret: Path) -> None:
    secret.write_bytes(b"\xffword")
    with pytest.raises(UnusableSecret, match="UTF-8") as refused:
        with_secrets({"PREFECT_API_AUTH_STRING_FILE": str(secret)})
    assert "word" not in str(refused.value)


def test_given_as_a_file_and_as_a_variable_it_is_refused(secret: Path) -> None:
    with pytest.raises(UnusableSecret, match="both set"):
        with_secrets({"LONGTAKE_SUPABASE_KEY": "one", "LONGTAKE_SUPABASE_KEY_FILE": str(secret)})


def test_the_name_of_the_file_is_gone_since_longtake_refuses_settings_it_does_not_know(secret: Path) -> None:
    environ = with_secrets({"LONGTAKE_SUPABASE_KEY_FILE": str(secret), "LONGTAKE_HOME": "/h"})
    assert environ == {"LONGTAKE_SUPABASE_KEY": "longtake:word", "LONGTAKE_HOME": "/h"}


def test_files_that_are_no_secrets_are_left_alone() -> None:
    environ = {"PREFECT_API_SSL_CERT_FILE": "/etc/ca.pem", "SSL_CERT_FILE": "/etc/ca.pem"}
    assert with_secrets(environ) == environ


def test_the_command_takes_the_process_over_and_so_gets_its_signals() -> None:
    wait = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    command = [*ENTRY, sys.executable, "-c", wait]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == -signal.SIGTERM
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_command_that_is_not_there_is_named() -> None:
    assert "nothing-of-this-name cannot be started" in enter(["nothing-of-this-name"]).stderr


def test_no_command_is_refused() -> None:
    assert "Name one" in enter([]).stderr
