"""Parameters of single images and clips (CONTRACTS 3). Field names are the public contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tasks.params.base import Fps, FrameCount, Params, Seed, Size


def _lift_details(value: Any) -> Any:
    """Old clients put the fields into `orchestrator_details`; what stands at the top wins."""
    if isinstance(value, Mapping) and isinstance(value.get("orchestrator_details"), Mapping):
        return {**value["orchestrator_details"], **{k: v for k, v in value.items() if k != "orchestrator_details"}}
    return value


class GenerationParams(Params):
    """What an image and a clip share. A seed of −1 is drawn at random when the task runs, and recorded."""

    prompt: str = ""
    negative_prompt: str = ""
    model: str | None = None
    resolution: Size = "832x480"
    seed: Seed = -1
    steps: int | None = Field(None, ge=1, le=1000)
    guidance_scale: float | None = Field(None, ge=0)
    flow_shift: float | None = Field(None, ge=0)
    additional_loras: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _lift(cls, value: Any) -> Any:
        return _lift_details(value)


class ImageParams(GenerationParams):
    prompt: str = Field(min_length=1)
    image_refs_paths: list[str] = Field(default_factory=list)


class ClipParams(GenerationParams):
    """`frames` and `video_length` are two names of one number."""

    frames: FrameCount | None = None
    video_length: FrameCount | None = None
    fps: Fps = 16
    image_start_paths: list[str] = Field(default_factory=list, max_length=1)
    image_end_paths: list[str] = Field(default_factory=list, max_length=1)
    video_source_path: str | None = None

    @property
    def length(self) -> int:
        return self.frames or self.video_length or 81

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.frames and self.video_length and self.frames != self.video_length:
            raise ValueError(f"frames: {self.frames} here and video_length {self.video_length}; give one of them")
        return self


class InterpolateParams(Params):
    input_image_path1: str
    input_image_path2: str
    frames: FrameCount = 81
    resolution: Size | None = None
    fps: Fps = 16
    seed: Seed = -1


class FrameParams(Params):
    """A frame of a finished task's video, or of a file. A negative index counts from the end."""

    input_video_task_id: str | None = None
    path: str | None = None
    frame_index: int = 0

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.input_video_task_id is None) == (self.path is None):
            raise ValueError("give either input_video_task_id or path")
        return self


class JoinParams(Params):
    """Clips joined by generated transitions.

    `gap_frame_count` frames are generated between the last `context_frame_count` frames of one clip and the first
    of the next (they condition the engine and stay as they are). `blend` "crossfade" overlaps the clips by
    `context_frame_count` frames and generates nothing.
    """

    clips: list[str] = Field(min_length=2, max_length=200)
    context_frame_count: int = Field(8, ge=0, le=1000)
    gap_frame_count: int = Field(17, ge=0, le=1000)
    prompt: str = ""
    blend: Literal["generate", "crossfade"] = "generate"
    seed: Seed = -1
