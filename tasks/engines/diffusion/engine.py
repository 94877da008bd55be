"""What all diffusers engines share: one model in memory, run under a memory ladder, LoRAs and a watch."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tasks.engines.diffusion import loading
from tasks.engines.diffusion.adapters import Adapters
from tasks.engines.diffusion.embeddings import Embeddings
from tasks.engines.diffusion.memory import Ladder, Placement, size_of
from tasks.engines.diffusion.watch import watched
from tasks.engines.protocol import DEFAULT_SETUP, Capabilities, EngineError, Frame, OnStep, Request, Setup

logger = logging.getLogger(__name__)

SIDES = (16, 8192)


class DiffusionEngine:
    """A subclass opens the folder, reads what the model can do, and turns a request into the pipeline's call."""

    name: str
    capabilities: Capabilities
    #: Components that stay float32 whatever the setup says.
    exact: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self._loaded: tuple[str, Setup] | None = None
        self._pipe: Any = None
        self._views: dict[str, Any] = {}  # other pipelines of the same parts
        self._running: Any = None
        self._embeddings = Embeddings()
        #: Set by the store that keeps this engine beside others.
        self.make_room: Callable[[], bool] = lambda: False

    def weigh(self, model: str, setup: Setup) -> int:
        folder = loading.cached(model)
        return loading.weight_of(folder, setup) if folder else 0

    def load(self, model: str, setup: Setup = DEFAULT_SETUP) -> None:
        if self._loaded == (model, setup):
            return
        self.unload()
        loading.diffusers()
        folder = loading.find(model, offline=setup.offline)
        self._understand(model, folder)
        self._setup, self._device = setup, loading.device_of(setup)
        self._placement = Placement(setup, self._device)
        self._adapters = Adapters(self._placement)
        self._pipe = loading.load(folder, setup, self._open, exact=self.exact)
        self._noise_scheduler = self._pipe.scheduler
        self._prepare(self._pipe)
        _speed_up(self._pipe, setup, lambda: self._running.current_timestep)
        self._ladder = Ladder(f"{self.name}:{model}", self._placement, lambda: self.make_room())
        self._ladder.run(lambda: self._placement.put(self._pipe), f"The model {model}")
        self._loaded = (model, setup)

    def size(self) -> int:
        return size_of(self._pipe.components) if self._pipe is not None else 0

    def unload(self) -> None:
        if self._pipe is not None:
            self._placement.release()
        self._loaded = self._pipe = self._running = self._noise_scheduler = None
        self._views.clear()
        self._embeddings.clear()

    def _understand(self, model: str, folder: Path) -> None:
        """Look at the model's configuration before its weights are loaded; refuse what is of no use here."""

    def _open(self, folder: Path, **how: Any) -> Any:
        raise NotImplementedError

    def _prepare(self, pipe: Any) -> None:
        """Done once to each pipeline object before it runs."""

    def _view(self, name: str, make: Callable[[], Any]) -> Any:
        """Another pipeline of the same parts, made once."""
        if name not in self._views:
            pipe = make()
            pipe.set_progress_bar_config(disable=True)
            self._prepare(pipe)
            self._views[name] = pipe
        return self._views[name]

    def _run(self, pipe: Any, request: Request, call: Callable[[], Mapping[str, Any]], on_step: OnStep) -> Any:
        """The pipeline's output. `call` makes its arguments, anew for each attempt on the ladder."""
        import torch

        steps = int(request.options.get("steps") or _default(pipe, "num_inference_steps") or 1)

        def attempt() -> Any:
            # A noise scheduler holds the state of a run; a new one cannot know of a run that was cut short.
            pipe.scheduler = _fresh(self._noise_scheduler, request.options.get("flow_shift"))
            self._adapters.use(pipe, request.loras)
            self._placement.put(pipe)
            self._running = pipe
            # On the CPU whatever the device: the same seed gives the same noise on every machine.
            generator = torch.Generator("cpu").manual_seed(request.seed)
            try:
                with watched(pipe, on_step, steps, inside=not self._setup.compile) as step_end, torch.no_grad():
                    return pipe(
                        **call(),
                        num_inference_steps=steps,
                        generator=generator,
                        output_type="np",
                        callback_on_step_end=step_end,
                    )
            finally:
                # The pipeline does so itself only when it reaches its end.
                pipe.maybe_free_model_hooks()

        what = f"{request.frames} frames of {request.width}×{request.height} with {(self._loaded or ('',))[0]}"
        return self._ladder.run(attempt, what)


