from __future__ import annotations

from pathlib import Path

import pytest

from blocks.engine import EngineChoice
from tasks.errors import InvalidInput
from tasks.models import check_allowed, choose, chosen_by

WAN = EngineChoice(video="wan", video_model="/models/flf2v")


def test_a_task_gets_the_model_it_names_else_the_sites_else_the_engines() -> None:
    assert str(choose(WAN, "video", "a/b")) == "wan:a/b"
    assert str(choose(WAN, "video")) == "wan:/models/flf2v"
    assert str(choose(EngineChoice(video="wan"), "video")) == "wan:Wan-AI/Wan2.1-FLF2V-14B-720P-diffusers"
    assert str(choose(WAN, "image")) == "sketch:landscape"


def test_a_tasks_choice_is_the_one_its_own_parameters_name() -> None:
    image = {"prompt": "sea", "model": "a/b"}
    assert str(chosen_by("single_image", image, WAN)) == "sketch:a/b"
    assert str(chosen_by("single_image", {"orchestrator_details": image}, WAN)) == "sketch:a/b"
    # An interpolation reads no model, whatever its parameters say.
    ends = {"input_image_path1": "/1.png", "input_image_path2": "/2.png", "model": "a/b"}
    assert str(chosen_by("interpolate_images", ends, WAN)) == "wan:/models/flf2v"
    assert chosen_by("travel_stitch", {}, WAN) is None


def allowed(named: str, *patterns: str, local_paths: bool = False) -> bool:
    engines = WAN.model_copy(update={"allowed_models": list(patterns)})
    try:
        check_allowed(named, engines, "video", local_paths=local_paths)
    except InvalidInput:
        return False
    return True


@pytest.mark.parametrize("patterns", [[], ["other/*"]])
def test_the_sites_own_model_may_always_be_named(patterns: list[str]) -> None:
    assert allowed("/models/flf2v", *patterns)
    assert allowed("", *patterns)


def test_without_patterns_any_model_of_the_hub_may_be_named() -> None:
    assert allowed("Wan-AI/Wan2.1-VACE-1.3B-diffusers@main")


@pytest.mark.parametrize("path", ["/etc", "~/x", "~root/x", "./x", "../x", "a/../../x", "/" + "x" * 300])
def test_a_users_task_may_name_no_folder_of_the_machine(path: str) -> None:
    assert not allowed(path)
    assert not allowed(path, "*", "*/*")
    assert allowed(path, local_paths=True)


def test_a_name_is_a_path_where_there_is_such_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert allowed("a/b")
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert not allowed("a/b")


def test_patterns_hold_for_everybody() -> None:
    assert allowed("Wan-AI/x", "Wan-AI/*", local_paths=True)
    assert not allowed("else/x", "Wan-AI/*", local_paths=True)
    assert not allowed("/models/x", "Wan-AI/*", local_paths=True)


def test_a_pattern_that_is_a_path_allows_what_is_below_it_and_no_way_out() -> None:
    assert allowed("/models/vace", "/models/*")
    assert not allowed("/models/../etc", "/models/*")
    assert not allowed("/elsewhere/models/vace", "/models/*")


def test_a_refusal_names_the_model_what_is_allowed_and_what_to_do() -> None:
    engines = WAN.model_copy(update={"allowed_models": ["Wan-AI/*"]})
    with pytest.raises(InvalidInput, match=r"'x/y' is none that tasks may name here \(Wan-AI/\*\)\. Leave it out"):
        check_allowed("x/y", engines, "video", local_paths=False)
    with pytest.raises(InvalidInput, match=r"'/x' is a folder .* Name one on the hub.*allowed_models"):
        check_allowed("/x", WAN, "video", local_paths=False)
