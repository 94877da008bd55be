"""Which engines make videos and images here, as a Prefect block."""

from __future__ import annotations

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
