from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from tasks.media.encoding import PRESETS, ToYuv, encoder
from tasks.media.errors import MediaError
from tasks.media.mp4 import Mp4Writer
from tasks.media.probe import examine
from tasks.media.reading import read_packets
from tasks.media.verify import parameter_sets
from tasks.media.video import write_video
from tests.media.films import SPEC, moving, noise
from tests.media.strict import check_film, complaints, packets, planes

SEAM = replace(SPEC, preset="superfast", qp=13)


def pictures(frames, seed=0):
    return map(ToYuv(SPEC), moving(frames, seed=seed))


@pytest.mark.parametrize("bframes", [0, 3])
@pytest.mark.parametrize("runs", [[1], [2], [1, 1, 1], [2, 1, 9, 1], [9, 2, 2, 9]])
def test_runs_shorter_than_the_encoders_delay_are_decoded_in_step(tmp_path, runs, bframes):
    film, spec = tmp_path / "film.mp4", replace(SPEC, bframes=bframes)
    with Mp4Writer.open(film, spec) as writer:
        for i, frames in enumerate(runs):
            writer.encode(pictures(frames, seed=i), replace(spec, qp=13) if i % 2 else spec)
    delay = 2 if bframes else 0
    assert [packet.decoded for packet in packets(film)] == [i - delay for i in range(sum(runs))]
    check_film(film, sum(runs))
    assert complaints(film) == ""


def test_each_run_begins_a_closed_group_and_so_do_the_frames_asked_for(tmp_path):
    with Mp4Writer.open(tmp_path / "film.mp4", SPEC) as writer:
        writer.encode(pictures(9), SPEC, idr_at=[4, 5])
        writer.encode(pictures(6), SEAM)
    assert examine(tmp_path / "film.mp4")[1].closed == {0, 4, 5, 9}


def test_packets_that_are_copied_beside_encoded_ones_are_the_same_and_decode_to_the_same(tmp_path):
    body, film = tmp_path / "body.mp4", tmp_path / "film.mp4"
    write_video(moving(12, seed=3), body, SPEC, idr_at=(5,))
    with Mp4Writer.open(film, SPEC) as writer:
        writer.encode(pictures(2), SEAM)
        for packet, frame in read_packets(body, examine(body)[1], 5, 12):
            writer.put(packet, 2 + frame - 5)
        writer.encode(pictures(1), SEAM)
    check_film(film, 10)
    assert [packet.content for packet in packets(film)[2:9]] == [packet.content for packet in packets(body)[5:]]
    assert [p.tobytes() for p in planes(film)[2:9]] == [p.tobytes() for p in planes(body)[5:]]
    assert complaints(film) == ""


def test_a_run_of_nothing_writes_nothing(tmp_path):
    with Mp4Writer.open(tmp_path / "film.mp4", SPEC) as writer:
        writer.encode(pictures(3), SPEC)
        writer.encode([], SPEC)
        assert writer.frames == 3


def test_a_packet_that_would_come_too_late_is_refused(tmp_path):
    body = tmp_path / "body.mp4"
    write_video(moving(5), body, SPEC)
    copied = [packet for packet, _ in read_packets(body, examine(body)[1], 0, 5)]
    with Mp4Writer.open(tmp_path / "film.mp4", SPEC) as writer:
        for at, packet in enumerate(copied[:4]):
            writer.put(packet, at)
        with pytest.raises(MediaError, match="Packet 4 would be decoded after its frame 1"):
            writer.put(copied[4], 1)


def test_what_was_written_is_counted_and_hashed(tmp_path):
    seen = []
    with Mp4Writer.open(tmp_path / "film.mp4", SPEC, seen.append) as writer:
        writer.encode(pictures(5), SPEC)
    assert (writer.frames, seen) == (5, [1, 2, 3, 4, 5])
    content = b"".join(packet.content for packet in packets(tmp_path / "film.mp4"))
    assert writer.digest == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("quality", [{"crf": 1}, {"crf": 51}, {"qp": 1}, {"qp": 13}, {"qp": 51}])
@pytest.mark.parametrize("bframes", [0, 3])
def test_parameter_sets_are_the_same_for_every_preset_and_quality(preset, quality, bframes):
    spec = replace(SPEC, bframes=bframes)
    made = bytes(encoder(replace(spec, preset=preset, **quality)).extradata)
    assert made == bytes(encoder(spec).extradata)
    assert parameter_sets(made) == [7, 8]


@pytest.mark.parametrize("content", [moving, noise])
def test_parameter_sets_do_not_depend_on_the_pictures(tmp_path, content):
    write_video(content(5), tmp_path / "film.mp4", SPEC)
    assert examine(tmp_path / "film.mp4")[1].parameters == bytes(encoder(SPEC).extradata)


def test_films_with_and_without_b_frames_do_not_share_them():
    assert bytes(encoder(SPEC).extradata) != bytes(encoder(replace(SPEC, bframes=0)).extradata)
