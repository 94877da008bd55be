from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from tasks.media.audio import RATE, check_sound, lay_under
from tasks.media.errors import MediaError
from tasks.media.video import VideoSpec, probe, write_video
from tests.media.films import HEIGHT, WIDTH, moving

CODECS = {"mp3": "libmp3lame", "wav": "pcm_s16le", "aac": "aac", "m4a": "aac", "flac": "flac", "ogg": "libopus"}


@pytest.fixture
def film(tmp_path):
    """2.3125 seconds."""
    return make_film(tmp_path / "film.mp4", 37)


def make_film(path, frames, fps=16):
    write_video(moving(frames), path, VideoSpec(WIDTH, HEIGHT, Fraction(fps)))
    return path


def tone(path, seconds, rate=48000, layout="stereo", start=0.0, pictures=False):
    """A sine at half of full scale."""
    channels = 2 if layout == "stereo" else 1
    with av.open(str(path), "w", format="adts" if path.suffix == ".aac" else None) as output:
        stream = output.add_stream(CODECS.get(path.suffix[1:], "aac"), rate=rate)
        stream.layout = layout
        if pictures:
            video = output.add_stream("libx264", rate=16)
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for frame in moving(20):
                output.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            output.mux(video.encode(None))
        wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
        frame = av.AudioFrame.from_ndarray(
            np.tile(wave.astype(np.float32), (channels, 1)), format="fltp", layout=layout
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, round(start * rate), Fraction(1, rate)
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def packets(path, kind="video"):
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        found = [packet for packet in container.demux(stream) if packet.pts is not None]
        return [(packet.pts * stream.time_base, packet.dts * stream.time_base, bytes(packet)) for packet in found]


def heard(path):
    """Loudness of each tenth of a second; half of full scale, as a sine, is 0.35."""
    with av.open(str(path)) as container:
        sound = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    tenth = RATE // 10
    return [float(sound[:, i : i + tenth].std()) for i in range(0, sound.shape[1] - tenth + 1, tenth)]


@pytest.mark.parametrize(
    ("name", "rate", "layout"),
    [
        ("stereo.mp3", 44100, "stereo"),
        ("mono.mp3", 48000, "mono"),
        ("mono.wav", 44100, "mono"),
        ("stereo.aac", 48000, "stereo"),
        ("stereo.m4a", 44100, "stereo"),
        ("high.flac", 96000, "mono"),
        ("low.ogg", 24000, "stereo"),
    ],
)
def test_any_recording_becomes_a_sound_track_of_the_films_length(tmp_path, film, name, rate, layout):
    lay_under(film, tone(tmp_path / name, 3, rate, layout), tmp_path / "out.mp4", fade_out=0)
    with av.open(str(tmp_path / "out.mp4")) as container:
        sound = container.streams.audio[0]
        made = (sound.codec_context.name, sound.rate, sound.layout.name, sound.start_time)
        assert made == ("aac", RATE, "stereo", 0)
        assert sound.duration * sound.time_base == Fraction(37, 16)
    assert heard(tmp_path / "out.mp4")[1:22] == pytest.approx([0.35] * 21, abs=0.03)


@pytest.mark.parametrize(("frames", "fps"), [(1, 16), (37, 24), (40, "30000/1001"), (25, 12.5)])
@pytest.mark.parametrize("seconds", [0.3, 4])
def test_sound_is_cut_or_padded_to_the_sample(tmp_path, frames, fps, seconds):
    film = make_film(tmp_path / "film.mp4", frames, fps)
    info = lay_under(film, tone(tmp_path / "tone.wav", seconds), tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        sound = container.streams.audio[0]
        assert sound.duration * sound.time_base * RATE == round(info.frames / info.fps * RATE)


def test_pictures_are_copied_bit_for_bit_in_their_places(tmp_path, film):
    lay_under(film, tone(tmp_path / "tone.mp3", 1), tmp_path / "out.mp4")
    assert packets(tmp_path / "out.mp4") == packets(film)
    assert probe(tmp_path / "out.mp4") == probe(film)


def test_sound_that_ends_early_is_followed_by_silence(tmp_path, film):
    lay_under(film, tone(tmp_path / "tone.wav", 1), tmp_path / "out.mp4")
    loud = heard(tmp_path / "out.mp4")
    assert (min(loud[:9]), max(loud[11:])) == (pytest.approx(0.35, abs=0.02), pytest.approx(0, abs=0.001))


def test_the_end_of_the_film_fades_out(tmp_path, film):
    lay_under(film, tone(tmp_path / "tone.wav", 5), tmp_path / "out.mp4", fade_out=1)
    loud = heard(tmp_path / "out.mp4")
    assert min(loud[:12]) == pytest.approx(0.35, abs=0.01)
    assert all(later < earlier for earlier, later in pairwise(loud[13:]))
    assert loud[22] < 0.03


def test_a_fade_may_be_longer_than_the_film(tmp_path, film):
    lay_under(film, tone(tmp_path / "tone.wav", 5), tmp_path / "out.mp4", fade_out=100)
    loud = heard(tmp_path / "out.mp4")
    assert loud[1] > 2 * loud[13] > 0


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_a_fade_that_is_none_is_refused(tmp_path, film, seconds):
    with pytest.raises(MediaError, match=f"A fade of {seconds} seconds"):
        lay_under(film, tone(tmp_path / "tone.wav", 1), tmp_path / "out.mp4", fade_out=seconds)


def test_sound_that_comes_in_late_in_a_film_comes_in_late(tmp_path, film):
    other = tone(tmp_path / "other.mp4", 1, start=0.8, pictures=True)
    lay_under(film, other, tmp_path / "out.mp4")
    loud = heard(tmp_path / "out.mp4")
    assert (max(loud[:7]), min(loud[8:17])) == (pytest.approx(0, abs=0.001), pytest.approx(0.35, abs=0.03))


def test_a_film_that_has_sound_gets_the_new_one_in_its_place(tmp_path, film):
    lay_under(film, tone(tmp_path / "tone.wav", 3), film, fade_out=0)
    lay_under(film, tone(tmp_path / "short.wav", 1), film)
    with av.open(str(film)) as container:
        assert len(container.streams) == 2
    assert max(heard(film)[11:]) < 0.001


def test_a_player_finds_index_pictures_and_sound_of_a_moment_together(tmp_path):
    film = make_film(tmp_path / "film.mp4", 160)
    lay_under(film, tone(tmp_path / "tone.wav", 10), tmp_path / "out.mp4")
    content = (tmp_path / "out.mp4").read_bytes()
    assert 0 < content.find(b"moov") < content.find(b"mdat")
    places = {}
    with av.open(str(tmp_path / "out.mp4")) as container:
        for packet in container.demux():
            if packet.dts is not None:
                second = int(packet.dts * packet.time_base)
                places.setdefault((packet.stream.type, second), []).append(packet.pos)
    for second in range(9):
        assert max(places["audio", second]) < min(places["video", second + 1])
        assert max(places["video", second]) < min(places["audio", second + 1])


def test_a_damaged_stretch_of_a_recording_is_passed_over(tmp_path, film):
    content = bytearray(tone(tmp_path / "tone.mp3", 3, 44100).read_bytes())
    content[20_000:22_000] = np.random.default_rng(0).bytes(2000)
    (tmp_path / "tone.mp3").write_bytes(content + b"TAG" * 50)
    lay_under(film, tmp_path / "tone.mp3", tmp_path / "out.mp4", fade_out=0)
    loud = heard(tmp_path / "out.mp4")
    assert (loud[2], loud[21]) == (pytest.approx(0.35, abs=0.03), pytest.approx(0.35, abs=0.03))


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "there is no such recording"), (b"", "it is empty"), (b"hello" * 99, "not a recording that can be read")],
)
def test_a_file_that_is_no_recording_is_named(tmp_path, film, content, said):
    recording = tmp_path / "song.mp3"
    if content is not None:
        recording.write_bytes(content)
    with pytest.raises(MediaError, match=rf"song\.mp3: .*{said}"):
        lay_under(film, recording, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()
    with pytest.raises(MediaError, match=rf"song\.mp3: .*{said}"):
        check_sound(recording)


def test_a_film_without_sound_is_no_recording(tmp_path, film):
    silent = make_film(tmp_path / "silent.mp4", 5)
    with pytest.raises(MediaError, match=r"silent\.mp4: there is no sound in it. Send a recording"):
        lay_under(film, silent, tmp_path / "out.mp4")


def test_a_track_without_a_sample_is_no_sound(tmp_path, film):
    empty = tone(tmp_path / "empty.wav", 0.01)
    empty.write_bytes(empty.read_bytes()[: -480 * 4])  # its header alone
    for use in (check_sound, lambda recording: lay_under(film, recording, tmp_path / "out.mp4")):
        with pytest.raises(MediaError, match=r"empty\.wav: its sound track is empty"):
            use(empty)


def test_a_recording_can_be_checked_beforehand(tmp_path):
    check_sound(tone(tmp_path / "tone.mp3", 0.5))
    check_sound(tone(tmp_path / "other.mp4", 0.5, pictures=True))


def test_a_playlist_opens_no_other_file(tmp_path, film):
    tone(tmp_path / "secret.mp3", 1)
    playlist = tmp_path / "song.mp3"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{tmp_path}/secret.mp3\n#EXT-X-ENDLIST\n")
    with pytest.raises(MediaError, match=r"song\.mp3: not a recording"):
        lay_under(film, playlist, tmp_path / "out.mp4")


def test_the_new_file_can_be_finished_before_it_appears(tmp_path, film):
    def finish(part):
        assert not (tmp_path / "out.mp4").exists()
        part.write_bytes(part.read_bytes() + b"\x00\x00\x00\x08free")

    lay_under(film, tone(tmp_path / "tone.wav", 1), tmp_path / "out.mp4", finish=finish)
    assert (tmp_path / "out.mp4").read_bytes().endswith(b"free")
    assert probe(tmp_path / "out.mp4").frames == 37


def test_progress_counts_pictures_and_may_stop_it(tmp_path, film):
    seen = []

    def step(done, total):
        seen.append((done, total))
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lay_under(film, tone(tmp_path / "tone.wav", 1), tmp_path / "out.mp4", on_step=step)
    assert seen == [(1, 37), (2, 37), (3, 37)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "tone.wav"]
