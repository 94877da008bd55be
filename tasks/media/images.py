"""Pictures in and out: bounded, upright, RGB with 8 bits a sample."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from tasks.media.atomic import replacing
from tasks.media.errors import MediaError

Frame = NDArray[np.uint8]
Fit = Literal["cover", "contain", "blur"]
Gravity = Literal["centre", "top", "bottom", "left", "right"]

#: How much of what is cut off lies to the left and above.
_SHARES: dict[Gravity, tuple[float, float]] = {
    "centre": (0.5, 0.5),
    "top": (0.5, 0),
    "bottom": (0.5, 1),
    "left": (0, 0.5),
    "right": (1, 0.5),
}
SOFTNESS = 0.04  # of the longer side: the blur behind a picture
DIMMED = 0.55

#: More than any camera's phone picture; decoded it takes 192 MB. A larger one is refused from its header alone.
MAX_PIXELS = 64_000_000
#: Decoders that are worth their risk. Pillow knows dozens more, one of which starts another program.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")


def read_image(path: str | Path) -> Frame:
    """The picture as RGB uint8 (height, width, 3): turned upright by its EXIF tag, transparency laid over white.

    Raises MediaError, naming the file, when it is missing, empty, no picture, cut off, or larger than MAX_PIXELS.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise MediaError(f"{path}: there is no such picture. Check the path, or upload it again.") from error
    if not size:
        raise MediaError(f"{path}: the picture is empty (0 bytes). Upload it again.")
    try:
        with Image.open(path, formats=FORMATS) as picture:
            _check_size(path, picture.width, picture.height)
            return _to_rgb(ImageOps.exif_transpose(picture))
    except MediaError:
        raise
    except UnidentifiedImageError as error:
        raise MediaError(f"{path}: this is no picture we can read. Send one of {', '.join(FORMATS)}.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # Pillow looks at the header before we can, at a limit of its own above ours; its text begins with the size.
        pixels = int(re.search(r"\d+", str(error))[0])  # type: ignore[index]
        raise _too_large(path, f"{pixels:,} pixels") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what Pillow's decoders raise on broken files
        raise MediaError(f"{path}: the picture is cut off or damaged ({error}). Upload it again.") from error


def write_image(frame: Frame, path: str | Path, quality: int = 90) -> None:
    """Write by the name's ending (.png, .jpg, .webp). The file appears whole or not at all."""
    path = Path(path)
    with replacing(path) as part:
        Image.fromarray(frame).save(part, quality=quality)


def fit(frame: Frame, width: int, height: int, mode: Fit = "cover", gravity: Gravity = "centre") -> Frame:
    """The frame at exactly this size, its proportions kept.

    `cover` fills the size and crops what is too much, `contain` shows all of it between black bars, `blur` shows all of
    it over a soft, darker, larger copy of itself. `gravity` is the part that a crop keeps and the side that a whole
    picture stands at: "top" saves the heads of portraits.
    """
    have_h, have_w = frame.shape[:2]
    if (have_w, have_h) == (width, height):
        return frame
    ratios = (width / have_w, height / have_h)
    scale = max(ratios) if mode == "cover" else min(ratios)
    new_w, new_h = max(1, round(have_w * scale)), max(1, round(have_h * scale))
    # Area averages all source pixels: no shimmer when shrinking. Cubic keeps edges when growing.
    scaled = cv2.resize(frame, (new_w, new_h), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    out = _backdrop(frame, width, height) if mode == "blur" else np.zeros((height, width, 3), np.uint8)
    across, down = _SHARES[gravity]
    take_x, put_x, span_x = _placed(new_w, width, across)
    take_y, put_y, span_y = _placed(new_h, height, down)
    out[put_y : put_y + span_y, put_x : put_x + span_x] = scaled[take_y : take_y + span_y, take_x : take_x + span_x]
    return out


def _backdrop(frame: Frame, width: int, height: int) -> Frame:
    """So soft that nothing in it can be made out, and dark enough for the eye to stay on the picture before it."""
    small = (max(1, round(width / 16)), max(1, round(height / 16)))
    soft = cv2.GaussianBlur(fit(frame, *small), (0, 0), max(small) * SOFTNESS, borderType=cv2.BORDER_REPLICATE)
    grown = cv2.resize(soft.astype(np.float32) * DIMMED, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.rint(grown), 0, 255).astype(np.uint8)


def _placed(have: int, want: int, share: float) -> tuple[int, int, int]:
    """(first sample taken, where it is put, how many) along one side; `share` of what is too much goes before it."""
    return int(max(0, have - want) * share), int(max(0, want - have) * share), min(have, want)


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _too_large(path, f"{width}×{height} = {width * height:,} pixels")


def _too_large(path: Path, size: str) -> MediaError:
    return MediaError(f"{path}: the picture is {size}; at most {MAX_PIXELS:,} are read. Scale it down.")


def _to_rgb(picture: Image.Image) -> Frame:
    if picture.mode.startswith("I"):  # 16 bits a sample, which Pillow's own conversion would clip to white
        wide = np.clip(np.asarray(picture, dtype=np.int64), 0, 65535)
        return np.repeat((wide >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if picture.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in picture.info:
        # Over white, as a web page would show it.
        layer = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.asarray(picture.convert("RGB")).copy()
