"""Draw the sample pictures again: `python samples/draw.py`. One bay, three times of day, a camera in motion."""

from __future__ import annotations

from pathlib import Path

from tasks.engines.protocol import Request
from tasks.engines.sketch import SketchEngine
from tasks.media.images import write_image

SEED = 15
STEP = 0.05  # of the picture's height, from picture to picture
PICTURES = {"1-noon": "noon", "2-dusk": "dusk", "3-night": "night"}


def _ignore(_done: int, _total: int) -> None:
    """Nobody watches these three."""


def main() -> None:
    engine = SketchEngine()
    for place, (name, time) in enumerate(PICTURES.items()):
        request = Request(
            width=1280,
            height=720,
            frames=1,
            seed=SEED,
            prompt=f"a bay at {time}, mountains, a lighthouse and a boat",
            options={"pan": STEP * (place - 1)},
        )
        picture = next(engine.generate(request, _ignore))
        write_image(picture, Path(__file__).parent / f"{name}.jpg", quality=88)


if __name__ == "__main__":
    main()
