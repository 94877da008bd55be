"""What a Wan checkpoint can do, read from its configuration, so that no anchor is ever ignored in silence.

diffusers' `WanImageToVideoPipeline` accepts a `last_image` for every checkpoint. What becomes of it depends on these:

- `expand_timesteps` (Wan 2.2 TI2V 5B): only the first frame is put into the latents; the last is dropped.
- `image_dim` with `pos_embed_seq_len` (Wan 2.1 FLF2V): its image embedder expects two pictures, neither more nor fewer.
- `image_dim` without (Wan 2.1 I2V): trained on one picture. Wan 2.1 Fun InP has the same configuration and was trained
  on two; only its name could tell, and a name is no promise.
- no `image_dim` (Wan 2.2 A14B): pictures reach it through the latents and their mask alone, the last as well as the
  first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tasks.engines.diffusion.weights import read_json
from tasks.engines.protocol import EngineError, Request

Need = Literal["no", "may", "must"]

INSTEAD = (
    "Wan-AI/Wan2.1-FLF2V-14B-720P-diffusers, Wan-AI/Wan2.2-I2V-A14B-Diffusers or Wan-AI/Wan2.1-VACE-1.3B-diffusers"
)

_DRIVEN = ("WanVACEPipeline", "WanImageToVideoPipeline", "WanPipeline")


@dataclass(frozen=True, slots=True)
class WanModel:
    """`sort` names it for people; `multiple`: sides are multiples of so many pixels."""

    name: str
    sort: str
    start: Need
    end: Need
    multiple: int
    pipeline: str
    guided: bool = False
    by_name_only: bool = False

    def check(self, request: Request) -> None:
        """Raises `EngineError` for pictures that this model would ignore, or misses."""
        has_start = request.start is not None or bool(request.context)
        has_end = request.end is not None
        self._check("end", "last", self.end, has_end)
        self._check("start", "first", self.start, has_start)

    def _check(self, anchor: str, place: str, need: Need, given: bool) -> None:
        if given and need == "no":
            doubt = ""
            if self.by_name_only:
                doubt = " (A fine-tune with the same configuration may know it, but nothing in its files says so.)"
            raise EngineError(
                f"{self.name} is {self.sort}: it would ignore the {anchor} picture, and the clip's {place} frame would "
                f"be another.{doubt} Use {INSTEAD}."
            )
        if not given and need == "must":
            a = "an" if anchor == "end" else "a"
            other = "a text-to-video or VACE model" if anchor == "start" else "an image-to-video or VACE model"
            raise EngineError(f"{self.name} is {self.sort}: it needs {a} {anchor} picture. Give one, or use {other}.")


def read_model(folder: Path, name: str) -> WanModel:
    """Raises `EngineError` for a folder that holds no Wan pipeline we can drive."""
    index = read_json(folder / "model_index.json")
    pipeline = str(index.get("_class_name"))
    if pipeline not in _DRIVEN:
        raise EngineError(f"{name} is a {pipeline}, which the wan engine does not drive. Use {INSTEAD}.")
    part = "transformer" if (folder / "transformer" / "config.json").is_file() else "transformer_2"
    transformer = read_json(folder / part / "config.json")
    multiple = _multiple(folder, transformer)
    if pipeline == "WanVACEPipeline":
        return WanModel(name, "a VACE model", "may", "may", multiple, pipeline, guided=True)
    if index.get("expand_timesteps"):
        return WanModel(name, "a TI2V model, which knows a first picture only", "may", "no", multiple, pipeline)
    if pipeline == "WanPipeline":
        return WanModel(name, "a text-to-video model", "no", "no", multiple, pipeline)
    if transformer.get("image_dim") is None:
        return WanModel(name, "an image-to-video model", "must", "may", multiple, pipeline)
    if transformer.get("pos_embed_seq_len") is not None:
        return WanModel(name, "a first-and-last-frame model", "must", "must", multiple, pipeline)
    sort = "an image-to-video model for a first picture only"
    return WanModel(name, sort, "must", "no", multiple, pipeline, by_name_only=True)


def _multiple(folder: Path, transformer: dict[str, Any]) -> int:
    """Pixels a side of the smallest block: the VAE's reduction times the transformer's patch."""
    vae = read_json(folder / "vae" / "config.json")
    patch = transformer.get("patch_size") or (1, 2, 2)
    return max(16, int(vae.get("scale_factor_spatial") or 8) * int(patch[1]))
