from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

import pytest

from tasks.media.encoding import settings_hash
from tasks.media.errors import MediaError
from tasks.media.label import Encoded, Label, append_label, read_label
from tasks.media.video import VideoSpec, probe, write_video
from tests.media.films import HEIGHT, SPEC, WIDTH, foreign, moving
from tests.media.strict import boxes, complaints, packets, planes, without_label

LABEL = Label(frames=9, packets="ab", settings="cd", encoded=(Encoded(start=2, count=3, recipe="ef"),))


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "film.mp4"
    write_video(moving(9), path, SPEC, idr_at=(4, 2), travel="a travel", segment=3)
    return path


def test_a_film_of_ours_says_what_it_is(film):
    content = b"".join(packet.content for packet in packets(film))
    assert read_label(film) == Label(
        frames=9,
        packets=hashlib.sha256(content).hexdigest(),
        settings=settings_hash(SPEC),
        idr_at=(2, 4),
        travel="a travel",
        segment=3,
    )


def test_players_pass_over_a_label(film):
    info, shown = probe(film), [plane.tobytes() for plane in planes(film)]
    assert complaints(film) == ""
    without_label(film)
    assert (probe(film), [plane.tobytes() for plane in planes(film)]) == (info, shown)


def test_a_label_is_the_last_box_and_can_be_read_again(film):
    append_label(without_label(film), LABEL)
    assert boxes(film)[-1][0] == "uuid"
    assert read_label(film) == LABEL


def test_settings_are_the_same_for_what_encodes_the_same():
    assert settings_hash(VideoSpec(WIDTH, HEIGHT, "16")) == settings_hash(SPEC)
    others = [{"crf": 18}, {"preset": "medium"}, {"fps": 24}, {"qp": 13}, {"bframes": 0}, {"width": 80}]
    made = {settings_hash(VideoSpec(**{"width": WIDTH, "height": HEIGHT, **other})) for other in others}
    assert len(made | {settings_hash(SPEC)}) == len(others) + 1


@pytest.mark.parametrize("content", [b"", b"no film", b"\x00\x00\x00\x18abcd" + bytes(40)])
def test_what_is_no_mp4_has_none(tmp_path, content):
    (tmp_path / "film.mp4").write_bytes(content)
    assert read_label(tmp_path / "film.mp4") is None


def test_films_of_others_have_none(tmp_path):
    assert read_label(foreign(tmp_path / "a.mp4", moving(5))) is None
    assert read_label(foreign(tmp_path / "a.mkv", moving(5))) is None


@pytest.mark.parametrize("missing", [1, 40, 200])
def test_a_label_that_is_cut_off_is_no_film_without_a_label(film, missing):
    film.write_bytes(film.read_bytes()[:-missing])
    with pytest.raises(MediaError, match=rf"film\.mp4: the film is cut off: {missing} bytes are missing"):
        read_label(film)


def test_boxes_whose_length_is_written_otherwise_are_passed_over(film):
    label = film.read_bytes()[boxes(film)[-1][1] :]
    wide = (1).to_bytes(4, "big") + b"free" + (24).to_bytes(8, "big") + bytes(8)
    film.write_bytes(without_label(film).read_bytes() + wide + label)
    assert read_label(film).segment == 3
    to_the_end = (0).to_bytes(4, "big") + b"free"
    film.write_bytes(film.read_bytes() + to_the_end + bytes(5))
    assert read_label(film).segment == 3


@pytest.mark.parametrize("end", [b"\x00\x00\x00", b"\x00\x00\x00\x01free\x00\x00", b"\x00\x00\x00\x04free"])
def test_bytes_at_the_end_that_are_no_box_do_no_harm(film, end):
    film.write_bytes(without_label(film).read_bytes() + end)
    assert read_label(film) is None
    assert probe(film).frames == 9


def test_of_a_later_labels_what_is_known_is_read(film):
    add(without_label(film), {**asdict(LABEL), "mood": "blue"})
    assert read_label(film) == LABEL


@pytest.mark.parametrize("content", [{"frames": 9}, {**asdict(LABEL), "frames": "many"}, [], "text"])
def test_what_cannot_be_read_is_no_label(film, content):
    add(without_label(film), content)
    assert read_label(film) is None


def add(path, content):
    """In the box that a label stands in, whose name is taken from one."""
    before = path.read_bytes()
    append_label(path, LABEL)
    name = path.read_bytes()[len(before) + 8 :][:16]
    said = name + json.dumps(content).encode()
    path.write_bytes(before + (8 + len(said)).to_bytes(4, "big") + b"uuid" + said)


def test_a_label_too_large_to_be_read_is_not_written(film):
    before = without_label(film).stat().st_size
    append_label(film, replace(LABEL, travel="x" * (17 << 20)))
    assert film.stat().st_size == before
