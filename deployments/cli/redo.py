"""`longtake travel redo`: some segments of a finished film made again, and the film with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from blocks.queue.model import Task
from deployments.cli.exits import ExitCode, Refusal
from deployments.cli.lookup import find_task, opened_queue
from deployments.cli.options import DEFAULTS, REPEATABLE, Common, Switch, load_settings
from deployments.cli.screen import Screen
from deployments.cli.travel import tell


def redo(
    task_id: Annotated[str, Parameter(name="TASK", help="The finished travel, or the beginning of its id.")],
    /,
    *,
    segment: Annotated[
        Sequence[int], REPEATABLE, Parameter(help="Which one is made again, from 0; may be given several times.")
    ],
    prompt: Annotated[str | None, Parameter(help="What it shows instead.")] = None,
    negative_prompt: Annotated[str | None, Parameter(help="What it must not show instead.")] = None,
    seed: Annotated[
        int | None, Parameter(help="Its seed; by default a new one, or with a new prompt the same as before.")
    ] = None,
    successors: Annotated[
        Switch, Parameter(help="Also make all segments after it again, so that they continue its motion.")
    ] = False,
    id: Annotated[str | None, Parameter(help="A UUID of yours: sending the same again creates nothing.")] = None,
    watch: Annotated[Switch, Parameter(help="Follow it until the end; the exit code is its outcome.")] = False,
    common: Common = DEFAULTS,
) -> ExitCode:
    """Make segments of a finished film again. The other segments and their seams are used as they are.

    The result is a travel of its own: the film that is there stays until you delete it.
    """
    from tasks.intake import enqueue
    from tasks.redo import Change, check_finished, redo_spec

    screen, settings = Screen(as_json=common.json), load_settings(common)
    with opened_queue(settings) as queue:
        travel = find_task(queue, task_id)
        change = Change(prompt, negative_prompt, seed)
        try:
            spec = redo_spec(travel, _with_successors(travel, segment, successors), change, task_id=id)
            check_finished(travel)
        except ValueError as error:
            raise Refusal(str(error), "Nothing was stored.", code="invalid_task") from None
        stored = enqueue(queue, spec)[0]
        facts = {"created": stored.created, "redo": _facts(stored.task)}
        return tell(queue, stored, _lines(stored.task), facts, screen, settings, watch=watch)


def _with_successors(travel: Task, segments: Sequence[int], successors: bool) -> Sequence[int]:
    from tasks.travel import details_of

    if not successors or travel.task_type != "travel_orchestrator" or not segments:
        return list(segments)
    return list(range(min(segments), max(details_of(travel).segment_count, max(segments) + 1)))


def _facts(travel: Task) -> list[dict[str, object]]:
    from tasks.travel import details_of

    details = details_of(travel)
    return [
        {
            "segment": index,
            "prompt": details.base_prompts_expanded[index],
            "seed": details.seeds[index],
            "from": details.anchors(index)[0],
            "to": details.anchors(index)[1],
        }
        for index in details.redo_segments
    ]


def _lines(travel: Task) -> list[str]:
    def name(location: object) -> str:
        return Path(str(location)).name if location else "open"

    return [
        f"Segment {each['segment']} ({name(each['from'])} to {name(each['to'])}) with seed {each['seed']}: "
        f"{each['prompt'] or 'no prompt'}"
        for each in _facts(travel)
    ]
