"""Single pictures by any diffusers pipeline that makes them from words, or from words and a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from tasks.engines.diffusion import loading
from tasks.engines.diffusion.engine import (
    DiffusionEngine,
    accepted,
    check_pictures,
    check_size,
    logger,
    to_frames,
)
from tasks.engines.protocol import Capabilities, EngineError, Frame, OnStep, Request


class ImageEngine(DiffusionEngine):
    """A start picture is painted over: `options["strength"]` says how much, 0 to 1. It costs no second loading."""

    name = "image"
    capabilities = Capabilities(
        frame_grid=(1, 0),
        makes_video=False,
        makes_images=True,
        end_anchor=False,
        chaining=False,
        default_model="stabilityai/stable-diffusion-xl-base-1.0",
    )

    def check(self, model: str, request: Request) -> None:  # noqa: ARG002 (alike for all of its models)
        if request.frames != 1:
            raise EngineError(f"The image engine makes single pictures, not {request.frames} frames; ask for 1.")
        check_size(request, self.capabilities, self.capabilities.size_multiple)
        check_pictures(request)
        if request.end is not None or request.context:
            raise EngineError("The image engine starts from one picture at most; give it as the start.")

    def generate(self, request: Request, on_step: OnStep) -> Iterator[Frame]:
        self.check("", request)
        pipe = self._pipe if request.start is None else self._painting_over()
        return self._generate(pipe, request, on_step)

    def _open(self, folder: Path, **how: Any) -> Any:
        library = loading.diffusers()
        try:
            return library.AutoPipelineForText2Image.from_pretrained(folder, **how)
        except ValueError as error:
            if "can't find a pipeline" not in str(error):
                raise
            return library.DiffusionPipeline.from_pretrained(folder, **how)

    def _prepare(self, pipe: Any) -> None:
        self._embeddings.share_texts(pipe, lambda: self._adapters.state)

    def _painting_over(self) -> Any:
        """The same parts in the pipeline that starts from a picture."""
        pipeline = loading.diffusers().AutoPipelineForImage2Image
        try:
            return self._view("picture", lambda: pipeline.from_pipe(self._pipe))
        except (ValueError, TypeError) as error:
            raise EngineError(
                f"{type(self._pipe).__name__} cannot start from a picture; leave image_refs_paths out, or use a model "
                f"such as {self.capabilities.default_model}."
            ) from error

    def _generate(self, pipe: Any, request: Request, on_step: OnStep) -> Iterator[Frame]:
        output = self._run(pipe, request, lambda: _call(pipe, request), on_step)
        yield from to_frames(output.images, request)


def _call(pipe: Any, request: Request) -> dict[str, Any]:
    call: dict[str, Any] = {"width": request.width, "height": request.height, "prompt": request.prompt}
    if request.negative_prompt:
        call["negative_prompt"] = request.negative_prompt
    for name in ("guidance_scale", "strength"):
        if name in request.options:
            call[name] = float(request.options[name])
    if request.start is not None:
        call["image"] = Image.fromarray(request.start)
    known = accepted(pipe, call)
    if ignored := sorted(set(call) - set(known) - {"width", "height"}):
        logger.warning("options_ignored pipeline=%s options=%s", type(pipe).__name__, ",".join(ignored))
    return known
