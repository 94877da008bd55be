from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blocks.queue.sqlite import SqliteQueue
from deployments.cli.travel import Film, plan_film
from deployments.settings import Settings
from tasks.media.encoding import VideoSpec
from tasks.media.video import write_video


def stored_images(queue: SqliteQueue, task_id: str) -> list[str]:
    return list(queue.get(task_id).params["orchestrator_details"]["input_image_paths_resolved"])


def test_a_travel_is_enqueued_over_copies_of_the_pictures(longtake, queue, home: Path, pictures: list[Path]) -> None:
    task = longtake("travel", "create", *pictures, "--json").document["task"]
    copies = stored_images(queue, task["id"])
    assert [Path(copy).read_bytes() for copy in copies] == [picture.read_bytes() for picture in pictures]
    assert all(Path(copy).is_relative_to(home / "storage") for copy in copies)


def test_the_exact_length_is_told(longtake, pictures: list[Path]) -> None:
    asked = ("--frames", 81, "--overlap", 12, "--json")
    film = longtake("travel", "create", *pictures, *asked).document["film"]
    assert film["frames"] == 81 + 81 - 12
    assert (film["segments"], film["overlaps"]) == ([81, 81], [12])


def test_the_length_is_told_to_people_too(longtake, pictures: list[Path]) -> None:
    answer = longtake("travel", "create", *pictures[:2], "--frames", 48)
    assert "49 frames (3.1 s at 16 fps, 832x480)" in answer.out
    assert "longtake task watch" in answer.out


@pytest.mark.parametrize(
    ("frames", "overlaps", "length"),
    [((81, 81), (12,), 150), ((48, 48), (10,), 88), ((81, 17), (20,), 81), ((81, 81), (13,), 150)],
)
def test_the_plan_follows_the_arithmetic_of_travels(home, pictures, frames, overlaps, length: int) -> None:
    plan = plan_film(pictures, Film(frames=frames, overlap=overlaps), Settings.load(home=home))
    assert plan.timeline.length == length


def test_an_overlap_longer_than_a_segment_is_capped_and_told(longtake, pictures: list[Path]) -> None:
    answer = longtake("travel", "create", *pictures, "--frames", 81, "--frames", 17, "--overlap", 20, "--json")
    assert answer.document["film"]["overlaps"] == [17]
    assert "overlap 1 of 20 frames becomes 17" in answer.document["warnings"][0]
    assert answer.document["warnings"][0] in answer.err


def test_a_size_off_the_grid_is_floored_and_told(longtake, pictures: list[Path]) -> None:
    answer = longtake("travel", "create", *pictures, "--size", "1000x600", "--json")
    assert (answer.document["film"]["width"], answer.document["film"]["height"]) == (992, 592)
    assert "992x592" in answer.err


def test_options_reach_the_task(longtake, queue: SqliteQueue, pictures: list[Path]) -> None:
    asked = (
        "--prompt",
        "dawn",
        "--prompt",
        "dusk",
        "--negative-prompt",
        "rain",
        "--seed",
        7,
        "--fps",
        24,
        "--no-chain",
    )
    task = longtake("travel", "create", *pictures, *asked, "--json").document["task"]
    details = task["params"]["orchestrator_details"]
    assert details["base_prompts_expanded"] == ["dawn", "dusk"]
    assert details["negative_prompts_expanded"] == ["rain"]
    assert (details["seed_base"], details["fps_helpers"], details["chain_segments"]) == (7, 24, False)


def test_one_picture_is_enough_for_one_segment(longtake, pictures: list[Path]) -> None:
    assert longtake("travel", "create", pictures[0], "--segments", 1).code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "at least two|two or more"),
        (("one.png",), "only one was given"),
        (("one.png", "two.png", "--segments", 0), "0 segments"),
        (("one.png", "two.png", "--segments", 5), "5 segments need 6 images"),
        (("one.png", "two.png", "--prompt", "a", "--prompt", "b"), "--prompt"),
        (("one.png", "two.png", "--size", "big"), "--size"),
        (("one.png", "two.png", "--size", "90000x90000"), "--size"),
        (("one.png", "two.png", "--frames", 0), "--frames"),
        (("one.png", "two.png", "--fps", 0), "--fps"),
        (("one.png", "missing.png"), "missing.png"),
    ],
)
def test_bad_input_is_refused_by_name_and_nothing_is_stored(
    longtake, queue, home, pictures, monkeypatch, arguments, words
) -> None:
    monkeypatch.chdir(pictures[0].parent)
    answer = longtake("travel", "create", *arguments)
    assert answer.code == 2
    assert any(word in answer.err for word in words.split("|"))
    assert queue.list() == []
    assert not (home / "storage").exists()


def text_named_png(path: Path) -> None:
    path.write_text("this is no picture")


def cut_off(path: Path) -> None:
    Image.effect_noise((64, 64), 90).save(path)
    path.write_bytes(path.read_bytes()[:700])


def enormous(path: Path) -> None:
    # A header of 30,000 x 30,000 pixels over the data of a small picture: refused without decoding.
    Image.new("RGB", (8, 8)).save(path, "BMP")
    body = bytearray(path.read_bytes())
    body[18:26] = (30_000).to_bytes(4, "little") * 2
    path.write_bytes(body)


@pytest.mark.parametrize("spoil", [text_named_png, cut_off, enormous])
def test_a_bad_picture_is_refused_by_name(longtake, queue: SqliteQueue, pictures: list[Path], spoil) -> None:
    spoil(pictures[1])
    answer = longtake("travel", "create", *pictures, "--json")
    assert answer.code == 2
    assert answer.document["error"]["code"] == "invalid_media"
    assert "two.png" in answer.err
    assert "one.png" not in answer.err
    assert queue.list() == []


def test_an_unknown_engine_names_the_nearest_one(longtake, pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_ENGINE", "moton")
    answer = longtake("travel", "create", *pictures)
    assert answer.code == 2
    assert "'motion'" in answer.err


def test_the_same_id_again_creates_nothing(longtake, queue: SqliteQueue, pictures: list[Path]) -> None:
    id = "0b9f4a52-6f0c-4c53-9d5e-0c3a5cb0a7d1"
    created = [longtake("travel", "create", *pictures, "--id", id, "--json").document["created"] for _ in range(2)]
    assert created == [True, False]
    assert len(queue.list()) == 1


def test_a_video_may_be_continued(longtake, queue: SqliteQueue, pictures: list[Path], tmp_path: Path) -> None:
    video = tmp_path / "before.mp4"
    frames = (np.full((90, 160, 3), 9 * index, np.uint8) for index in range(20))
    write_video(frames, video, VideoSpec(160, 90, Fraction(16)))
    answer = longtake("travel", "create", pictures[0], "--continue-from", video, "--frames", 17, "--json")
    assert answer.document["film"]["frames"] == 20 + 17 - 12
    assert answer.document["film"]["segments"] == [17]


def test_a_video_that_is_not_there_cannot_be_continued(longtake, pictures: list[Path]) -> None:
    answer = longtake("travel", "create", pictures[0], "--continue-from", "missing.mp4")
    assert answer.code == 2
    assert "missing.mp4" in answer.err
