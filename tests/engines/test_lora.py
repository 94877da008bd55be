from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.engines.diffusion.weights import BadWeights
from tasks.engines.protocol import Engine, EngineError, Request, Setup
from tasks.engines.store import ModelStore
from tests.engines.conftest import Models, Ready, clip_request, frames_of

KINDS = [("wan", "flf2v"), ("wan", "a14b"), ("wan", "vace"), ("image", "image")]


def request(engine: Engine, loras: dict[Path, float] | None = None) -> Request:
    named = {str(path): strength for path, strength in (loras or {}).items()}
    single = {} if engine.capabilities.makes_video else {"frames": 1, "start": None, "end": None}
    return clip_request(loras=named, **single)


@pytest.mark.parametrize(("engine", "model"), KINDS)
def test_a_lora_shows_and_without_it_the_base_is_back_bit_for_bit(
    engine: str, model: str, ready: Ready, models: Models
) -> None:
    made, lora = ready(engine, model), models.lora(model)
    base = frames_of(made, request(made))
    whole, half = (frames_of(made, request(made, {lora: strength})) for strength in (1.0, 0.5))
    assert not np.array_equal(base, whole)
    assert not np.array_equal(whole, half)
    assert np.array_equal(base, frames_of(made, request(made)))


def test_several_loras_add_up_and_leave_one_by_one(ready: Ready, models: Models) -> None:
    made, one, two = ready("wan", "flf2v"), models.lora("flf2v"), models.lora("flf2v", seed=8)
    alone = frames_of(made, request(made, {one: 1.0}))
    both = frames_of(made, request(made, {one: 1.0, two: 1.0}))
    assert not np.array_equal(alone, both)
    assert np.array_equal(alone, frames_of(made, request(made, {one: 1.0})))
    assert np.array_equal(both, frames_of(made, request(made, {one: 1.0, two: 1.0})))


def test_the_same_lora_is_read_once(ready: Ready, models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    made, lora, reads = ready("wan", "flf2v"), models.lora("flf2v", seed=9), []
    load = made._pipe.load_lora_weights  # type: ignore[attr-defined]
    monkeypatch.setattr(
        made._pipe,  # type: ignore[attr-defined]
        "load_lora_weights",
        lambda *a, **k: (reads.append(1), load(*a, **k)),
    )
    for strength in (1.0, 1.0, 0.5):
        frames_of(made, request(made, {lora: strength}))
    assert len(reads) == 1


@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_loras_come_and_go_while_parts_are_offloaded(
    offload: Any, ready: Ready, models: Models, store: ModelStore
) -> None:
    plain, lora = ready("wan", "flf2v"), models.lora("flf2v")
    base, styled = (frames_of(plain, request(plain, loras)) for loras in (None, {lora: 1.0}))
    small = store.get("wan", str(models["flf2v"]), Setup(offload=offload, device="cpu"))
    for loras, wanted in ((None, base), ({lora: 1.0}, styled), (None, base)):
        assert np.array_equal(frames_of(small, request(small, loras)), wanted)


@pytest.mark.parametrize(
    ("name", "halves"),
    [("x_high_noise.safetensors", {0}), ("X-LowNoise.safetensors", {1}), ("x.safetensors", {0, 1})],
)
def test_a_lora_of_a_pair_goes_into_its_half_of_the_model(
    name: str, halves: set[int], ready: Ready, models: Models, tmp_path: Path
) -> None:
    file = tmp_path / name
    file.write_bytes(models.lora("a14b").read_bytes())
    made = ready("wan", "a14b")
    frames_of(made, request(made, {file: 1.0}))
    adapters = made._pipe.get_list_adapters()  # type: ignore[attr-defined]
    assert {i for i, part in enumerate(("transformer", "transformer_2")) if part in adapters} == halves


def test_a_lora_for_another_model_is_refused_and_the_base_stays_as_it_was(ready: Ready, models: Models) -> None:
    made, foreign = ready("wan", "flf2v"), models.lora("image")
    base = frames_of(made, request(made))
    with pytest.raises(EngineError, match=f"The LoRA {foreign.name} does not fit"):
        frames_of(made, request(made, {foreign: 1.0}))
    assert np.array_equal(base, frames_of(made, request(made)))


def test_a_pickle_in_a_loras_clothes_is_refused(ready: Ready, tmp_path: Path) -> None:
    import torch

    file, made = tmp_path / "style.safetensors", ready("wan", "flf2v")
    torch.save({"a": torch.zeros(1)}, file)
    with pytest.raises(BadWeights, match="whatever its name, it is a pickle"):
        frames_of(made, request(made, {file: 1.0}))
