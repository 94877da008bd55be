"""An engine that hangs where no exception reaches it, once; preloaded by the children of a pool in tests."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

from tasks.engines import registry
from tasks.engines.protocol import Frame, OnStep, Request
from tasks.engines.sketch import SketchEngine


class HangingEngine(SketchEngine):
    """The prompt names a file: the first generation writes it and sleeps in native code, with the interpreter lock."""

    name = "hanging"

    def generate(self, request: Request, on_step: OnStep) -> Iterator[Frame]:
        marker = Path(request.prompt)
        if not marker.exists():
            marker.touch()
            ctypes.PyDLL(None).sleep(3600)
        return super().generate(request, on_step)


registry.BUILTIN["hanging"] = f"{__name__}:HangingEngine"
