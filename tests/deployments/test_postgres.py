from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from deployments.stack import home as homes
from deployments.stack.errors import DatabaseMismatch, ProcessDied
from deployments.stack.leftovers import wait_gone
from deployments.stack.postgres import Postgres, find_binaries

pytestmark = pytest.mark.stack


def make(home: Path, port: int | None = None) -> Postgres:
    log = home / "postgres.log"
    return Postgres(home / "postgres", "secret", port or homes.free_port(), log, dict(os.environ), durable=False)


def test_data_of_another_major_version_is_refused_and_kept(home: Path) -> None:
    cluster = make(home)
    cluster.data_dir.mkdir()
    (cluster.data_dir / "PG_VERSION").write_text("9\n")
    with pytest.raises(DatabaseMismatch, match=rf"PostgreSQL 9, installed is {find_binaries().version}.*pip install"):
        cluster.create()


def test_the_password_file_is_gone_after_creation(home: Path) -> None:
    cluster = make(home)
    cluster.create()
    assert [path.name for path in cluster.folder.iterdir()] == ["data"]


def test_a_taken_port_is_told_with_the_end_of_the_log(home: Path) -> None:
    port = homes.free_port()
    first, second = make(home, port), make(home / "second", port)
    first.create()
    second.folder.parent.chmod(0o755)
    second.create()
    first.start()
    first.wait_ready()
    second.start()
    with pytest.raises(ProcessDied, match="could not bind"):
        second.wait_ready()
    first.stop()


def test_a_killed_server_that_nobody_buried_does_not_stop_the_next(home: Path) -> None:
    killed = make(home)
    killed.create()
    child = killed.start()
    killed.wait_ready()
    os.kill(child.pid, 9)
    wait_gone([psutil.Process(child.pid)], patience=5)  # but not buried: a zombie
    successor = make(home)
    successor.start()
    successor.wait_ready()
    successor.stop()
    child.close()
