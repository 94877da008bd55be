from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from deployments.local.stack import LocalSupabase
from tests.storage.servers import CuttingProxy

MIB = 1 << 20
SIZE = 500 * MIB


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """500 MB, sparse on disk, with something of its own in every 10 MiB, so that no part can stand for another."""
    path = tmp_path / "film.mp4"
    with path.open("wb") as file:
        file.truncate(SIZE)
        for start in range(0, SIZE, 10 * MIB):
            file.seek(start)
            file.write(os.urandom(64 << 10))
    return path


@pytest.mark.stack
def test_500_mb_go_up_in_64_mb_of_memory_over_a_connection_that_is_cut(supabase: LocalSupabase, film: Path) -> None:
    with CuttingProxy(httpx.URL(supabase.url).port or 0, cuts=[100 * MIB, 300 * MIB + 12345]) as proxy:
        job = {"url": proxy.url, "key": supabase.secret_key, "task_id": secrets.token_hex(8), "file": str(film)}
        child = [sys.executable, "-m", "tests.storage.uploading"]
        done = subprocess.run(child, input=json.dumps(job), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert told["extra_kib"] < 64 * 1024
    assert proxy.done == 2
    assert proxy.passed < SIZE + 13 * MIB  # no more than the part that each cut broke
    path = httpx.URL(told["location"]).raw_path.decode()
    digest = hashlib.sha256()
    with httpx.stream("GET", supabase.url + path) as answer:
        for chunk in answer.iter_raw():
            digest.update(chunk)
    assert digest.hexdigest() == told["sha256"] == hash_of(film)


def hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
