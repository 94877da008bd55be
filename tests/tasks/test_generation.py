from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from blocks.engine import EngineChoice
from tasks.engines.protocol import EngineError, Request, Setup
from tasks.engines.store import ModelStore
from tasks.generation import Maker, setup_of


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    store = ModelStore()
    monkeypatch.setattr("tasks.generation.SHARED", store)
    return store


def test_the_operators_setup_is_that_of_the_block_field_by_field() -> None:
    wanted = Setup("bfloat16", "cuda:1", "model", True, True, "first_block", True, True)
    assert setup_of(EngineChoice(**{field.name: getattr(wanted, field.name) for field in fields(Setup)})) == wanted


def test_a_new_block_runs_models_as_the_engines_do_by_themselves() -> None:
    assert setup_of(EngineChoice()) == Setup()


def test_what_a_maker_loads_stays_for_the_next_clip(shared: ModelStore) -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    request = Request(64, 64, 5, 1, start=picture, end=picture)
    for _ in range(2):
        assert len(list(Maker("motion").frames(request, lambda *_: None))) == 5
    assert [(model.name, model.hits) for model in shared.loaded()] == [("motion:flow", 1)]


@pytest.mark.parametrize("engine", ["wan", "image", "motion", "sketch"])
def test_a_length_that_is_on_no_grid_is_refused_before_anything_is_loaded(engine: str, shared: ModelStore) -> None:
    with pytest.raises(EngineError, match="not 6"):
        Maker(engine, "nobody/has-this").frames(Request(64, 64, 6, 1), lambda *_: None)
    assert shared.loaded() == ()
