from __future__ import annotations

from dataclasses import replace

import av
import numpy as np
import pytest

from tasks.media.encoding import encoder
from tasks.media.errors import MediaError
from tasks.media.label import read_label
from tasks.media.probe import examine
from tasks.media.verify import parameter_sets, verify
from tasks.media.video import VideoSpec, write_video
from tests.media.films import HEIGHT, SPEC, WIDTH, foreign, moving
from tests.media.strict import boxes


@pytest.fixture
def film(tmp_path):
    write_video(moving(17), tmp_path / "film.mp4", SPEC, idr_at=(8,))
    return tmp_path / "film.mp4"


def digest(path):
    return examine(path)[1].digest


def test_a_film_as_promised_is_described(film):
    info = verify(film, SPEC, 17, read_label(film).packets)
    assert (info.frames, info.fps, info.constant_rate) == (17, 16, True)


@pytest.mark.parametrize(
    ("spec", "frames", "said"),
    [
        (SPEC, 16, "frames 17, promised 16"),
        (VideoSpec(WIDTH, HEIGHT, 24), 17, "frames a second 16, promised 24"),
        (VideoSpec(80, HEIGHT), 17, r"size \(64, 48\), promised \(80, 48\)"),
    ],
)
def test_what_is_not_as_promised_is_named(film, spec, frames, said):
    with pytest.raises(MediaError, match=f"not as promised: {said}"):
        verify(film, spec, frames, digest(film))


def test_the_name_is_the_one_it_will_have(film, tmp_path):
    with pytest.raises(MediaError, match=r"/wanted\.mp4: what was written is not as promised"):
        verify(film, SPEC, 1, digest(film), name=tmp_path / "wanted.mp4")


def test_other_packets_are_no_film_of_ours(film):
    with pytest.raises(MediaError, match="SHA-256 of its packets"):
        verify(film, SPEC, 17, "0" * 64)


def test_colour_tags_are_looked_at(tmp_path):
    path = foreign(tmp_path / "film.mp4", moving(5), matrix=6)
    with pytest.raises(MediaError, match=r"colour Colour\(.*matrix=6.*promised Colour\(primaries=1"):
        verify(path, SPEC, 5, digest(path))


def test_a_rate_that_is_not_constant_is_seen(film, tmp_path):
    path = tmp_path / "late.mp4"
    with av.open(str(film)) as source, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                if packet.pts == max(packet.pts, int(12 / 16 / packet.time_base)):
                    packet.pts += int(1 / 32 / packet.time_base)
                packet.stream = stream
                output.mux(packet)
    with pytest.raises(MediaError, match="constant rate False, promised True"):
        verify(path, SPEC, 17, digest(path))


def test_a_track_that_may_hold_parameter_sets_is_seen(film, tmp_path):
    path = tmp_path / "avc3.mp4"
    path.write_bytes(film.read_bytes().replace(b"avc1", b"avc3"))
    with pytest.raises(MediaError, match="tag avc3, promised avc1"):
        verify(path, SPEC, 17, digest(path))


@pytest.mark.parametrize(("decode", "found"), [(None, True), ([(8, 17)], True), ([(0, 8)], False), ([], False)])
def test_frames_are_decoded_where_it_is_asked_for(film, decode, found):
    damage(film, 0.8)
    if found:
        with pytest.raises(MediaError, match=r"damaged|could be decoded|not a film"):
            verify(film, SPEC, 17, digest(film), decode=decode)
    else:
        verify(film, SPEC, 17, digest(film), decode=decode)


def damage(path, at):
    begin, end = next((begin, end) for name, begin, end in boxes(path) if name == "mdat")
    place = begin + int(at * (end - begin))
    content = bytearray(path.read_bytes())
    content[place : place + 300] = np.random.default_rng(1).bytes(300)
    path.write_bytes(content)


def test_sets_are_counted_by_kind():
    ours = bytes(encoder(SPEC).extradata)
    assert parameter_sets(ours) == [7, 8]
    size = int.from_bytes(ours[6:8], "big")
    one = ours[6 : 8 + size]
    twice = ours[:5] + bytes([ours[5] + 1]) + one + one + ours[8 + size :]
    assert parameter_sets(twice) == [7, 7, 8]
    assert parameter_sets(b"") == parameter_sets(b"\x00\x00\x00\x01g") == []


def test_films_without_b_frames_are_verified_too(tmp_path):
    spec = replace(SPEC, bframes=0)
    assert write_video(moving(5), tmp_path / "film.mp4", spec).frames == 5
