"""What a machine lacks, on machines that tests make up; the last tests look at this one."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployments.requirements import Machine, Needs, Pool, Problem, Room, missing, missing_for_worker

HERE, POOL, ROOM = Path(__file__).parent, Pool("gpu"), Room()
GPU_HOST = Machine(
    environ={},
    gpus=lambda: [("0", "GPU-5d5b"), ("1", "GPU-77aa")],
    version=lambda package: "2.13.0",
    encoders=lambda: {"libx264"},
    free_disk=lambda folder: 10**12,
    free_memory=lambda: 10**11,
    shared_memory=lambda: 2 * 10**9,
    may_write=lambda folder: True,
    cached=lambda name, revision: None,
    platform="linux",
)
NO_GPU = replace(GPU_HOST, gpus=lambda: [])


def found(machine: Machine = GPU_HOST, room: Room = ROOM, **wanted: Any) -> list[Problem]:
    return missing(Needs(**{"engines": ["wan"], **wanted}), room=room, machine=machine)


def refused(machine: Machine = GPU_HOST, pool: Pool = POOL, work_dir: Path = HERE, **engines: Any) -> list[Problem]:
    """By a worker whose workspace block says this of the engines."""
    return missing_for_worker(pool, {"engines": engines, "work_dir": str(work_dir)}, machine=machine)


def told(problems: list[Problem]) -> str:
    """The one line of the one problem."""
    assert len(problems) == 1, problems
    assert "\n" not in str(problems[0])
    return str(problems[0])


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A model's folder: a transformer of one tensor, a scheduler without weights, and no safety checker."""
    folder = tmp_path / "model"
    index = {
        "_class_name": "WanPipeline",
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "safety_checker": [None, None],
    }
    for name in ("transformer", "scheduler"):
        (folder / name).mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "scheduler" / "scheduler_config.json").write_text("{}")
    (folder / "transformer" / "config.json").write_text("{}")
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    weights(folder).write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    return folder


def weights(folder: Path) -> Path:
    return folder / "transformer" / "diffusion_pytorch_model.safetensors"


def test_a_machine_that_has_everything_lacks_nothing(pipeline: Path, tmp_path: Path) -> None:
    assert found(models=[f"wan:{pipeline}", "image:owner/model"], folders=[tmp_path / "not" / "made yet"]) == []


def test_no_gpu_is_told_with_what_to_do_in_a_container() -> None:
    line = told(found(NO_GPU))
    assert line.startswith("GPU: the engine wan asks for one")
    assert "--gpus all" in line


@pytest.mark.parametrize("wanted", [{"engines": ["motion"]}, {"device": "cpu"}, {"device": "mps"}, {"on_cpu": True}])
def test_no_gpu_is_no_problem_where_none_is_wanted(wanted: dict[str, Any]) -> None:
    assert found(NO_GPU, **wanted) == []


def test_a_mac_uses_its_own_gpu_unless_another_is_asked_for() -> None:
    mac = replace(NO_GPU, platform="darwin", shared_memory=lambda: None)
    assert found(mac) == []
    assert told(found(mac, device="cuda")).startswith("GPU:")


def test_a_gpu_that_the_pool_names_must_be_there() -> None:
    assert found(gpus=["1", "GPU-5d5b"]) == []
    assert "names '7', and this machine has 0, 1" in told(found(gpus=["1", "7"]))


def test_a_pool_that_names_gpus_wants_them_for_any_engine() -> None:
    assert told(found(NO_GPU, engines=["motion"], gpus=["0"])).startswith("GPU: the pool asks for one")


@pytest.mark.parametrize("value", ["", "-1", "7"])
def test_gpus_that_a_variable_hides_are_told_with_the_variable(value: str) -> None:
    hidden = replace(GPU_HOST, environ={"CUDA_VISIBLE_DEVICES": value})
    assert f"CUDA_VISIBLE_DEVICES={value!r}" in told(found(hidden))


def test_one_visible_gpu_is_enough() -> None:
    assert found(replace(GPU_HOST, environ={"CUDA_VISIBLE_DEVICES": "1"})) == []


def test_a_torch_that_cannot_use_the_gpu_is_told_with_its_version() -> None:
    line = told(found(replace(GPU_HOST, version=lambda package: "2.13.0+cpu")))
    assert line.startswith("torch: 2.13.0+cpu")


