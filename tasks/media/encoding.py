"""How our H.264 is made: one way, so that segments of one travel can later be joined without encoding them again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from numpy.typing import NDArray

from tasks.media.errors import MediaError

Frame = NDArray[np.uint8]

BT709 = 1  # H.273: the same code for matrix, primaries and transfer
FAST_PRESETS = ("superfast", "veryfast", "faster")
PRESETS = (*FAST_PRESETS, "fast", "medium", "slow", "slower", "veryslow")
MAX_SIDE = 8192
MIN_CRF, MAX_CRF = 1.0, 51.0  # below, x264 is lossless, which profile High does not know
AVX_512F = 13  # of OpenCV's CpuFeatures; its Python module does not carry the names


@dataclass(frozen=True, slots=True)
class VideoSpec:
    """What to encode. `veryfast` at crf 17 measures as good as `medium` at 18 for less than half the time.

    `qp`, where it is given, takes the place of `crf`: the same quantiser for every block of every frame, and so a
    bound to the error, whatever the pictures show. It is for the few frames of an overlap.
    """

    width: int
    height: int
    fps: Fraction = field(default=Fraction(16))
    crf: float = 17
    preset: str = "veryfast"
    qp: int | None = None
    bframes: int = 3  # 0: frames are decoded in the order shown

    def __post_init__(self) -> None:
        if self.width % 2 or self.height % 2:
            even = f"{self.width // 2 * 2}×{self.height // 2 * 2}"
            raise MediaError(f"H.264 in yuv420p needs even sides, not {self.width}×{self.height}; use {even}.")
        if not (16 <= self.width <= MAX_SIDE and 16 <= self.height <= MAX_SIDE):
            raise MediaError(f"A film of {self.width}×{self.height} cannot be made; each side is 16 to {MAX_SIDE}.")
        if self.preset not in PRESETS:
            # ultrafast cannot share the others' parameter sets; placebo has no place in a queue
            raise MediaError(f"There is no preset {self.preset!r} here; use one of {', '.join(PRESETS)}.")
        if not MIN_CRF <= self.crf <= MAX_CRF:
            raise MediaError(f"A crf of {self.crf} cannot be encoded; use {MIN_CRF:g} (best) to {MAX_CRF:g}.")
        if self.qp is not None and not 1 <= self.qp <= 51:
            raise MediaError(f"A quantiser of {self.qp} cannot be encoded; use 1 (best) to 51.")
        if not 0 <= self.bframes <= 16:
            raise MediaError(f"x264 puts 0 to 16 B-frames between two others, not {self.bframes}.")
        object.__setattr__(self, "fps", frame_rate(self.fps))


def frame_rate(fps: Fraction | float | str) -> Fraction:
    """29.97 means 30000/1001; 12.5 is 25/2. At most 240."""
    exact = Fraction(fps)
    for known in (Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60000, 1001)):
        if abs(exact - known) < Fraction(1, 100):
            exact = known
    exact = exact.limit_denominator(1001)
    if not 0 < exact <= 240:
        raise MediaError(f"{fps} frames a second cannot be written; use a rate above 0 and up to 240.")
    return exact


def encoder_settings(spec: VideoSpec) -> dict[str, Any]:
    """Attributes of the encoder's context."""
    return {
        "width": spec.width,
        "height": spec.height,
        "pix_fmt": "yuv420p",
        "time_base": 1 / spec.fps,
        "color_primaries": BT709,
        "color_trc": BT709,
        "colorspace": BT709,
        "color_range": int(ColorRange.MPEG),
        # PyAV's default cuts each frame into slices whose bytes differ from run to run; by frame they repeat.
        "thread_type": "FRAME",
        # x264's decisions depend on the number of threads: fixed, the same frames give the same file on every machine.
        "thread_count": 4 if spec.qp is None else 1,
        "options": encoder_options(spec),
    }


