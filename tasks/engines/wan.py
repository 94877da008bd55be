"""Wan: clips between a first and a last picture, by diffusers. Imports neither torch nor diffusers before `load`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from tasks.engines.diffusion import loading
from tasks.engines.diffusion.embeddings import digest
from tasks.engines.diffusion.engine import DiffusionEngine, accepted, check_pictures, check_size, to_frames
from tasks.engines.guide import guide
from tasks.engines.protocol import Capabilities, EngineError, Frame, OnStep, Request
from tasks.engines.wan_models import INSTEAD, WanModel, read_model

_LONGEST_TEXT = 512  # tokens, as the model was trained


class WanEngine(DiffusionEngine):
    """Wan 2.1 FLF2V, Wan 2.2 A14B, VACE, and what else of Wan honours the pictures that it is given.

    A chained clip continues its context: VACE is shown all of it, the others its oldest frame, so that the clip runs
    beside its predecessor through the overlap in which the two are blended.
    """

    name = "wan"
    capabilities = Capabilities(default_model="Wan-AI/Wan2.1-FLF2V-14B-720P-diffusers")
    exact = ("vae", "image_encoder")

    def check(self, model: str, request: Request) -> None:
        check_size(request, self.capabilities, self.capabilities.size_multiple)
        check_pictures(request)
        if folder := loading.cached(model):
            self._check_fit(read_model(folder, model), request)

    def generate(self, request: Request, on_step: OnStep) -> Iterator[Frame]:
        check_pictures(request)
        self._check_fit(self._model, request)
        return self._generate(request, on_step)

    def _check_fit(self, model: WanModel, request: Request) -> None:
        check_size(request, self.capabilities, model.multiple)
        model.check(request)

    def _understand(self, model: str, folder: Path) -> None:
        self._model = read_model(folder, model)

    def _open(self, folder: Path, **how: Any) -> Any:
        library = loading.diffusers()
        pipeline = getattr(library, self._model.pipeline, None)
        if pipeline is None:
            raise EngineError(f"This diffusers has no {self._model.pipeline}; update it, or use {INSTEAD}.")
        return pipeline.from_pretrained(folder, **how)

    def _prepare(self, pipe: Any) -> None:
        if getattr(pipe, "image_encoder", None) is not None:
            self._embeddings.share_pictures(pipe)

    def _generate(self, request: Request, on_step: OnStep) -> Iterator[Frame]:
        pipe = self._pipeline_for(request)
        output = self._run(pipe, request, lambda: self._call(pipe, request), on_step)
        yield from to_frames(output.frames[0], request)

    def _pipeline_for(self, request: Request) -> Any:
        """TI2V is published as a text pipeline and takes a first picture by the other class, with the same parts."""
        if self._model.pipeline != "WanPipeline" or not (request.start is not None or request.context):
            return self._pipe
        pipeline = loading.diffusers().WanImageToVideoPipeline
        parts = self._pipe.components
        return self._view("picture", lambda: pipeline(**parts, boundary_ratio=None, expand_timesteps=True))

    def _call(self, pipe: Any, request: Request) -> dict[str, Any]:
        guidance = request.options.get("guidance_scale")
        call: dict[str, Any] = {
            "width": request.width,
            "height": request.height,
            "num_frames": request.frames,
            "prompt_embeds": self._text(pipe, request.prompt),
            "negative_prompt_embeds": self._text(pipe, request.negative_prompt),
            "max_sequence_length": _LONGEST_TEXT,
        }
        if guidance is not None:
            call["guidance_scale"] = float(guidance)
        return accepted(pipe, call | dict(self._pictures(request)))

    def _text(self, pipe: Any, text: str) -> Any:
        """One text at a time: neighbouring segments share the negative prompt, and often the prompt."""

        def encode() -> Any:
            self._placement.put(pipe)
            made, _ = pipe.encode_prompt(text, do_classifier_free_guidance=False, max_sequence_length=_LONGEST_TEXT)
            for hook in getattr(pipe, "_all_hooks", []):
                hook.offload()
            return made

        return self._embeddings.get(digest("text", text), encode, self._device)

    def _pictures(self, request: Request) -> Mapping[str, Any]:
        if self._model.guided:
            made = guide(request)
            return {
                "video": [Image.fromarray(frame) for frame in made.frames],
                "mask": [Image.fromarray(mask) for mask in made.mask],
            }
        start = request.context[0] if request.context else request.start
        given = {"image": start, "last_image": request.end}
        return {name: Image.fromarray(picture) for name, picture in given.items() if picture is not None}
