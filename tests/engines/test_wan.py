from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks.engines.diffusion import watch
from tasks.engines.diffusion.engine import to_frames
from tasks.engines.protocol import EngineError, Setup
from tasks.engines.store import ModelStore
from tasks.engines.wan import WanEngine
from tests.engines.conftest import Models, Ready, clip_request, frames_of, ignore, picture

TWO_ANCHORS = ("flf2v", "a14b", "vace")
END_IGNORED = ("i2v", "ti2v", "t2v")


@pytest.mark.parametrize("model", TWO_ANCHORS)
def test_both_anchors_change_the_clip(model: str, ready: Ready) -> None:
    wan = ready("wan", model)
    clip = frames_of(wan, clip_request())
    assert not np.array_equal(clip, frames_of(wan, clip_request(start=picture(3))))
    assert not np.array_equal(clip, frames_of(wan, clip_request(end=picture(3))))


@pytest.mark.parametrize("model", TWO_ANCHORS)
def test_the_same_seed_gives_the_same_frames_and_another_seed_others(model: str, ready: Ready) -> None:
    wan = ready("wan", model)
    clip = frames_of(wan, clip_request())
    assert clip.shape == (5, 32, 32, 3)
    assert clip.dtype == np.uint8
    assert np.array_equal(clip, frames_of(wan, clip_request()))
    assert not np.array_equal(clip, frames_of(wan, clip_request(seed=2)))


@pytest.mark.parametrize("option", [{"flow_shift": 9.0}, {"guidance_scale": 6.0}, {"steps": 3}])
def test_options_reach_the_pipeline_and_last_for_one_request(option: dict[str, float], ready: Ready) -> None:
    wan = ready("wan", "flf2v")
    plain = clip_request()
    before = frames_of(wan, plain)
    assert not np.array_equal(before, frames_of(wan, clip_request(options=dict(plain.options) | option)))
    assert np.array_equal(before, frames_of(wan, plain))


@pytest.mark.parametrize("model", END_IGNORED)
def test_a_model_that_would_ignore_the_end_is_refused_by_name_before_it_is_loaded(model: str, models: Models) -> None:
    with pytest.raises(EngineError, match=rf"(?s){model} is .* ignore the end picture.* Use Wan-AI/Wan2.1-FLF2V"):
        WanEngine().check(str(models[model]), clip_request())


@pytest.mark.parametrize("model", END_IGNORED)
def test_a_loaded_model_refuses_the_end_before_any_work(model: str, ready: Ready) -> None:
    with pytest.raises(EngineError, match="ignore the end picture"):
        ready("wan", model).generate(clip_request(), ignore)


@pytest.mark.parametrize(
    ("model", "pictures", "problem"),
    [
        ("flf2v", {"end": None}, "needs an end picture"),
        ("flf2v", {"start": None}, "needs a start picture"),
        ("a14b", {"start": None}, "needs a start picture"),
        ("t2v", {"end": None}, "ignore the start picture"),
    ],
)
def test_a_missing_or_useless_picture_is_named(
    model: str, pictures: dict[str, None], problem: str, models: Models
) -> None:
    with pytest.raises(EngineError, match=problem):
        WanEngine().check(str(models[model]), clip_request(**pictures))


@pytest.mark.parametrize("model", ["t2v", "ti2v", "vace"])
def test_some_models_need_no_picture(model: str, ready: Ready) -> None:
    assert len(frames_of(ready("wan", model), clip_request(start=None, end=None))) == 5


@pytest.mark.parametrize("model", ["i2v", "ti2v", "a14b", "vace"])
def test_some_models_go_on_from_one_picture(model: str, ready: Ready) -> None:
    wan = ready("wan", model)
    clip = frames_of(wan, clip_request(end=None))
    assert not np.array_equal(clip, frames_of(wan, clip_request(end=None, start=picture(3))))