def check_size(request: Request, capabilities: Capabilities, multiple: int) -> None:
    """Raises `EngineError` for a length or a size that the grid has not."""
    step, offset = capabilities.frame_grid
    if request.frames < 1 or (request.frames - offset) % step:
        what = f"{step}n+{offset} frames" if step > 1 else "one frame"
        raise EngineError(f"This model makes {what}, not {request.frames}; quantise the length first.")
    low, high = SIDES
    for side in (request.width, request.height):
        if side % multiple or not low <= side <= high:
            size = f"{request.width}×{request.height}"
            near = f"{max(1, request.width // multiple) * multiple}×{max(1, request.height // multiple) * multiple}"
            raise EngineError(
                f"{size} cannot be made: sides are multiples of {multiple} from {low} to {high}. Ask for {near}."
            )


def check_pictures(request: Request) -> None:
    pictures = {"start": request.start, "end": request.end}
    pictures |= {f"context {i}": frame for i, frame in enumerate(request.context)}
    wanted = (request.height, request.width, 3)
    for name, picture in pictures.items():
        if picture is not None and (picture.shape != wanted or picture.dtype != np.uint8):
            raise EngineError(
                f"The {name} picture is {picture.shape} {picture.dtype}, not {wanted} uint8; fit it first."
            )


def to_frames(pictures: Any, request: Request) -> Iterator[Frame]:
    """What a pipeline hands out (0..1, channels last) in 8 bits. Raises `EngineError` if it is not what was asked."""
    wanted = (request.frames, request.height, request.width, 3)
    if np.shape(pictures) != wanted:
        raise EngineError(
            f"The model made {np.shape(pictures)} where {wanted} was asked (frames, height, width, colours); "
            "ask for a size that it keeps."
        )
    for picture in pictures:  # one by one: a clip in floating point is large enough once
        yield np.clip(np.rint(picture * 255), 0, 255).astype(np.uint8)


def accepted(pipe: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those arguments that this pipeline's call knows."""
    known = inspect.signature(type(pipe).__call__).parameters
    return {name: value for name, value in arguments.items() if name in known}


def _default(pipe: Any, name: str) -> Any:
    parameter = inspect.signature(type(pipe).__call__).parameters.get(name)
    return None if parameter is None or parameter.default is parameter.empty else parameter.default


def _fresh(scheduler: Any, shift: float | None) -> Any:
    changes = {}
    if shift is not None:
        # Euler's flow matching calls it one thing, UniPC the other; some have both, and only one is read.
        names = [name for name in ("flow_shift", "shift") if name in scheduler.config]
        if not names:
            raise EngineError(f"flow_shift: {type(scheduler).__name__} has none; leave it out for this model.")
        changes = dict.fromkeys(names, shift)
    return type(scheduler).from_config(scheduler.config, **changes)


def _speed_up(pipe: Any, setup: Setup, timestep: Callable[[], Any]) -> None:
    for name in ("transformer", "transformer_2", "unet"):
        model = getattr(pipe, name, None)
        if model is None:
            continue
        if setup.cache != "none":
            _enable_cache(model, setup.cache, timestep)
        if setup.compile:
            # The blocks are alike: compiling one of them takes a tenth of the time of the whole.
            (model.compile_repeated_blocks if getattr(model, "_repeated_blocks", None) else model.compile)()


def _enable_cache(model: Any, cache: str, timestep: Callable[[], Any]) -> None:
    if not hasattr(model, "enable_cache"):
        logger.warning("cache_not_supported model=%s cache=%s: it runs without", type(model).__name__, cache)
        return
    library = loading.diffusers()
    if cache == "first_block":
        config = library.FirstBlockCacheConfig()
    elif cache == "taylorseer":
        # Its own names miss Wan's attn1 and attn2, without a word.
        config = library.TaylorSeerCacheConfig(cache_identifiers=[r"(\w+_)?blocks\.\d+\.attn\d?"])
    else:
        config = library.PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=2, current_timestep_callback=timestep
        )
    model.enable_cache(config)
