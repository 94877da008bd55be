"""A film on one page: evenly spaced frames with their times, as JPEG."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tasks.media.atomic import replacing
from tasks.media.images import Frame, fit
from tasks.media.probe import VideoInfo, probe
from tasks.media.video import read_frames_at

PAPER, INK, FAINT = (18, 18, 20), (236, 236, 232), (150, 150, 148)
MARGIN = 8


def contact_sheet(
    video: str | Path,
    out: str | Path,
    *,
    title: str = "",
    frames: int = 12,
    width: int = 1200,
    max_bytes: int | None = None,
) -> Path:
    """Draw the sheet `width` pixels wide. With `max_bytes`, quality and then size go down until the file fits."""
    out, film = Path(out), probe(video)
    shown = _evenly(film.frames, frames)
    sheet = _draw(list(_thumbnails(video, film, shown, width)), shown, film, title, width)
    with replacing(out) as part:
        part.write_bytes(_jpeg(sheet, max_bytes))
    return out


def small_contact_sheet(video: str | Path, out: str | Path, *, title: str = "") -> Path:
    """For embedding into a page or a log: 8 frames, 640 pixels wide, below 80 KB."""
    return contact_sheet(video, out, title=title, frames=8, width=640, max_bytes=80_000)


def _evenly(total: int, count: int) -> list[int]:
    """`count` indices or fewer, the first and the last frame among them."""
    count = min(max(1, count), total)
    return sorted({round(i * (total - 1) / max(1, count - 1)) for i in range(count)})


def _columns(film: VideoInfo, shown: int) -> int:
    """Wide pictures stand four in a row, upright ones six."""
    return min(shown, 4 if film.width >= film.height else 6)


def _thumbnails(video: str | Path, film: VideoInfo, shown: list[int], width: int) -> Iterator[Frame]:
    columns = _columns(film, len(shown))
    cell_width = (width - MARGIN * (columns + 1)) // columns
    cell_height = max(1, round(cell_width * film.height / film.width))
    for frame in read_frames_at(video, shown):
        yield fit(frame, cell_width, cell_height)


def _draw(cells: list[Frame], shown: list[int], film: VideoInfo, title: str, width: int) -> Image.Image:
    columns = _columns(film, len(cells))
    cell_height, cell_width = cells[0].shape[:2]
    size = max(11, width // 92)
    caption, top = size + MARGIN, size + 2 * MARGIN
    rows = math.ceil(len(cells) / columns)
    sheet = Image.new("RGB", (width, top + rows * (cell_height + caption) + MARGIN // 2), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size)
    length = f"{film.frames} frames   {_clock(film.frames, film.fps)}"
    facts = f"{length}   {film.width} x {film.height}   {float(film.fps):g} fps"
    pen.text((MARGIN, MARGIN), title, fill=INK, font=font)
    pen.text((width - MARGIN, MARGIN), facts, fill=FAINT, font=font, anchor="ra")
    for i, (cell, index) in enumerate(zip(cells, shown, strict=True)):
        x = MARGIN + (i % columns) * (cell_width + MARGIN)
        y = top + (i // columns) * (cell_height + caption)
        sheet.paste(Image.fromarray(np.ascontiguousarray(cell)), (x, y))
        pen.text((x, y + cell_height + 2), _clock(index, film.fps), fill=INK, font=font)
        pen.text((x + cell_width, y + cell_height + 2), f"#{index}", fill=FAINT, font=font, anchor="ra")
    return sheet


def _clock(frames: int, fps: Fraction) -> str:
    minutes, seconds = divmod(frames / fps, 60)
    return f"{minutes}:{float(seconds):04.1f}"


def _jpeg(sheet: Image.Image, max_bytes: int | None) -> bytes:
    for scale in (1.0, 0.75, 0.5, 0.3, 0.2):
        page = sheet if scale == 1 else sheet.resize((round(sheet.width * scale), round(sheet.height * scale)))
        for quality in (88, 75, 60, 45):
            buffer = io.BytesIO()
            page.save(buffer, "JPEG", quality=quality, optimize=True)
            if max_bytes is None or buffer.tell() <= max_bytes:
                return buffer.getvalue()
    return buffer.getvalue()