@pytest.mark.parametrize("model", TWO_ANCHORS)
def test_a_chained_clip_depends_on_its_past(model: str, ready: Ready) -> None:
    wan = ready("wan", model)
    past = [picture(5), picture(6)]
    clip = frames_of(wan, clip_request(context=past))
    assert not np.array_equal(clip, frames_of(wan, clip_request(context=past[::-1])))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"frames": 6}, r"4n\+1 frames, not 6"),
        ({"frames": 0}, r"4n\+1 frames, not 0"),
        ({"start": picture(1)[:16]}, r"start picture is \(16, 32, 3\) uint8"),
        ({"context": [picture(1).astype(np.float32)]}, "context 0 picture is .* float32"),
    ],
)
def test_what_does_not_fit_is_refused_whatever_the_model(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(EngineError, match=problem):
        WanEngine().check("nobody/has-this", clip_request(**changes))


def test_a_model_of_larger_blocks_refuses_sizes_of_smaller_ones(models: Models, tmp_path: Any) -> None:
    import json
    import shutil

    folder = shutil.copytree(models["ti2v"], tmp_path / "coarse")
    config = folder / "vae" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"scale_factor_spatial": 16}))
    small = np.zeros((48, 48, 3), np.uint8)
    request = clip_request(end=None, start=small)
    with pytest.raises(EngineError, match=r"48×48 cannot be made: sides are multiples of 32.* Ask for 32×32"):
        WanEngine().check(str(folder), type(request)(48, 48, 5, 1, start=small))


def test_a_pipeline_of_another_family_is_refused(models: Models) -> None:
    with pytest.raises(EngineError, match="is a StableDiffusionPipeline, which the wan engine does not drive"):
        WanEngine().load(str(models["image"]))


def test_progress_is_told_after_each_step(ready: Ready) -> None:
    seen: list[tuple[int, int]] = []
    request = clip_request(options={"steps": 3, "guidance_scale": 1.0})
    list(ready("wan", "flf2v").generate(request, lambda done, total: seen.append((done, total))))
    assert list(dict.fromkeys(step for step in seen if step[0])) == [(1, 3), (2, 3), (3, 3)]


class Enough(BaseException):
    """As `Stopped` of a run that is cancelled."""


