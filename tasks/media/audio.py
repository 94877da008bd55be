"""Sound under a film: the pictures stay bit for bit what they are, the sound is made exactly as long."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from fractions import Fraction
from heapq import merge
from pathlib import Path
from typing import TypeAlias

import av
from av.audio.frame import AudioFrame
from av.error import BlockingIOError as NothingYet
from av.error import EOFError as NothingMore
from av.error import FFmpegError, InvalidDataError
from av.filter import Graph

from tasks.media.atomic import replacing
from tasks.media.errors import MediaError
from tasks.media.probe import FORMATS, VideoInfo, describe, opened, scan

OnStep = Callable[[int, int], None]
Packet: TypeAlias = "av.Packet[av.VideoStream] | av.Packet[av.AudioStream]"

RATE = 48_000
BIT_RATE = "192k"
BLOCK = 1024  # samples of an AAC packet
#: The index counts the film's length in samples; in thousandths, as by default, sound could end half of one too soon.
MP4 = {"movflags": "+faststart", "movie_timescale": str(RATE)}
#: Containers in which sound comes: those of films, and those of sound alone. No playlists, which name other files.
SOUND_FORMATS = f"{FORMATS},mp3,wav,w64,aiff,flac,ogg,aac,ac3,eac3,caf,amr"


def lay_under(
    video: str | Path,
    audio: str | Path,
    out: str | Path,
    *,
    fade_out: float = 0.5,
    on_step: OnStep | None = None,
    finish: Callable[[Path], None] | None = None,
) -> VideoInfo:
    """Write `video` with the sound of `audio` (a recording, or another film) under it, in place of its own, or nothing.

    The video's packets are copied. The sound becomes AAC, 48 kHz stereo: cut at the film's end, or followed by silence
    up to it, to the sample; the last `fade_out` seconds of the film fade. Both tracks are interleaved and the index
    stands in front, so a player can begin at once. Memory does not grow with the film, but for its index.

    `on_step(done, total)` counts the film's frames and may raise to stop, and then `out` is untouched. `finish` is
    given the new file before it takes its name: what of `video` follows its index, such as a label, is not copied.
    Raises MediaError for a film that cannot be read and for a file without sound.
    """
    out = Path(out)
    info, digest = _pictures(video)
    samples = round(info.frames / info.fps * RATE)
    if not 0 <= fade_out < math.inf:
        raise MediaError(f"A fade of {fade_out} seconds is no fade; use 0 for none, or some seconds.")
    fade = min(samples, round(fade_out * RATE))
    with replacing(out) as part:
        with av.open(str(part), "w", format="mp4", options=MP4) as output:
            with opened(video) as (_, source):
                pictures = output.add_stream_from_template(source)
                pictures.time_base = source.time_base
            sound = output.add_stream("aac", rate=RATE, options={"b": BIT_RATE})
            sound.layout = "stereo"
            # In the order in which a player needs them: the muxer would hold back all of one track for the other.
            copied, encoded = _copied(video, pictures), _encoded(audio, sound, samples, fade)
            done = 0
            for packet in merge(copied, encoded, key=_when):
                output.mux_one(packet)
                if on_step and packet.stream is pictures:
                    done += 1
                    on_step(done, info.frames)
        written, copy = _pictures(part)
        if copy != digest:
            raise MediaError(f"{out}: the film's pictures did not come out as they are in {video}. Try once more.")
        if finish:
            finish(part)
    return written


def check_sound(audio: str | Path) -> None:
    """Raises MediaError for a file that has no sound to lay under a film. Only its first moment is decoded."""
    with closing(_decoded(Path(audio))) as frames:
        if next(frames, None) is None:
            raise _silent(audio)


def _silent(audio: str | Path) -> MediaError:
    return MediaError(f"{audio}: its sound track is empty or damaged. Send another file, such as an mp3 or a wav.")


def _pictures(video: str | Path) -> tuple[VideoInfo, str]:
    """What the film is, and the SHA-256 of its video packets."""
    with opened(video) as (container, stream):
        packets = scan(video, container, stream)
        return describe(stream, packets), packets.digest


def _when(packet: Packet) -> Fraction:
    assert packet.dts is not None
    assert packet.time_base is not None
    return packet.dts * packet.time_base


def _copied(video: str | Path, stream: av.VideoStream) -> Iterator[Packet]:
    with opened(video) as (container, source):
        for packet in container.demux(source):
            if packet.dts is not None:  # the last one, which only flushes
                packet.stream = stream
                yield packet


def _encoded(audio: str | Path, stream: av.AudioStream, samples: int, fade: int) -> Iterator[Packet]:
    for frame in _sound(Path(audio), samples, fade):
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _sound(audio: Path, samples: int, fade: int) -> Iterator[AudioFrame]:
    """Exactly these many samples, in blocks."""
    graph: Graph | None = None
    try:
        for frame in _decoded(audio):
            graph = graph or _graph(frame, samples, fade)
            graph.push(frame)
            yield from _pulled(graph)
        if graph is None:
            raise _silent(audio)
        graph.push(None)
        yield from _pulled(graph)
    except NothingMore:
        return  # the film's end: what is left of the sound is not read


def _decoded(audio: Path) -> Generator[AudioFrame, None, None]:
    """Frames whose times begin where the file begins: in a film, sound may come in later than the pictures."""
    if not audio.is_file() or not audio.stat().st_size:
        raise MediaError(f"{audio}: there is no such recording, or it is empty. Check the path, or upload it again.")
    options = {"protocol_whitelist": "file", "format_whitelist": SOUND_FORMATS}
    try:
        # The "file:" keeps a name with a colon in it from being read as a protocol.
        with av.open(f"file:{audio}", "r", container_options=options) as container:
            if not container.streams.audio:
                raise MediaError(f"{audio}: there is no sound in it. Send a recording, or a film that has sound.")
            stream = container.streams.audio[0]
            start = Fraction(container.start_time or 0, av.time_base)
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except InvalidDataError:
                    continue  # as players do; the gap becomes silence
                for frame in frames:
                    if frame.pts is not None and frame.time_base:
                        frame.pts -= round(start / frame.time_base)
                    yield frame
    except FFmpegError as error:
        why = f"{audio}: not a recording that can be read ({error.strerror or error})."
        raise MediaError(f"{why} Send another file, such as an mp3 or a wav.") from error


def _graph(first: AudioFrame, samples: int, fade: int) -> Graph:
    graph = Graph()
    steps = [
        graph.add_abuffer(
            sample_rate=first.sample_rate, format=first.format.name, layout=first.layout, time_base=first.time_base
        ),
        # Times are kept: silence where the sound begins late or has a gap.
        graph.add("aresample", f"{RATE}:async=1:first_pts=0"),
        # One channel is heard on both sides as loud as it is; by default each would get it 3 dB softer.
        *([graph.add("pan", "stereo|c0=c0|c1=c0")] if first.layout.nb_channels == 1 else []),
        graph.add("aformat", "sample_fmts=fltp:channel_layouts=stereo"),
        graph.add("apad", f"whole_len={samples}"),
        graph.add("atrim", f"end_sample={samples}"),
    ]
    if fade:
        steps.append(graph.add("afade", f"type=out:start_sample={samples - fade}:nb_samples={fade}"))
    steps += [graph.add("asetnsamples", f"n={BLOCK}:p=0"), graph.add("abuffersink")]
    graph.link_nodes(*steps).configure()
    return graph


def _pulled(graph: Graph) -> Iterator[AudioFrame]:
    """What is ready. Raises NothingMore when the sound is as long as it should be."""
    while True:
        try:
            frame = graph.pull()
        except NothingYet:
            return
        assert isinstance(frame, AudioFrame)
        yield frame
