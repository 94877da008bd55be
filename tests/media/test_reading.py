from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from tasks.media.errors import MediaError
from tasks.media.probe import OpenFilms, examine
from tasks.media.reading import read_packets, read_yuv
from tasks.media.video import VideoSpec, read_frames, write_video
from tests.media.films import HEIGHT, SPEC, WIDTH, foreign, moving, ramp
from tests.media.strict import packets, planes


@pytest.fixture
def film(tmp_path):
    write_video(moving(40), tmp_path / "film.mp4", SPEC, idr_at=(7, 8, 20, 39))
    return tmp_path / "film.mp4"


def samples(frames):
    return [frame.to_ndarray() for frame in frames]


@pytest.mark.parametrize("bframes", [0, 3])
def test_any_stretch_shows_the_frames_of_its_place(tmp_path, bframes):
    path = tmp_path / "film.mp4"
    write_video(moving(30), path, VideoSpec(WIDTH, HEIGHT, bframes=bframes), idr_at=(7, 8, 20, 29))
    whole, known = planes(path), examine(path)[1]
    with OpenFilms() as films:
        for lo in range(30):
            for hi in {lo, lo + 1, lo + 2, 8, 20, 30} - {*range(lo)}:
                stretch = samples(read_yuv(path, lo, min(hi, 30), packets=known, films=films))
                assert np.array_equal(stretch, whole[lo:hi]), (lo, hi)


@pytest.mark.parametrize(("lo", "hi"), [(0, 7), (7, 8), (8, 20), (7, 39), (39, 40), (0, 40)])
def test_packets_between_closed_groups_are_as_they_stand_in_the_file(film, lo, hi):
    found = [(bytes(packet), frame) for packet, frame in read_packets(film, examine(film)[1], lo, hi)]
    assert found == [(p.content, p.shown) for p in packets(film) if lo <= p.shown < hi]
    assert found[0][1] == lo


def test_packets_that_went_meanwhile_are_missed(film):
    known = examine(film)[1]
    write_video(moving(30), film, SPEC, idr_at=(7, 8, 20))
    with pytest.raises(MediaError, match=r"packets 20 to 39 are no longer there"):
        list(read_packets(film, known, 20, 40))


def test_readers_of_one_film_do_not_disturb_each_other(film):
    whole = planes(film)
    with OpenFilms() as films:
        together = zip(read_yuv(film, 0, 12, films=films), read_yuv(film, 20, 32, films=films), strict=True)
        for k, (a, b) in enumerate(together):
            assert np.array_equal(a.to_ndarray(), whole[k])
            assert np.array_equal(b.to_ndarray(), whole[20 + k])


def test_a_reader_left_in_the_middle_leaves_a_film_that_can_be_used_again(film):
    whole = planes(film)
    with OpenFilms() as films:
        for lo in (0, 30, 5, 21):
            reader = read_yuv(film, lo, 40, films=films)
            assert np.array_equal(next(reader).to_ndarray(), whole[lo])
            reader.close()


def test_a_film_that_failed_is_not_kept_open(film):
    with OpenFilms() as films:
        with pytest.raises(KeyError), films.open(film):
            raise KeyError
        assert len(samples(read_yuv(film, films=films))) == 40


@pytest.mark.parametrize("key_frames", [1, 4, 12])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
def test_open_groups_and_other_containers_are_read_by_index(tmp_path, suffix, key_frames):
    """In an open group the frames shown first refer to the group before: a decoder that begins there lacks them."""
    x264 = f"open-gop=1:keyint={key_frames}:min-keyint=1:bframes={0 if suffix == 'avi' else 2}:scenecut=0"
    path = foreign(tmp_path / f"film.{suffix}", ramp(30, step=6), options={"x264-params": x264})
    for lo, hi in [(0, 30), (4, 9), (11, 13), (12, 25), (29, 30)]:
        shown = [float(frame.mean()) for frame in read_frames(path, lo, hi)]
        assert shown == pytest.approx([20 + 6 * i for i in range(lo, hi)], abs=3)


def test_what_an_edit_list_hides_is_not_shown(tmp_path, film):
    path = tmp_path / "hidden.mp4"
    options = {"avoid_negative_ts": "disabled"}
    with av.open(str(film)) as source, av.open(str(path), "w", container_options=options) as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                hidden = int(Fraction(12, 16) / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - hidden, packet.dts - hidden, stream
                output.mux(packet)
    info, known = examine(path)
    assert (info.frames, known.order, known.closed) == (28, (), frozenset())
    assert np.array_equal(samples(read_yuv(path)), planes(film)[12:])
