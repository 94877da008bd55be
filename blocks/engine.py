"""Which engines make videos and images here, as a Prefect block."""

from __future__ import annotations

from typing import Literal

from prefect.blocks.core import Block
from pydantic import Field


class EngineChoice(Block):
    """The engines of a site. A task may name a model; the engine that runs it is the operator's choice."""

    _block_type_name = "Longtake engines"
    _block_type_slug = "longtake-engines"

    video: str = Field("motion", description="Engine for segments and clips: `motion` needs no weights and no GPU.")
    image: str = Field("sketch", description="Engine for single images: `sketch` needs no weights and no GPU.")
    video_model: str = Field("", description="Model the video engine loads when a task names none; empty: its default.")
    image_model: str = Field("", description="Model the image engine loads when a task names none; empty: its default.")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="Numbers that models compute with; auto: bfloat16 on a GPU, float32 on a CPU."
    )
    device: str = Field("auto", description="Where models run: auto, cuda, cuda:1, mps or cpu.")
    offload: Literal["none", "model", "sequential"] = Field(
        "none",
        description="What waits in the CPU's memory while it is not used: nothing, whole parts of a model, or every "
        "layer. Saves GPU memory and costs time; out of memory, it is turned on by itself.",
    )
    vae_tiling: bool = Field(
        default=False, description="Encode and decode large pictures in tiles: saves memory, may leave faint seams."
    )
    vae_slicing: bool = Field(default=False, description="Encode and decode the pictures of a batch one by one.")
    cache: Literal["none", "first_block", "taylorseer", "pyramid"] = Field(
        "none", description="Reuse what hardly changes from step to step: faster, and the pictures change a little."
    )
    compile: bool = Field(
        default=False,
        description="Compile a model's blocks at their first use: minutes then, faster afterwards. A run stops between "
        "steps only.",
    )
    offline: bool = Field(default=False, description="Use only models that are on this machine already.")
    allowed_models: list[str] = Field(
        default_factory=list,
        description="Patterns of the models that a task may name, such as `Wan-AI/*`, beside this site's own. A folder "
        "of the worker's machine needs one that is a path, such as `/models/*`. Empty: any model of the hub, and "
        "folders only where the storage is a folder of this machine.",
    )
    lora_cache_gb: float = Field(
        20.0,
        ge=0,
        description="What the LoRAs kept in `work_dir/loras` may take, in 10⁹ bytes; those used longest ago go first, "
        "and none that a run is using.",
    )
