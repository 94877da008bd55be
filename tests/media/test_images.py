from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tasks.media.errors import MediaError
from tasks.media.images import MAX_PIXELS, fit, read_image, write_image


def png_header(width, height):
    """A PNG that says how large it is and holds nothing."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(30_000, 30_000), (10_000, 10_000)])
def test_a_huge_picture_is_refused_from_its_header(tmp_path, size):
    path = tmp_path / "huge.png"
    path.write_bytes(png_header(*size))
    with pytest.raises(MediaError, match=f"{MAX_PIXELS:,}") as refusal:
        read_image(path)
    assert f"{size[0] * size[1]:,} pixels" in str(refusal.value)


def test_a_text_file_named_png_is_no_picture(tmp_path):
    path = tmp_path / "note.png"
    path.write_text("hello")
    with pytest.raises(MediaError, match=r"note\.png: this is no picture"):
        read_image(path)


def test_a_cut_off_picture_is_refused(tmp_path):
    path = tmp_path / "cut.jpg"
    write_image(np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8), path)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(MediaError, match=r"cut\.jpg: the picture is cut off"):
        read_image(path)


def test_an_empty_or_missing_picture_is_named(tmp_path):
    (tmp_path / "empty.png").touch()
    with pytest.raises(MediaError, match=r"empty\.png: the picture is empty"):
        read_image(tmp_path / "empty.png")
    with pytest.raises(MediaError, match=r"gone\.png: there is no such picture"):
        read_image(tmp_path / "gone.png")


def test_a_photo_is_turned_upright_by_its_exif_tag(tmp_path):
    picture = Image.new("RGB", (40, 20), "blue")
    exif = picture.getexif()
    exif[0x0112] = 6  # turn right
    picture.save(tmp_path / "phone.jpg", exif=exif)
    assert read_image(tmp_path / "phone.jpg").shape == (40, 20, 3)


def test_transparency_lies_over_white(tmp_path):
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_image(tmp_path / "clear.png") == 255).all()


def test_sixteen_bits_are_brought_to_eight(tmp_path):
    deep = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    frame = read_image(tmp_path / "deep.png")
    assert (frame[..., 0] == deep >> 8).all()


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "LA"])
def test_every_common_mode_comes_out_as_rgb(tmp_path, mode):
    path = tmp_path / f"{mode}.tif"
    Image.new("RGB", (12, 10), "white").convert(mode).save(path)
    frame = read_image(path)
    assert (frame.shape, frame.dtype) == ((10, 12, 3), np.uint8)
    assert frame.min() >= 254


def test_a_written_png_reads_back_the_same(tmp_path):
    frame = np.random.default_rng(1).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    write_image(frame, tmp_path / "deep" / "same.png")
    assert (read_image(tmp_path / "deep" / "same.png") == frame).all()


def test_cover_fills_the_frame_and_contain_shows_all_of_it():
    wide = np.full((50, 200, 3), 200, np.uint8)
    assert fit(wide, 64, 64, "cover").min() == 200
    contained = fit(wide, 64, 64, "contain")
    assert contained.shape == (64, 64, 3)
    assert (contained[:20] == 0).all()
    assert (contained[30] == 200).all()


@pytest.mark.parametrize("gravity", ["centre", "top", "bottom", "left", "right"])
@pytest.mark.parametrize("mode", ["cover", "contain", "blur"])
@pytest.mark.parametrize("size", [(64, 48), (48, 64), (7, 97)])
def test_fit_gives_exactly_the_size_asked_for(mode, gravity, size):
    frame = np.zeros((33, 57, 3), np.uint8)
    assert fit(frame, *size, mode, gravity).shape == (size[1], size[0], 3)


@pytest.mark.parametrize("mode", ["cover", "contain", "blur"])
def test_a_picture_that_fits_already_is_left_as_it_is(mode):
    frame = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    assert fit(frame, 64, 48, mode) is frame


def thirds(across):
    """Dark, middle and light parts, side by side or one over the other."""
    frame = np.repeat(np.array([20, 120, 220], np.uint8), 40)[:, None, None] * np.ones((1, 40, 3), np.uint8)
    return np.ascontiguousarray(frame.transpose(1, 0, 2)) if across else frame


@pytest.mark.parametrize(
    ("across", "gravity", "shown"),
    [(0, "top", 20), (0, "centre", 120), (0, "bottom", 220), (1, "left", 20), (1, "centre", 120), (1, "right", 220)],
)
def test_a_crop_keeps_the_side_asked_for(across, gravity, shown):
    assert (fit(thirds(across), 40, 40, "cover", gravity) == shown).all()


def test_gravity_across_does_not_move_a_crop_up_or_down():
    assert (fit(thirds(across=False), 40, 40, "cover", "left") == 120).all()


@pytest.mark.parametrize(
    ("gravity", "rows"), [("top", slice(0, 30)), ("centre", slice(45, 75)), ("bottom", slice(90, 120))]
)
def test_a_whole_picture_stands_where_it_is_asked_to(gravity, rows):
    shown = fit(np.full((30, 120, 3), 200, np.uint8), 120, 120, "contain", gravity)
    assert (shown[rows] == 200).all()
    assert shown.sum() == 200 * 30 * 120 * 3


def test_blur_shows_the_whole_picture_over_a_soft_dark_copy():
    texture = np.random.default_rng(0).integers(100, 255, (60, 240, 3), dtype=np.uint8)
    shown, whole = fit(texture, 240, 240, "blur"), fit(texture, 240, 240, "contain")
    picture, around = np.s_[90:150], np.r_[0:80, 160:240]
    assert (shown[picture] == whole[picture]).all()
    assert shown[around].mean() == pytest.approx(0.55 * texture.mean(), rel=0.05)
    assert shown[around].std() < 0.1 * texture.std()
