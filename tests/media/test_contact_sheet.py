from __future__ import annotations

import pytest
from PIL import Image

from tasks.media.contact_sheet import contact_sheet, small_contact_sheet
from tasks.media.video import VideoSpec, write_video
from tests.media.films import moving


@pytest.fixture
def film(tmp_path):
    write_video(moving(40, 320, 192), tmp_path / "film.mp4", VideoSpec(320, 192))
    return tmp_path / "film.mp4"


def test_a_sheet_is_as_wide_as_asked_and_a_jpeg(film, tmp_path):
    sheet = Image.open(contact_sheet(film, tmp_path / "sheet.jpg", title="three photos"))
    assert (sheet.width, sheet.format) == (1200, "JPEG")


def test_the_small_sheet_can_be_embedded(film, tmp_path):
    assert small_contact_sheet(film, tmp_path / "small.jpg").stat().st_size < 80_000


def test_a_limit_on_bytes_is_kept_at_the_price_of_quality(film, tmp_path):
    assert contact_sheet(film, tmp_path / "tiny.jpg", max_bytes=20_000).stat().st_size <= 20_000


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_film_shorter_than_the_sheet_shows_all_its_frames(tmp_path, frames):
    write_video(moving(frames), tmp_path / "short.mp4", VideoSpec(64, 48))
    sheet = Image.open(contact_sheet(tmp_path / "short.mp4", tmp_path / "sheet.jpg"))
    assert sheet.width == 1200


def test_an_upright_film_stands_six_in_a_row(tmp_path):
    write_video(moving(12, 48, 96), tmp_path / "up.mp4", VideoSpec(48, 96))
    sheet = Image.open(contact_sheet(tmp_path / "up.mp4", tmp_path / "sheet.jpg"))
    assert sheet.height < 1000
