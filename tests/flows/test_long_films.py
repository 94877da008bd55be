"""Films done again, loops, sound, other sizes and rates: through queue, flows and workers."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import av
import numpy as np
import pytest

from blocks.queue.model import Status, Task
from tasks.media.probe import examine, probe
from tasks.media.reading import read_packets
from tasks.redo import Change, redo_spec
from tests.flows.lab import Lab
from tests.waiting import until

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("lab")]


@pytest.fixture(scope="module")
def travel(lab: Lab) -> Task:
    """Of eight short segments that do not wait for each other."""
    return complete(lab, lab.travel(9, chain_segments=False))


def complete(lab: Lab, task: Task) -> Task:
    done = lab.wait(task)
    assert done.status is Status.COMPLETE, done.error_message or lab.describe(task)
    return done


def stitched(lab: Lab, travel: Task) -> dict[str, object]:
    return dict(lab.queue.children(travel.id)[-1].result or {})


def packets(film: str | None, lo: int, hi: int) -> list[bytes]:
    assert film
    return [bytes(packet) for packet, _ in read_packets(film, examine(film)[1], lo, hi)]


def test_a_film_of_eight_segments_encodes_its_overlaps_and_copies_the_rest(lab: Lab, travel: Task) -> None:
    told = stitched(lab, travel)
    assert (told["mode"], told["frames"]) == ("smart", 8 * 17 - 7 * 4)
    assert (told["frames_encoded"], told["frames_copied"]) == (7 * 4, 8 * 17 - 2 * 7 * 4)


def test_one_segment_of_eight_is_done_again_for_its_own_price(lab: Lab, travel: Task) -> None:
    spec = redo_spec(travel, [3], Change())
    # This engine makes the same of every seed; so that the segment comes out otherwise, it is made brighter.
    spec.params["orchestrator_details"]["after_first_post_generation_brightness"] = 0.1
    again = complete(lab, lab.enqueue(spec))
    segment, _ = lab.queue.children(again.id)
    assert segment.params["segment_index"] == 3
    until(lambda: lab.generations(segment), "the segment's log")  # which Prefect sends in batches
    assert lab.generations(segment) == 1
    assert stitched(lab, again)["frames_encoded"] == 2 * 4  # its seams; the others come from the film that was there
    begin = 3 * (17 - 4)
    assert packets(again.output_location, 0, begin) == packets(travel.output_location, 0, begin)
    rest = (begin + 17, 8 * 17 - 7 * 4)
    assert packets(again.output_location, *rest) == packets(travel.output_location, *rest)
    body = (begin + 4, begin + 13)
    assert packets(again.output_location, *body) == packets(segment.output_location, 4, 13)
    assert packets(again.output_location, *body) != packets(travel.output_location, *body)
    assert lab.queue.get(travel.id).output_location == travel.output_location


def test_a_chained_segment_that_is_done_again_continues_the_kept_one_before_it(lab: Lab) -> None:
    travel = complete(lab, lab.travel(3))
    again = complete(lab, lab.enqueue(redo_spec(travel, [1], Change(seed=7))))
    segment, _ = lab.queue.children(again.id)
    assert segment.depends_on == (lab.queue.children(travel.id)[0].id,)
    assert stitched(lab, again)["mode"] == "smart"


def test_a_loop_ends_where_it_begins(lab: Lab) -> None:
    film = complete(lab, lab.travel(2, loop=True)).output_location
    assert film
    assert probe(film).frames == 2 * 17 - 2 * 4
    with av.open(film) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    steps = [float(np.abs(a - b).mean()) for a, b in itertools.pairwise(frames)]
    assert float(np.abs(frames[-1] - frames[0]).mean()) <= 2 * max(steps)


def test_a_film_is_finished_with_rate_size_sound_and_bars(lab: Lab, tmp_path: Path) -> None:
    asked = {"output_fps": 24, "upscale_factor": 1.5, "audio_path": sound(tmp_path), "fit": "blur"}
    travel = complete(lab, lab.travel(2, **asked))
    told, film = stitched(lab, travel), probe(str(travel.output_location))
    assert (film.width, film.height, film.fps) == (384, 216, 24)
    assert (told["frames"], told["width"], told["fps"]) == (film.frames, 384, 24.0)
    with av.open(str(travel.output_location)) as container:
        heard = container.streams.audio[0]
        assert float(heard.duration * heard.time_base) == pytest.approx(film.duration, abs=1 / 48000)


def sound(folder: Path) -> str:
    path = folder / "a.wav"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=8000, layout="mono")
        wave = (np.sin(np.arange(4000) / 3) * 9000).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
        frame.sample_rate = 8000
        output.mux([*stream.encode(frame), *stream.encode(None)])
    return str(path)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"upscale_factor": 8.0, "size": "4096x2176"}, "upscale_factor: .*sides up to 8192"),
        ({"upscale_factor": 2.0, "upscale_method": "magic"}, "upscale_method: 'magic' is not here"),
        ({"audio_path": "picture"}, "audio_path: .*not a recording that can be read"),
        ({"redo_of": "00000000-0000-4000-8000-000000000000", "redo_segments": [0]}, "redo_of: there is no travel"),
    ],
)
def test_what_could_not_be_done_at_the_end_is_refused_before_anything_is_generated(lab: Lab, asked, why) -> None:
    if asked.get("audio_path") == "picture":
        asked = {"audio_path": lab.pictures(1)[0]}
    task = lab.wait(lab.travel(2, **asked))
    assert (task.status, task.attempts) == (Status.FAILED, 1)
    assert re.search(why, task.error_message or "")
    assert not lab.queue.children(task.id)