def test_packages_of_the_extra_are_told_together() -> None:
    bare = replace(GPU_HOST, version=lambda package: None if package in ("torch", "diffusers") else "1")
    line = told(found(bare, engines=["wan", "image"]))
    assert line.startswith("torch, diffusers: not installed, and the engines image and wan")
    assert line.endswith("pip install 'longtake[diffusers]'")


def test_an_engine_without_weights_needs_neither_the_extra_nor_shared_memory() -> None:
    bare = replace(GPU_HOST, version=lambda package: None, shared_memory=lambda: 64_000_000)
    assert found(bare, engines=["motion", "sketch"]) == []


def test_the_engine_of_a_model_to_load_counts_as_wanted() -> None:
    bare = replace(GPU_HOST, version=lambda package: None)
    assert "engine wan" in told(found(bare, engines=["motion"], models=["wan:owner/model"]))


def test_an_av_without_x264_is_told() -> None:
    assert told(found(replace(GPU_HOST, encoders=lambda: {"h264_nvenc"}))).startswith("H.264 encoder")


def test_docker_s_own_shared_memory_is_too_small() -> None:
    assert "--shm-size" in told(found(replace(GPU_HOST, shared_memory=lambda: 67_108_864)))


def test_a_system_without_shared_memory_to_measure_is_let_be() -> None:
    assert found(replace(GPU_HOST, shared_memory=lambda: None)) == []


def test_too_little_memory_is_told_in_numbers() -> None:
    line = told(found(replace(GPU_HOST, free_memory=lambda: 3 * 10**9), room=Room(memory=24 * 10**9)))
    assert "3.0 GB free, 24.0 GB needed" in line


def test_a_full_disk_is_told_once_for_the_first_folder_on_it(tmp_path: Path) -> None:
    line = told(found(replace(GPU_HOST, free_disk=lambda folder: 10**7), folders=[tmp_path, tmp_path / "work"]))
    assert line.startswith(f"folder {tmp_path}: 10 MB free")


def test_a_folder_that_is_to_be_made_is_judged_by_the_one_above(tmp_path: Path) -> None:
    looked_at: list[Path] = []
    machine = replace(GPU_HOST, may_write=lambda folder: looked_at.append(folder) is not None)
    assert f"{tmp_path} cannot be written" in told(found(machine, folders=[tmp_path / "a" / "b"]))
    assert looked_at == [tmp_path]


def test_a_file_in_the_place_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("")
    assert "is a file" in told(found(folders=[tmp_path / "work"]))


def test_a_model_s_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "there is no such folder" in told(found(models=[f"wan:{tmp_path}/none"]))


def test_weights_that_were_cut_off_are_told_with_the_file(pipeline: Path) -> None:
    os.truncate(weights(pipeline), weights(pipeline).stat().st_size - 1)
    line = told(found(models=[f"wan:{pipeline}"]))
    assert str(weights(pipeline)) in line
    assert "cut off" in line


def test_weights_that_are_pickles_alone_are_refused(pipeline: Path) -> None:
    weights(pipeline).rename(weights(pipeline).with_suffix(".bin"))
    assert "safetensors version" in told(found(models=[f"wan:{pipeline}"]))


def test_a_part_that_an_index_names_must_be_there(pipeline: Path) -> None:
    index = weights(pipeline).with_suffix(".safetensors.index.json")
    index.write_text(json.dumps({"weight_map": {"w": "part-2.safetensors"}}))
    assert "part-2.safetensors" in told(found(models=[f"wan:{pipeline}"]))


def test_a_folder_that_is_no_model_is_told(tmp_path: Path) -> None:
    assert "model_index.json" in told(found(models=[f"image:{tmp_path}"]))


def test_a_model_that_can_be_fetched_need_not_be_here() -> None:
    assert found(models=["wan:owner/model"]) == []


def test_offline_it_must_be_here() -> None:
    offline = replace(GPU_HOST, environ={"HF_HUB_OFFLINE": "1"})
    line = told(found(offline, models=["wan:owner/model@main"]))
    assert line.startswith("model owner/model@main: it is not on this machine")
    assert line.endswith("hf download owner/model")


