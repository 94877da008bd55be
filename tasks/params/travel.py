"""Parameters of a travel and its children (CONTRACTS 2). Field names are the public contract."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self, TypeVar

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tasks.params.base import Fit, Fps, FrameCount, Params, Size

MAX_SEGMENTS = 1000
#: What an override may never change: the length, the cost and the place of the output are the plan's.
FIXED_BY_THE_PLAN = frozenset(
    {
        "frames", "video_length", "segment_frames_expanded", "segment_frames_target", "frame_overlap_expanded",
        "frame_overlap_from_previous", "frame_overlap_with_next", "num_inference_steps", "steps",
        "resolution", "parsed_resolution_wh", "output_path", "output_location", "segment_index", "segment_task_ids",
        "wrap_overlap",
    }
)  # fmt: skip


def _none_to_empty(value: Any) -> Any:
    return [] if value is None else value


SegmentSeed = Annotated[int, Field(ge=0, le=2**62)]
Strings = Annotated[list[str], BeforeValidator(_none_to_empty)]


class TravelDetails(Params):
    """`orchestrator_details`. After validation every list has exactly one element a segment (or a join)."""

    run_id: str | None = Field(None, min_length=1, max_length=200)
    num_new_segments_to_generate: int | None = Field(None, le=MAX_SEGMENTS)
    input_image_paths_resolved: Strings = Field(default_factory=list)
    base_prompts_expanded: list[str]
    negative_prompts_expanded: list[str]
    segment_frames_expanded: list[FrameCount]
    frame_overlap_expanded: list[int | None] | None = None
    continue_from_video_resolved_path: str | None = None
    parsed_resolution_wh: Size
    model_name: str | None = None
    seed_base: SegmentSeed = 12345
    fps_helpers: Fps = 16
    chain_segments: bool = True
    num_inference_steps: int | None = Field(None, ge=1, le=1000)
    steps: int | None = Field(None, ge=1, le=1000)
    guidance_scale: float | None = Field(None, ge=0)
    flow_shift: float | None = Field(None, ge=0)
    additional_loras: dict[str, float] = Field(default_factory=dict)
    colour_match_videos: bool = False
    after_first_post_generation_saturation: float = Field(1.0, ge=0, le=10)
    after_first_post_generation_brightness: float = Field(0.0, ge=-1, le=1)
    crossfade_sharp_amt: float = Field(0.0, ge=0, le=10)
    seam_colour_fit: bool = False
    seam_flow: bool = False
    upscale_factor: float = Field(0.0, ge=0, le=8)
    upscale_method: str = Field("lanczos", max_length=50)
    output_fps: Fps | None = None
    audio_path: str | None = Field(None, min_length=1)
    audio_fade_out: float = Field(0.5, ge=0, le=60)
    fit: Fit = "cover"
    loop: bool = False
    seeds_expanded: list[SegmentSeed] | None = None
    redo_of: str | None = Field(None, min_length=1, max_length=200)
    redo_segments: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list)
    params_json_str_override: str | None = None

    @field_validator("params_json_str_override")
    @classmethod
    def _override_is_an_object(cls, text: str | None) -> str | None:
        if text and text.strip():
            try:
                parsed = json.loads(text)
            except ValueError as error:
                raise ValueError(f"not JSON: {error}") from None
            if not isinstance(parsed, dict):
                raise ValueError("must be a JSON object")
        return text

    @model_validator(mode="after")
    def _lists_fit(self) -> Self:
        count = self._segment_count()
        if count <= 0:
            return self._with(num_new_segments_to_generate=count)
        joins = count if self.continues or self.loop else count - 1
        self._check_loop()
        self._check_images(count)
        self._check_redo(count)
        return self._with(
            num_new_segments_to_generate=count,
            base_prompts_expanded=_spread("base_prompts_expanded", self.base_prompts_expanded, count),
            negative_prompts_expanded=_spread("negative_prompts_expanded", self.negative_prompts_expanded, count),
            segment_frames_expanded=_spread("segment_frames_expanded", self.segment_frames_expanded, count),
            frame_overlap_expanded=[o or 0 for o in self._overlaps(joins)],
            seeds_expanded=self._seeds(count),
        )

    def _with(self, **values: Any) -> Self:
        for name, value in values.items():
            object.__setattr__(self, name, value)
        return self

    def _segment_count(self) -> int:
        if self.num_new_segments_to_generate is not None:
            return self.num_new_segments_to_generate
        images = len(self.input_image_paths_resolved)
        count = images if self.continues or self.loop else images - 1
        if count < 1:
            raise ValueError(
                f"input_image_paths_resolved: a travel goes from one image to the next, and there "
                f"{'is one image' if images == 1 else 'are none'}. Give at least two, or say "
                "num_new_segments_to_generate: 1 for a clip that only starts from one"
            )
        return count

    def _check_images(self, count: int) -> None:
        images = len(self.input_image_paths_resolved)
        wanted = count if self.continues or self.loop else count + 1
        open_ended = images == 1 and count == 1
        if images != wanted and not open_ended:
            raise ValueError(
                f"input_image_paths_resolved: {count} segments "
                f"{'continuing a video ' if self.continues else 'of a loop ' if self.loop else ''}"
                f"need {wanted} images, and there are {images}"
            )

    def _check_loop(self) -> None:
        if self.loop and self.continues:
            raise ValueError("loop: a film that continues a video begins with the video, so it cannot come back to it")

    def _check_redo(self, count: int) -> None:
        if self.redo_of is None:
            if self.redo_segments:
                raise ValueError("redo_segments: of which travel? Name its task in redo_of")
            return
        if not self.redo_segments:
            raise ValueError("redo_segments: Field required with redo_of; name the segments that are made again")
        if beyond := [index for index in self.redo_segments if index >= count]:
            raise ValueError(f"redo_segments: there is no segment {beyond[0]}; the film has 0 to {count - 1}")

    def _seeds(self, count: int) -> list[int]:
        if self.seeds_expanded is None:
            return [self.seed_base + index for index in range(count)]
        return _spread("seeds_expanded", self.seeds_expanded, count)

    def _overlaps(self, joins: int) -> list[int | None]:
        if joins == 0:
            return []
        if self.frame_overlap_expanded is None:
            raise ValueError("frame_overlap_expanded: Field required; give one number, or one for each join")
        return _spread("frame_overlap_expanded", self.frame_overlap_expanded, joins)

    @property
    def continues(self) -> bool:
        return self.continue_from_video_resolved_path is not None

    @property
    def seeds(self) -> list[int]:
        return self.seeds_expanded or []

    @property
    def wrap(self) -> int:
        """The wished overlap that closes a loop."""
        return self.overlaps[-1] if self.loop else 0

    @property
    def joins(self) -> list[int]:
        """The wished overlaps between segments, without the one that closes a loop."""
        return self.overlaps[:-1] if self.loop else self.overlaps

    @property
    def segment_count(self) -> int:
        return max(0, self.num_new_segments_to_generate or 0)

    @property
    def overlaps(self) -> list[int]:
        return [o or 0 for o in self.frame_overlap_expanded or []]

    def override(self) -> dict[str, Any]:
        """What `params_json_str_override` may change; the plan's own fields are left out."""
        text = (self.params_json_str_override or "").strip()
        given: dict[str, Any] = json.loads(text) if text else {}
        return {key: value for key, value in given.items() if key not in FIXED_BY_THE_PLAN}

    def anchors(self, segment: int) -> tuple[str | None, str | None]:
        """(start, end) image of a segment; no start where it continues a video, no end where the journey is open."""
        images = self.input_image_paths_resolved
        if self.continues:
            return (images[segment - 1] if segment else None), images[segment]
        if self.loop:
            return images[segment], images[(segment + 1) % len(images)]
        return images[segment], (images[segment + 1] if segment + 1 < len(images) else None)


