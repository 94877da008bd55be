from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from tasks.engines.diffusion import memory
from tasks.engines.protocol import EngineOutOfMemory
from tasks.engines.store import ModelStore
from tasks.engines.wan import WanEngine
from tests.engines.conftest import Models, clip_request, frames_of

RUNGS = ["free caches", "VAE tiling and slicing", "model offload", "sequential offload"]


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_remembered", {})


def short_of_memory(wan: WanEngine, times: int) -> None:
    """The next calls of the decoder fail as on a full GPU: late in the clip, as it happens there."""
    import torch

    left = [times]

    def fail(*_: Any) -> None:
        if left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    wan._pipe.vae.decoder.register_forward_pre_hook(fail)


def loaded(models: Models) -> WanEngine:
    wan = WanEngine()
    wan.load(str(models["flf2v"]))
    return wan


@pytest.mark.parametrize("failures", range(1, 5))
def test_out_of_memory_climbs_rung_by_rung_to_the_same_frames(
    failures: int, models: Models, caplog: pytest.LogCaptureFixture
) -> None:
    wan = loaded(models)
    wanted = frames_of(wan, clip_request())
    short_of_memory(wan, failures)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(wanted, frames_of(wan, clip_request()))
    told = [record.args[1] for record in caplog.records if record.msg.startswith("out_of_memory")]  # type: ignore[index]
    assert told == RUNGS[:failures]


def test_above_the_last_rung_the_error_says_what_was_tried_and_what_to_change(models: Models) -> None:
    wan = loaded(models)
    short_of_memory(wan, 99)
    with pytest.raises(EngineOutOfMemory) as error:
        frames_of(wan, clip_request())
    for word in ("5 frames of 32×32", *RUNGS, "fewer frames"):
        assert word in str(error.value)


def test_the_rung_that_held_is_remembered_for_the_model(models: Models) -> None:
    wan = loaded(models)
    short_of_memory(wan, 3)
    frames_of(wan, clip_request())
    again = loaded(models)
    assert again._placement.offload == "model"
    assert again._pipe.vae.use_tiling


def test_another_error_is_not_taken_for_want_of_memory(models: Models) -> None:
    wan = loaded(models)
    wan._pipe.vae.decoder.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        frames_of(wan, clip_request())
    assert wan._placement.offload == "none"


def test_out_of_memory_other_models_leave_before_anything_is_offloaded(models: Models) -> None:
    store = ModelStore()
    store.get("image", str(models["image"]))
    wan = store.get("wan", str(models["flf2v"]))
    assert isinstance(wan, WanEngine)
    short_of_memory(wan, 2)
    frames_of(wan, clip_request())
    assert [model.engine for model in store.loaded()] == ["wan"]
    assert wan._placement.offload == "none"
