"""Progress and cancellation of a running pipeline: told after each step, and able to end it within one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tasks.engines.protocol import OnStep

#: Seconds between looks within a step: a large model's step takes a minute, and its blocks milliseconds.
PATIENCE = 0.25
_DENOISERS = ("transformer", "transformer_2", "unet")

OnStepEnd = Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]


@contextmanager
def watched(pipe: Any, on_step: OnStep, steps: int, *, inside: bool) -> Iterator[OnStepEnd]:
    """A callback for the end of each step. With `inside`, `on_step` is asked between the blocks of a step too.

    What `on_step` raises passes through the pipeline and ends it. Nothing is left on the modules.
    """
    done, total, last = 0, steps, time.monotonic()

    def step_end(pipeline: Any, index: int, _: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        nonlocal done, total, last
        total = getattr(pipeline, "num_timesteps", None) or total
        done, last = index + 1, time.monotonic()
        on_step(done, total)
        return tensors

    def look(*_: Any) -> None:
        nonlocal last
        if time.monotonic() - last >= PATIENCE:
            last = time.monotonic()
            on_step(done, total)

    handles = [module.register_forward_pre_hook(look) for module in _blocks(pipe)] if inside else []
    try:
        yield step_end
    finally:
        for handle in handles:
            handle.remove()


def _blocks(pipe: Any) -> Iterator[Any]:
    """What runs one after another within a step, and within decoding."""
    import torch

    for name in _DENOISERS:
        for part in getattr(getattr(pipe, name, None), "children", tuple)():
            if isinstance(part, torch.nn.ModuleList):
                yield from part
    for name in ("encoder", "decoder"):
        part = getattr(getattr(pipe, "vae", None), name, None)
        if isinstance(part, torch.nn.Module):
            yield part
