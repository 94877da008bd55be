from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from blocks.storage.signatures import HEAD, looks_like_media, may_be_media


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_a_picture_is_known_by_its_first_bytes(kind: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, kind)
    assert looks_like_media(file.getvalue()[:HEAD])


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "h264"), ("a.mov", "h264"), ("a.mkv", "h264"), ("a.webm", "vp9"), ("a.avi", "mpeg4"), ("a.ts", "h264")],
)
def test_a_video_is_known_by_its_first_bytes(tmp_path: Path, name: str, codec: str) -> None:
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=16)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert looks_like_media((tmp_path / name).read_bytes()[:HEAD])


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.wav", "pcm_s16le"), ("a.mp3", "mp3"), ("a.flac", "flac"), ("a.ogg", "libopus"), ("a.m4a", "aac"),
     ("a.aac", "aac"), ("a.aiff", "pcm_s16be")],
)  # fmt: skip
def test_sound_is_known_by_its_first_bytes(tmp_path: Path, name: str, codec: str) -> None:
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=48000, layout="stereo")
        size = stream.codec_context.frame_size or 1024
        layout, kind = "stereo", stream.codec_context.format.name
        frame = av.AudioFrame(kind, layout, size)
        frame.sample_rate = 48000
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert looks_like_media((tmp_path / name).read_bytes()[:HEAD])


@pytest.mark.parametrize(
    "head",
    [
        b"",
        "a text in UTF-16".encode("utf-16"),
        b"<!doctype html><title>Sign in</title>",
        b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        b'{"AccessKeyId": "x"}',
        b"\x80\x04\x95pickle",
        b"PK\x03\x04zip",
        b"%PDF-1.7",
        b"RIFF\x00\x00\x00\x00ACON",
        b"#!/bin/sh\n",
    ],
)
def test_anything_else_is_not(head: bytes) -> None:
    assert not looks_like_media(head)


def test_the_declared_type_may_be_media_or_nothing_definite() -> None:
    assert all(map(may_be_media, ["image/png", "Video/MP4; codecs=x", "audio/mpeg", "application/octet-stream", ""]))
    assert not any(map(may_be_media, ["text/html", "application/json", "application/zip"]))