@pytest.mark.parametrize("offload", ["none", "model", "sequential"])
def test_a_cancel_ends_the_clip_within_a_step_and_the_next_clip_is_whole(
    offload: Any, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    wan = WanEngine()
    wan.load(str(models["flf2v"]), Setup(offload=offload, device="cpu"))
    before = frames_of(wan, clip_request())
    monkeypatch.setattr(watch, "PATIENCE", 0.0)
    for looks in (1, 2, 5):
        seen = _cancel_after(wan, looks)
        assert len(seen) == looks
        assert seen[-1][0] < 2, "the last step was not done"
    assert np.array_equal(before, frames_of(wan, clip_request()))


def _cancel_after(wan: WanEngine, looks: int) -> list[tuple[int, int]]:
    seen: list[tuple[int, int]] = []

    def on_step(done: int, total: int) -> None:
        seen.append((done, total))
        if len(seen) == looks:
            raise Enough

    with pytest.raises(Enough):
        list(wan.generate(clip_request(), on_step))
    return seen


def test_neighbouring_segments_share_what_was_made_of_their_anchor_and_words(models: Models) -> None:
    wan = WanEngine()
    wan.load(str(models["flf2v"]))
    calls: Counter[str] = Counter()
    for name in ("text_encoder", "image_encoder"):
        getattr(wan._pipe, name).register_forward_hook(lambda *_, name=name: calls.update([name]))
    list(wan.generate(clip_request(start=picture(1), end=picture(2)), ignore))
    shared = frames_of(wan, clip_request(start=picture(2), end=picture(3)))
    assert calls == {"text_encoder": 2, "image_encoder": 3}  # prompt and negative prompt; three pictures
    wan._embeddings.clear()
    assert np.array_equal(shared, frames_of(wan, clip_request(start=picture(2), end=picture(3))))


def test_frames_come_out_in_the_colours_and_the_order_they_went_in(ready: Ready) -> None:
    processor = ready("wan", "flf2v")._pipe.video_processor  # type: ignore[attr-defined]
    film = [picture(seed) for seed in range(5)]
    video = processor.preprocess_video([Image.fromarray(frame) for frame in film])
    assert np.array_equal(list(to_frames(processor.postprocess_video(video, "np")[0], clip_request())), film)


@pytest.mark.parametrize("cache", ["first_block", "taylorseer", "pyramid"])
def test_a_cache_of_steps_starts_afresh_with_each_clip(cache: Any, models: Models, store: ModelStore) -> None:
    request = clip_request(options={"steps": 20, "guidance_scale": 1.0})
    plain = frames_of(store.get("wan", str(models["flf2v"])), request)
    wan = store.get("wan", str(models["flf2v"]), Setup(cache=cache))
    assert not np.array_equal(plain, frames_of(wan, request)), "the cache left nothing out"
    assert np.array_equal(frames_of(wan, request), frames_of(wan, request))


def test_the_engine_needs_no_torch_until_it_loads() -> None:
    import subprocess
    import sys

    code = (
        "import sys, tasks.engines.wan, tasks.engines.image; print('torch' in sys.modules, 'diffusers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_without_the_extra_loading_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(EngineError, match=r"pip install 'longtake\[diffusers\]'"):
        WanEngine().load("Wan-AI/Wan2.1-FLF2V-14B-720P-diffusers")


def test_a_model_that_believes_its_pictures_begins_and_ends_on_them_in_their_colours(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights are noise, so the two networks are replaced by plain functions; the way between them is the real."""
    wan = WanEngine()
    wan.load(str(models["a14b"]))
    pipe = wan._pipe
    monkeypatch.setattr(pipe.vae, "encode", _blocks_of_eight)
    monkeypatch.setattr(pipe.vae, "decode", _pixels_of_blocks)
    for part in (pipe.transformer, pipe.transformer_2):
        monkeypatch.setattr(part, "forward", _flow_to_the_condition)
    start, end = np.full((32, 32, 3), (220, 0, 10), np.uint8), np.full((32, 32, 3), (255, 160, 0), np.uint8)
    start[:8], end[:, :8] = (0, 0, 220), 0
    clip = frames_of(wan, clip_request(frames=9, start=start, end=end))
    assert np.array_equal(clip[0], start)
    assert np.array_equal(clip[-1], end)
    assert np.abs(clip[2:4].astype(int) - 128).max() <= 2  # what nobody gave is the middle of the range


def _blocks_of_eight(video: Any) -> Any:
    """Colours of 8×8 blocks in three of sixteen channels; four frames by their last, as time is compressed."""
    import torch

    kept = torch.cat([video[:, :, :1], video[:, :, 4::4]], 2)
    latents = torch.zeros(1, 16, kept.shape[2], 4, 4)
    latents[:, :3] = torch.nn.functional.avg_pool3d(kept, (1, 8, 8))
    return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: latents))


def _pixels_of_blocks(latents: Any, return_dict: bool) -> tuple[Any]:
    import torch

    blocks = latents[:, :3].repeat_interleave(8, 3).repeat_interleave(8, 4)
    return (torch.cat([blocks[:, :, :1], blocks[:, :, 1:].repeat_interleave(4, 2)], 2).clamp(-1, 1),)


def _flow_to_the_condition(hidden_states: Any, timestep: Any, **_: Any) -> tuple[Any]:
    """From the noise straight to the pictures that came as the condition: 16 channels of noise, 4 of mask, 16 more."""
    return ((hidden_states[:, :16] - hidden_states[:, 20:]) / (timestep / 1000).view(-1, 1, 1, 1, 1),)
