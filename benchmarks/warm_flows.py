"""The flows that `benchmarks/warm_worker.py` starts: each writes when its body began."""

from __future__ import annotations

import time
from pathlib import Path

from prefect import flow

SIZE, FRAMES = (32, 32), 9


def note(begun: str) -> None:
    Path(begun).write_text(str(time.time()))


@flow
async def noop(begun: str) -> None:
    note(begun)


@flow
async def segment(begun: str, model: str) -> None:
    """A clip of a tiny Wan: the imports of torch and diffusers and the loading are what a large one pays too."""
    note(begun)
    import numpy as np

    from tasks.engines.protocol import Request
    from tasks.generation import Maker

    start, end = (np.full((SIZE[1], SIZE[0], 3), shade, np.uint8) for shade in (40, 200))
    request = Request(*SIZE, FRAMES, seed=1, prompt="the sea", start=start, end=end, options={"steps": 2})
    assert len(list(Maker("wan", model).frames(request, lambda _done, _total: None))) == FRAMES