T = TypeVar("T")


def _spread(name: str, values: Sequence[T], count: int) -> list[T]:
    """One element is broadcast; otherwise the length must fit."""
    if len(values) == 1:
        return list(values) * count
    if len(values) != count:
        wanted = "1 element" if count == 1 else f"1 or {count} elements"
        raise ValueError(f"{name}: needs {wanted}, and there are {len(values)}")
    return list(values)


class TravelParams(Params):
    """A `travel_orchestrator` task. `task_id` may be a readable name that differs from the row's id."""

    orchestrator_details: TravelDetails
    task_id: str | None = None
    project_id: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _details_is_an_object(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and isinstance(value.get("orchestrator_details"), str):
            raise ValueError("orchestrator_details: must be an object, not a string of JSON")
        return value


class ChildParams(Params):
    """A reference to the orchestrator, whose row holds the payload."""

    orchestrator_task_id_ref: str
    orchestrator_run_id: str


class SegmentParams(ChildParams):
    segment_index: int = Field(ge=0)
    is_first_segment: bool
    is_last_segment: bool
    segment_frames_target: FrameCount
    frame_overlap_from_previous: int = Field(0, ge=0)
    frame_overlap_with_next: int = Field(0, ge=0)
    base_prompt: str = ""
    negative_prompt: str = ""
    seed_to_use: int = Field(ge=0)
    parsed_resolution_wh: Size
    model_name: str | None = None
    fps_helpers: Fps = 16
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    flow_shift: float | None = None
    additional_loras: dict[str, float] = Field(default_factory=dict)
    idr_at: list[int] = Field(default_factory=list)


class StitchParams(ChildParams):
    segment_frames: list[FrameCount] = Field(min_length=1)
    frame_overlaps: list[int]
    wrap_overlap: int = Field(0, ge=0)
    segment_task_ids: list[str] = Field(default_factory=list)
    parsed_resolution_wh: Size
    fps_helpers: Fps = 16
    crossfade_sharp_amt: float = Field(0.0, ge=0, le=10)
