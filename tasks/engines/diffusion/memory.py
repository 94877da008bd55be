"""Where a pipeline's parts live, and what is tried when they do not fit. Nothing here changes what was asked for."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from tasks.engines.protocol import EngineOutOfMemory, Setup
from tasks.engines.store import free_memory

logger = logging.getLogger(__name__)
T = TypeVar("T")

_MODES = ("none", "model", "sequential")
_LASTING = ("VAE tiling and slicing", "model offload", "sequential offload")
#: How far each model had to climb in this process: it starts there when it is loaded again.
_remembered: dict[Hashable, list[str]] = {}


class Placement:
    """Puts pipelines that share their parts on the device, whole or bit by bit; one of them is in place at a time."""

    def __init__(self, setup: Setup, device: Any) -> None:
        self.device = device
        self.offload: str = setup.offload
        self.tiling, self.slicing = setup.vae_tiling, setup.vae_slicing
        self._placed: tuple[Any, str] | None = None

    def put(self, pipe: Any) -> None:
        """Ready to run as things stand now. Free when nothing changed."""
        self._arrange_vae(getattr(pipe, "vae", None))
        if self._placed is not None and self._placed[0] is pipe and self._placed[1] == self.offload:
            return
        self.release()
        if self.offload == "none":
            pipe.to(self.device)
        elif self.offload == "model":
            pipe.enable_model_cpu_offload(device=self.device)
        else:
            pipe.enable_group_offload(self.device, offload_type="leaf_level")
        self._placed = (pipe, self.offload)

    def release(self) -> None:
        """Take the offloading hooks out, so that the modules can be changed; `put` sets them again."""
        if self._placed is not None:
            pipe, mode = self._placed
            if mode == "model":
                pipe.remove_all_hooks()
            elif mode == "sequential":
                _stop_group_offload(pipe)
            self._placed = None

    def _arrange_vae(self, vae: Any) -> None:
        for wanted, name in ((self.tiling, "enable_tiling"), (self.slicing, "enable_slicing")):
            if wanted and hasattr(vae, name):
                with contextlib.suppress(NotImplementedError):  # some have the method and nothing behind it
                    getattr(vae, name)()


class Ladder:
    """Tries again in less memory, rung by rung, and stays on the rung that held.

    Each attempt begins anew from the same seed, so its frames are those of a machine with more memory; only the seams
    of VAE tiles in pictures larger than a tile can be told.
    """

    def __init__(self, model: Hashable, placement: Placement, make_room: Callable[[], bool]) -> None:
        self.model, self._placement, self._make_room = model, placement, make_room
        for rung in _remembered.get(model, []):
            self._climb(rung)

    def run(self, attempt: Callable[[], T], what: str) -> T:
        """`attempt()`, repeated after every rung. Raises `EngineOutOfMemory` saying what was tried."""
        tried: list[str] = []
        while True:
            try:
                return attempt()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                problem = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            # Outside of the handler: its traceback would keep the tensors alive that are in the way.
            rung = self._next(tried)
            if rung is None:
                raise EngineOutOfMemory(self._end(tried, what, problem))
            logger.warning("out_of_memory model=%s rung=%r problem=%r", self.model, rung, problem)
            tried.append(rung)
            self._climb(rung)

    def _next(self, tried: list[str]) -> str | None:
        placement = self._placement
        if "free caches" not in tried:
            return "free caches"
        if self._make_room():
            return "unload other models"
        if not (placement.tiling and placement.slicing):
            return "VAE tiling and slicing"
        height = _MODES.index(placement.offload) + 1
        return f"{_MODES[height]} offload" if height < len(_MODES) else None

    def _climb(self, rung: str) -> None:
        placement = self._placement
        if rung == "VAE tiling and slicing":
            placement.tiling = placement.slicing = True
        elif rung.endswith(" offload"):
            placement.offload = rung.removesuffix(" offload")
        kept = _remembered.setdefault(self.model, [])
        if rung in _LASTING and rung not in kept:
            kept.append(rung)
        free_memory()

    def _end(self, tried: list[str], what: str, problem: str) -> str:
        return (
            f"{what} does not fit in the memory of {self._placement.device}. Tried: "
            f"{', '.join(dict.fromkeys([*_remembered.get(self.model, []), *tried]))} ({problem}). "
            "Ask for fewer frames or a smaller size, choose a smaller model, or let nothing else use the device."
        )


def _stop_group_offload(pipe: Any) -> None:
    """There is no method for it; hooks of other kinds, such as a cache's, stay."""
    from diffusers.hooks import group_offloading as hooks
    from diffusers.hooks.hooks import HookRegistry

    names = (hooks._GROUP_OFFLOADING, hooks._LAYER_EXECUTION_TRACKER, hooks._LAZY_PREFETCH_GROUP_OFFLOADING)
    for module in pipe.components.values():
        if hasattr(module, "named_parameters"):
            for name in names:
                HookRegistry.check_if_exists_or_initialize(module).remove_hook(name, recurse=True)


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA has a class for it, the CPU and MPS only words."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def size_of(components: Any) -> int:
    """Bytes of all parameters and buffers, those that two parts share counted once."""
    import torch

    tensors: dict[int, Any] = {}
    for module in components.values():
        if isinstance(module, torch.nn.Module):
            tensors |= {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
