"""`longtake task …`: the queue's verbs for a person or a script. None of them needs Prefect."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from blocks.queue.model import Outcome, Status, Task, TaskFilter, TaskSpec
from blocks.queue.protocol import TaskQueue
from deployments.cli.exits import ExitCode, Refusal
from deployments.cli.lookup import find_task, is_anybody_working, opened_queue
from deployments.cli.options import DEFAULTS, REPEATABLE, Common, load_settings
from deployments.cli.rows import (
    SHORT_ID,
    age,
    family_document,
    progress,
    status_words,
    task_document,
    title,
)
from deployments.cli.screen import Screen
from deployments.cli.watch import conclude, follow, look

app = App(name="task", help="Create tasks and follow them.", help_format="plaintext")

TaskId = Annotated[str, Parameter(name="ID", help="The task's id, or a beginning of it that no other task has.")]


@app.command
def create(
    task_type: Annotated[str, Parameter(name="TYPE", help="Such as single_image; see docs/reference/task-types.md.")],
    /,
    *,
    params: Annotated[
        str, Parameter(help="A JSON object, @FILE to read one from a file, - from stdin.", allow_leading_hyphen=True)
    ] = "{}",
    depends_on: Annotated[Sequence[str], REPEATABLE, Parameter(help="Wait for this task. May be repeated.")] = (),
    priority: Annotated[int, Parameter(help="Higher comes first.")] = 0,
    at: Annotated[str | None, Parameter(help="Not before, as 2026-12-31T18:00; local time if it names none.")] = None,
    id: Annotated[str | None, Parameter(help="A UUID of yours: sending the same again creates nothing.")] = None,
    common: Common = DEFAULTS,
) -> ExitCode:
    """Check a task and put it into the queue."""
    screen, settings = Screen(as_json=common.json), load_settings(common)
    given, due = read_params(params), read_moment(at)
    from tasks.intake import enqueue

    with opened_queue(settings) as queue:
        before = tuple(find_task(queue, one).id for one in depends_on)
        spec = TaskSpec(task_type, given, id=id, depends_on=before, priority=priority, scheduled_at=due)
        stored = enqueue(queue, spec)[0]
    screen.document({"task": task_document(stored.task), "created": stored.created})
    if not screen.as_json:
        screen.say(stored.task.id if stored.created else f"{stored.task.id} (was there already)")
        tell_how_to_watch(screen, stored.task, working=is_anybody_working(settings))
    return ExitCode.OK


@app.command(name="list")
def list_(
    *,
    status: Annotated[Sequence[Status], REPEATABLE, Parameter(help="Only these. May be repeated.")] = (),
    type: Annotated[Sequence[str], REPEATABLE, Parameter(help="Only these task types. May be repeated.")] = (),
    parent: Annotated[str | None, Parameter(help="Only the parts of this task.")] = None,
    limit: Annotated[int, Parameter(help="At most so many.")] = 50,
    common: Common = DEFAULTS,
) -> ExitCode:
    """List tasks, newest first."""
    if limit < 1:
        raise Refusal(f"--limit cannot be {limit}.", "Give 1 or more.")
    screen = Screen(as_json=common.json)
    with opened_queue(load_settings(common)) as queue:
        parent_id = find_task(queue, parent).id if parent else None
        where = TaskFilter(status=status or None, task_type=type or None, parent_id=parent_id, limit=limit)
        tasks = queue.list(where)
        screen.document({"tasks": [task_document(task) for task in tasks]})
        if not screen.as_json:
            _print_list(screen, queue, tasks)
    return ExitCode.OK


@app.command
def show(task_id: TaskId, /, *, common: Common = DEFAULTS) -> ExitCode:
    """Show a task with its parts, what it waits for, its error, result and output."""
    screen = Screen(as_json=common.json)
    with opened_queue(load_settings(common)) as queue:
        task = find_task(queue, task_id)
        family, before = look(queue, task.id), queue.predecessors(task.id)
    screen.document(family_document(family.task, family.children, before))
    if screen.as_json:
        return ExitCode.OK
    for name, value in _facts(family.task, family.children):
        screen.say(f"{name:<12} {value}")
    waits_for = [f"{one.id}  {one.status}" for one in before]
    for name, rows in (("waits for", waits_for), ("parts", _parts(family.children))):
        for index, row in enumerate(rows):
            screen.say(f"{name if index == 0 else '':<12} {row}")
    return ExitCode.OK


@app.command
def watch(task_id: TaskId, /, *, common: Common = DEFAULTS) -> ExitCode:
    """Follow a task and its parts until the end. The exit code is its outcome."""
    screen, settings = Screen(as_json=common.json), load_settings(common)
    with opened_queue(settings) as queue:
        task = find_task(queue, task_id)
        if not task.status.is_terminal and not is_anybody_working(settings):
            screen.warn("No Prefect server answers, so nothing works on this task. Start it all with: longtake up")
        return conclude(follow(queue, task.id, screen), screen)


@app.command
def cancel(task_id: TaskId, /, *, common: Common = DEFAULTS) -> ExitCode:
    """Cancel a task, its parts, and what depends on it. Running ones stop within seconds."""
    screen = Screen(as_json=common.json)
    with opened_queue(load_settings(common)) as queue:
        outcome = queue.cancel(find_task(queue, task_id).id)
    _tell_outcome(screen, outcome, "Cancelled", "cancelled with it")
    return ExitCode.OK


@app.command
def retry(
    task_id: TaskId,
    /,
    *,
    attempts: Annotated[int, Parameter(help="How many more attempts it gets.")] = 3,
    common: Common = DEFAULTS,
) -> ExitCode:
    """Give a Failed or Cancelled task more attempts, and revive what ended because of it."""
    screen = Screen(as_json=common.json)
    with opened_queue(load_settings(common)) as queue:
        outcome = queue.retry(find_task(queue, task_id).id, attempts=attempts)
    _tell_outcome(screen, outcome, "Queued again", "revived with it")
    return ExitCode.OK


def read_params(text: str) -> dict[str, Any]:
    """JSON from the option itself, from a file or from stdin. Raises `Refusal`."""
    where = "--params"
    if text == "-":
        where, text = "stdin", sys.stdin.read()
    elif text.startswith("@"):
        where = text[1:]
        try:
            text = Path(where).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            raise Refusal(f"{where} cannot be read: {reason}.", "Give --params @FILE with a JSON file.") from None
    try:
        params = json.loads(text)
    except ValueError as error:
        raise Refusal(f"{where} is no JSON: {error}.", """Write it like --params '{"prompt": "a pond"}'.""") from None
    if not isinstance(params, dict):
        raise Refusal(f"{where} is no JSON object but {type(params).__name__}.", 'Write {"field": value, …}.')
    return params


def read_moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Refusal(f"--at {text!r} is no moment.", "Write it like 2026-12-31T18:00 or 2026-12-31T18:00Z.") from None
    return moment.astimezone()  # a moment without a zone is meant in the person's own


def tell_how_to_watch(screen: Screen, task: Task, *, working: bool) -> None:
    screen.say(f"Watch it: longtake task watch {task.id[:SHORT_ID]}")
    if not working:
        screen.say("Nothing works on the queue now; start it with: longtake up")


def _print_list(screen: Screen, queue: TaskQueue, tasks: Sequence[Task]) -> None:
    if not tasks:
        screen.say("No tasks. Make a film: longtake travel create one.jpg two.jpg")
        return
    rows = (
        (
            task.id[:SHORT_ID],
            task.task_type,
            status_words(task),
            f"{task.attempts}/{task.max_attempts}",
            age(task.created_at),
            progress(task, queue.children(task.id) if task.waiting else ()),
        )
        for task in tasks
    )
    screen.table(("id", "type", "status", "attempts", "age", "progress"), rows)


def _facts(task: Task, children: Sequence[Task]) -> list[tuple[str, str]]:
    facts = [
        ("id", task.id),
        ("type", task.task_type),
        ("status", status_words(task)),
        ("attempts", f"{task.attempts} of {task.max_attempts}"),
        ("progress", progress(task, children)),
        ("created", f"{task.created_at.astimezone():%Y-%m-%d %H:%M:%S} ({age(task.created_at)} ago)"),
        ("parent", task.parent_id or ""),
        ("held by", task.worker_id or ""),
        ("Prefect run", task.flow_run_id or ""),
        ("error", task.error_message or ""),
        ("began with", task.root_task_id or ""),
        ("output", task.output_location or "" if task.status is Status.COMPLETE else ""),
        ("result", json.dumps(task.result, ensure_ascii=False) if task.result else ""),
        ("params", json.dumps(task.params, ensure_ascii=False)),
    ]
    return [(name, value) for name, value in facts if value]


def _parts(children: Sequence[Task]) -> list[str]:
    return [
        "  ".join(part for part in (child.id[:SHORT_ID], title(child), status_words(child), progress(child)) if part)
        for child in children
    ]


def _tell_outcome(screen: Screen, outcome: Outcome, done: str, along: str) -> None:
    screen.document(
        {
            "task": task_document(outcome.task),
            "ended": [task_document(task) for task in outcome.ended],
            "ready": list(outcome.ready),
        }
    )
    if screen.as_json:
        return
    screen.say(f"{done}: {title(outcome.task)} {outcome.task.id}")
    for task in outcome.ended:
        screen.say(f"  {along}: {title(task)} {task.id[:SHORT_ID]}")
