from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from tasks.engines import registry
from tasks.engines.motion import MotionEngine
from tasks.engines.registry import UnknownEngine, capabilities, engine, names


def test_an_engine_is_made_by_its_name():
    assert engine("motion").name == "motion"
    assert engine("sketch").name == "sketch"


def test_capabilities_need_no_engine():
    assert capabilities("motion").makes_video
    assert capabilities("sketch").makes_images
    assert not capabilities("sketch").makes_video


def test_an_unknown_engine_names_the_nearest():
    with pytest.raises(UnknownEngine, match=r"no engine 'moton'.*'motion'"):
        engine("moton")


def test_another_package_can_add_an_engine(monkeypatch):
    added = EntryPoint("theirs", "tasks.engines.motion:MotionEngine", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [added] if group == registry.GROUP else [])
    assert isinstance(engine("theirs"), MotionEngine)
    assert "theirs" in names()


def test_another_package_cannot_take_one_of_our_names(monkeypatch):
    added = EntryPoint("motion", "tasks.engines.sketch:SketchEngine", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [added])
    assert isinstance(engine("motion"), MotionEngine)
    assert names().count("motion") == 1


def test_the_registry_imports_no_engine_before_it_is_asked():
    code = "import sys, tasks.engines.registry as r; r.names(); print('cv2' in sys.modules, 'torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", "False"]