def encoder_options(spec: VideoSpec) -> dict[str, str]:
    x264 = {
        "stitchable": "1",  # parameter sets that do not depend on the content: segments can share one
        "ref": "3",  # these five are written into the parameter sets, and each preset would choose its own
        "bframes": str(spec.bframes),
        "weightp": "2",
        "8x8dct": "1",
        "cabac": "1",
        "open-gop": "0",  # nothing may refer across a key frame: that is where segments are cut
        "keyint": "250",
    }
    if cv2.checkHardwareSupport(AVX_512F):
        # x264's AVX-512 code for mbtree gives other bytes from run to run; the next lower set is as fast and repeats.
        x264["asm"] = "AVX2"
    if spec.preset in FAST_PRESETS:
        x264["chroma-qp-offset"] = "-2"  # they switch psy-rd off, which would change this entry of the PPS
    if spec.qp is not None:
        # One quantiser for all kinds of frames, and nothing that looks ahead for the sake of rate control.
        x264 |= {"ipratio": "1", "pbratio": "1", "b-adapt": "0", "scenecut": "0", "weightp": "1"}
    return {
        **({"crf": str(spec.crf)} if spec.qp is None else {"qp": str(spec.qp)}),
        "preset": spec.preset,
        "profile": "high",
        "forced-idr": "1",  # a frame we ask to be a key frame starts a closed group, not only an I frame
        "x264-params": ":".join(f"{key}={value}" for key, value in x264.items()),
    }


class ToYuv:
    """RGB arrays and foreign frames to limited-range BT.709 yuv420p; a frame that is that already passes untouched."""

    def __init__(self, spec: VideoSpec) -> None:
        self._spec = spec
        self._scaler = VideoReformatter()

    def __call__(self, frame: Frame | VideoFrame) -> VideoFrame:
        if isinstance(frame, np.ndarray):
            self._check(frame.shape, frame.dtype)
            return self._convert(VideoFrame.from_ndarray(frame, format="rgb24"), None)
        self._check((frame.height, frame.width, 3), np.dtype(np.uint8))
        if frame.format.name == "yuv420p" and frame.colorspace == BT709 and frame.color_range != ColorRange.JPEG:
            return frame
        return self._convert(frame, matrix(frame))

    def _convert(self, frame: VideoFrame, source: int | None) -> VideoFrame:
        # Named on every call: without them the matrix is BT.601, whatever the file's tags will say.
        return self._scaler.reformat(
            frame,
            format="yuv420p",
            src_colorspace=source,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            dst_color_trc=ColorTrc.BT709,
            dst_color_primaries=ColorPrimaries.BT709,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,
            threads=1,
        )

    def _check(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        wanted = (self._spec.height, self._spec.width, 3)
        if shape != wanted or dtype != np.uint8:
            raise MediaError(f"A frame of shape {shape} {dtype} does not fit a film of {wanted} uint8.")


def matrix(frame: VideoFrame) -> int:
    """The matrix of a frame's colours. Untagged means BT.601: what the common tools write when they write no tag."""
    return int(Colorspace.ITU709 if frame.colorspace == BT709 else frame.colorspace or Colorspace.ITU601)


def open_stream(output: av.container.OutputContainer, spec: VideoSpec) -> av.VideoStream:
    """A track for packets of `encoder(spec)`, its own or those of others with the same parameter sets."""
    stream = output.add_stream("libx264", rate=spec.fps)
    _set_up(stream.codec_context, spec)
    stream.time_base = 1 / spec.fps
    return stream


def encoder(spec: VideoSpec) -> av.VideoCodecContext:
    """One that is open, so that its parameter sets (`extradata`, as mp4 stores them) can be read."""
    context = av.CodecContext.create("libx264", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.framerate = spec.fps
    context.flags |= av.codec.context.Flags.global_header
    _set_up(context, spec)
    context.open()
    return context


def _set_up(context: av.VideoCodecContext, spec: VideoSpec) -> None:
    settings = encoder_settings(spec)
    options = settings.pop("options")
    # Packets as mp4 holds them, each part behind its length. Mixed into one track with x264's other format, which
    # separates parts by a start code, both are mangled without an error.
    options["x264-params"] += ":annexb=0"
    for name, value in settings.items():
        setattr(context, name, value)
    context.options = options


def settings_hash(spec: VideoSpec) -> str:
    """Of all that decides how frames are encoded; the same frames and the same hash give the same bytes."""
    settings = {name: str(value) for name, value in encoder_settings(spec).items()}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