def test_offline_and_here_it_must_be_whole(pipeline: Path) -> None:
    offline = replace(GPU_HOST, environ={"HF_HUB_OFFLINE": "1"}, cached=lambda name, revision: pipeline)
    assert found(offline, models=["wan:owner/model"]) == []
    weights(pipeline).unlink()
    assert "no weights" in told(found(offline, models=["wan:owner/model"]))


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    poor = replace(GPU_HOST, gpus=lambda: [], encoders=lambda: (), free_disk=lambda folder: 0, free_memory=lambda: 0)
    assert len(found(poor, models=[f"wan:{tmp_path}/none"], folders=[tmp_path])) == 5


def test_a_worker_wants_what_the_block_s_engines_want(pipeline: Path, tmp_path: Path) -> None:
    assert refused(video="wan", video_model=str(pipeline), image="sketch") == []
    poor = refused(NO_GPU, work_dir=tmp_path, video="wan", video_model=f"{tmp_path}/none", image="sketch")
    assert [problem.what for problem in poor] == ["GPU", f"model {tmp_path}/none"]


def test_a_worker_whose_block_names_no_model_wants_the_engine_s_own() -> None:
    offline = refused(video="wan", image="sketch", offline=True)
    assert "Wan-AI/Wan2.1-FLF2V-14B-720P-diffusers" in told(offline)
    assert "`offline` in the block longtake" in told(offline)


@pytest.mark.parametrize(("pool", "device"), [(Pool("gpu", children_per_gpu=0), "auto"), (Pool("gpu"), "cpu")])
def test_an_operator_may_want_the_cpu(pool: Pool, device: str) -> None:
    assert refused(NO_GPU, pool, video="wan", image="image", image_model="owner/model", device=device) == []


def test_a_worker_wants_the_folder_that_the_block_names(tmp_path: Path) -> None:
    closed = replace(GPU_HOST, may_write=lambda folder: folder != tmp_path)
    assert f"{tmp_path} cannot be written" in told(refused(closed, work_dir=tmp_path / "work"))


def test_a_model_that_pool_and_block_name_is_told_once(tmp_path: Path) -> None:
    none = f"{tmp_path}/none"
    assert len(refused(pool=Pool("gpu", models=[f"wan:{none}"]), video="wan", video_model=none)) == 1


def test_an_engine_that_is_not_there_is_told_with_the_nearest() -> None:
    assert "Did you mean 'wan'?" in told(refused(video="wann"))


@pytest.mark.parametrize(
    ("workspace", "why"),
    [
        (None, "the Prefect server has no such block"),
        ({"work_dir": "/"}, "it has no field 'engines'"),
        ({"engines": {"dtype": "float8"}, "work_dir": "/"}, "dtype='float8'"),
    ],
)
def test_a_block_that_cannot_be_read_is_told_with_what_to_do(workspace: Any, why: str) -> None:
    line = told(missing_for_worker(Pool("gpu"), workspace, machine=GPU_HOST))
    assert why in line
    assert line.endswith("longtake setup")


@pytest.mark.parametrize("pool", ["control", "cpu"])
def test_a_pool_whose_tasks_need_no_engine_is_not_asked_for_one(pool: str) -> None:
    assert missing_for_worker(Pool(pool), {"engines": {"video": "wan"}}, machine=NO_GPU) == []


def test_this_machine_can_move_between_pictures(tmp_path: Path) -> None:
    assert missing(Needs(engines=["motion", "sketch"], folders=[tmp_path]), room=Room(disk=1, memory=1)) == []


def test_this_machine_s_hub_cache_is_searched_without_a_network(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    here = replace(GPU_HOST, environ={"HF_HUB_OFFLINE": "1"}, cached=Machine().cached)
    assert "not on this machine" in told(found(here, models=["wan:owner/model"]))
    home = tmp_path / "hub" / "models--owner--model"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("0" * 40)
    (home / "snapshots").mkdir()
    pipeline.rename(home / "snapshots" / ("0" * 40))
    assert found(here, models=["wan:owner/model"]) == []


def test_looking_keeps_nothing_large_in_the_process() -> None:
    code = (
        "import sys; from deployments.requirements import Needs, missing; "
        "missing(Needs(engines=['motion'], gpus=['0'])); print({'av', 'numpy', 'prefect'} & set(sys.modules)); "
        "missing(Needs(models=['wan:owner/model'])); print({'torch', 'diffusers', 'transformers'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["set()", "set()"]
