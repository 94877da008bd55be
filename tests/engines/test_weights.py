from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from tasks.engines.diffusion.loading import find, weight_of
from tasks.engines.diffusion.memory import size_of
from tasks.engines.diffusion.weights import BadWeights, read_header, verify
from tasks.engines.image import ImageEngine
from tasks.engines.protocol import EngineError, Setup
from tests.engines.conftest import Models

UNET = Path("unet") / "diffusion_pytorch_model.safetensors"


@pytest.fixture
def model(models: Models, tmp_path: Path) -> Path:
    """A model of one's own, to be damaged."""
    return shutil.copytree(models["image"], tmp_path / "model")


@pytest.mark.parametrize("left", [0, 4, 100, -1])
def test_a_file_that_was_cut_off_is_refused_by_name_before_it_is_loaded(left: int, model: Path) -> None:
    file = model / UNET
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(BadWeights, match=r"Fetch it again|fetch it again") as error:
        ImageEngine().load(str(model))
    assert error.value.path == file


def test_a_file_with_more_than_its_header_says_is_refused(model: Path) -> None:
    with (model / UNET).open("ab") as file:
        file.write(b"more")
    with pytest.raises(BadWeights, match="its header promises"):
        verify(model)


def test_a_model_of_pickles_is_refused_without_opening_them(model: Path) -> None:
    pickle = model / UNET.with_suffix(".bin")
    (model / UNET).rename(pickle)
    with pytest.raises(BadWeights, match="run code when they are opened") as error:
        ImageEngine().load(str(model))
    assert error.value.path == pickle


def test_a_pickle_is_known_by_its_content(model: Path) -> None:
    import torch

    torch.save({}, model / UNET)
    with pytest.raises(BadWeights, match="whatever its name, it is a pickle"):
        verify(model)


def test_a_shard_that_the_index_names_must_be_there(model: Path) -> None:
    (model / UNET).unlink()
    index = model / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "part-1.safetensors"}}))
    with pytest.raises(BadWeights, match=r"the index .* names it, and it is not there"):
        verify(model)


def test_a_manifest_is_believed_over_the_file(model: Path) -> None:
    right = hashlib.sha256((model / UNET).read_bytes()).hexdigest()
    manifest = model / "SHA256SUMS"
    manifest.write_text(f"{right}  {UNET.as_posix()}\n")
    verify(model)
    manifest.write_text(f"{'0' * 64}  ./{UNET.as_posix()}\n")
    content = bytearray((model / UNET).read_bytes())
    content[-1] ^= 1
    (model / UNET).write_bytes(content)
    with pytest.raises(BadWeights, match=f"not {'0' * 64} as published"):
        verify(model)


def test_a_file_of_the_hubs_cache_must_have_the_hash_it_is_named_by(model: Path) -> None:
    blob = model / ("f" * 64)
    (model / UNET).rename(blob)
    (model / UNET).symlink_to(blob)
    with pytest.raises(BadWeights, match=f"not {'f' * 64} as published"):
        verify(model)


def test_the_weight_of_a_model_is_known_before_it_is_loaded(models: Models) -> None:
    engine, folder = ImageEngine(), models["image"]
    engine.load(str(folder))
    known = engine.weigh(str(folder), Setup())
    assert abs(known - size_of(engine._pipe.components)) < 0.01 * known  # buffers are made, not read
    assert weight_of(folder, Setup(dtype="bfloat16")) == pytest.approx(known / 2, rel=0.01)


@pytest.mark.parametrize("offsets", [[0, 3], [4, 0], "x"])
def test_a_header_that_makes_no_sense_is_refused(offsets: object, tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": offsets}}).encode()
    file = tmp_path / "odd.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(BadWeights, match="makes no sense"):
        read_header(file)


def test_offline_a_model_that_is_not_here_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("diffusers")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EngineError, match=r"setup is offline\. Fetch it before with `hf download nobody/nothing`"):
        find("nobody/nothing", offline=True)


@pytest.mark.parametrize("name", ["/nowhere/at/all", "~nobody-here/x", "/" + "x" * 300, "a\0b", "../x"])
def test_a_name_that_is_neither_a_folder_nor_a_hubs_is_refused(name: str) -> None:
    with pytest.raises(EngineError, match=r"There is no folder .*, and it is no name on the hub"):
        find(name, offline=False)


def test_a_single_file_is_no_pipeline(models: Models, tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match=r"one file of weights\. Give the folder"):
        find(str(models["image"] / UNET), offline=False)
    checkpoint = tmp_path / "model.ckpt"
    checkpoint.write_bytes(b"\x80\x02")
    with pytest.raises(BadWeights, match="of safetensors files only"):
        find(str(checkpoint), offline=False)
