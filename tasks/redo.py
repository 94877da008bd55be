"""Making some segments of a finished travel again: a new travel, which uses the other segments as they are."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from blocks.queue.errors import UnknownTask
from blocks.queue.model import Status, Task, TaskSpec
from blocks.queue.protocol import TaskQueue
from tasks.errors import InvalidInput
from tasks.params.travel import SegmentParams, TravelDetails
from tasks.travel import details_of


@dataclass(frozen=True, slots=True)
class Change:
    """What is other in the segments that are made again; None: as it was.

    Without a prompt and a seed the seed is drawn anew, since the same ones would give the same segment.
    """

    prompt: str | None = None
    negative_prompt: str | None = None
    seed: int | None = None


def redo_spec(travel: Task, segments: Sequence[int], change: Change, *, task_id: str | None = None) -> TaskSpec:
    """The task that makes these segments of a finished travel again. Raises `InvalidInput`."""
    if travel.task_type != "travel_orchestrator":
        raise InvalidInput(f"task {travel.id} is a {travel.task_type}, not a travel.")
    details = details_of(travel)
    prompts, negatives = list(details.base_prompts_expanded), list(details.negative_prompts_expanded)
    seeds = list(details.seeds)
    for index in segments:
        if not 0 <= index < details.segment_count:
            raise InvalidInput(
                f"redo_segments: there is no segment {index}; travel {travel.id} has 0 to {details.segment_count - 1}."
            )
        prompts[index] = prompts[index] if change.prompt is None else change.prompt
        negatives[index] = negatives[index] if change.negative_prompt is None else change.negative_prompt
        seeds[index] = _seed(seeds[index], index - segments[0], change)
    asked = {
        **travel.params["orchestrator_details"],
        "base_prompts_expanded": prompts,
        "negative_prompts_expanded": negatives,
        "seeds_expanded": seeds,
        "redo_of": travel.id,
        "redo_segments": sorted(set(segments)),
    }
    asked.pop("run_id", None)  # it joins the children of the travel that is done
    params = {"orchestrator_details": asked}
    return TaskSpec(travel.task_type, params, id=task_id, project_id=travel.project_id, priority=travel.priority)


def _seed(was: int, offset: int, change: Change) -> int:
    if change.seed is not None:
        return change.seed + offset
    return secrets.randbelow(2**31) if change.prompt is None and change.negative_prompt is None else was


#: What must be as it was, for segments of both travels to stand in one film.
_SHAPE = ("segment_frames_target", "parsed_resolution_wh", "fps_helpers")


@dataclass(frozen=True, slots=True)
class Earlier:
    """The travels that a film is made of, newest first, their film, and their finished segments by index."""

    travels: tuple[str, ...] = ()
    film: str | None = None
    segments: Mapping[int, Task] = field(default_factory=dict)

    def kept(self, details: TravelDetails, planned: Sequence[TaskSpec]) -> dict[int, str]:
        """The tasks of the segments that are not made again, of those `planned`.

        Raises `InvalidInput` where one is not there, or has another shape than the new film.
        """
        if not self.travels:
            return {}
        wanted = [index for index in range(details.segment_count) if index not in details.redo_segments]
        if missing := [index for index in wanted if index not in self.segments]:
            raise InvalidInput(
                f"redo_segments: segment {missing[0]} of travel {self.travels[0]} is no longer there, and it is not "
                f"among those to be made again. Add it: redo_segments {sorted([*details.redo_segments, *missing])}."
            )
        for index in wanted:
            _check_shape(index, self.segments[index].params, planned[index].params)
        return {index: self.segments[index].id for index in wanted}


def _check_shape(index: int, was: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for name in _SHAPE:
        if was.get(name) != wanted[name]:
            raise InvalidInput(
                f"{name}: segment {index} was made with {was.get(name)!r}, and the new film has {wanted[name]!r}. "
                "A travel that is done again keeps its lengths, size and rate; make a new one to change them."
            )


def earlier(queue: TaskQueue, task: Task, details: TravelDetails) -> Earlier:
    """What a travel that redoes another can use; nothing for one that does not. Raises `InvalidInput`."""
    chain = list(_chain(queue, task, details))
    if not chain:
        return Earlier()
    check_finished(chain[0])
    segments = dict[int, Task]()
    for travel in chain:
        for child in queue.children(travel.id):
            if child.task_type == "travel_segment" and child.status is Status.COMPLETE and child.output_location:
                segments.setdefault(SegmentParams.read(child.params).segment_index, child)
    return Earlier(tuple(travel.id for travel in chain), chain[0].output_location, segments)


def check_finished(travel: Task) -> None:
    """Raises `InvalidInput` for a travel that has no film yet, or none any more."""
    if travel.status is not Status.COMPLETE:
        raise InvalidInput(
            f"redo_of: travel {travel.id} is {travel.status}, and only a finished one has segments to keep. "
            f"If it failed: longtake task retry {travel.id}"
        )


def _chain(queue: TaskQueue, task: Task, details: TravelDetails) -> Iterator[Task]:
    """The travel named in `redo_of`, the one that was redone there, and so on."""
    seen = {task.id}
    named = details.redo_of
    while named and named not in seen:
        seen.add(named)
        try:
            travel = queue.get(named)
        except UnknownTask:
            travel = None
        # To a stranger, "not yours" and "does not exist" are the same answer.
        if travel is None or (travel.user_id, travel.project_id) != (task.user_id, task.project_id):
            if len(seen) > 2:
                return  # deleted since; what it had is missing, and said to be
            raise InvalidInput(f"redo_of: there is no travel {named!r}.")
        if travel.task_type != "travel_orchestrator":
            raise InvalidInput(f"redo_of: task {named} is a {travel.task_type}, not a travel.")
        yield travel
        named = details_of(travel).redo_of
