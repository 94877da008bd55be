from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blocks.queue.sqlite import SqliteQueue
from deployments.cli.main import run
from tests.supabase_stack import supabase

__all__ = ["supabase"]


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Program = Callable[..., Answer]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, which does not exist yet."""
    home = tmp_path / "home"
    monkeypatch.setenv("LONGTAKE_HOME", str(home))
    return home


@pytest.fixture
def longtake(home: Path, capfd: pytest.CaptureFixture[str]) -> Program:
    """The program, called in this process: its exit code and what it wrote."""

    def call(*arguments: object) -> Answer:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        return Answer(int(code), *capfd.readouterr())

    return call


@pytest.fixture
def queue(home: Path) -> Iterator[SqliteQueue]:
    opened = SqliteQueue(home / "queue.db")
    yield opened
    opened.close()


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.png" for name in ("one", "two", "three")]
    for shade, path in enumerate(paths):
        Image.fromarray(np.full((90, 160, 3), 60 * shade, np.uint8)).save(path)
    return paths
