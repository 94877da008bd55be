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
    "head",
    [
        b"",
        b"<!doctype html><title>Sign in</title>",
        b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        b'{"AccessKeyId": "x"}',
        b"\x80\x04\x95pickle",
        b"PK\x03\x04zip",
        b"%PDF-1.7",
        b"RIFF\x00\x00\x00\x00WAVEfmt ",
        b"#!/bin/sh\n",
    ],
)
def test_anything_else_is_not(head: bytes) -> None:
    assert not looks_like_media(head)


def test_the_declared_type_may_be_a_picture_a_video_or_nothing_definite() -> None:
    assert all(map(may_be_media, ["image/png", "Video/MP4; codecs=x", "application/octet-stream", ""]))
    assert not any(map(may_be_media, ["text/html", "application/json", "audio/mpeg", "application/zip"]))
