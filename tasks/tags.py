"""The tags of a task's run."""

from __future__ import annotations

from blocks.engine import EngineChoice
from blocks.queue.model import Task
from tasks.engines.protocol import EngineError
from tasks.errors import InvalidInput
from tasks.labels import TAG
from tasks.models import chosen_by


def tags(task: Task, attempt: int, engines: EngineChoice) -> list[str]:
    """What runs are found by. `model:` and `travel:` tell a warm worker which of its children is the best for a run."""
    told = [TAG, f"task:{task.id}", f"attempt:{attempt}", f"type:{task.task_type}", f"project:{task.project_id}"]
    if task.parent_id:
        told.append(f"travel:{task.parent_id}")
    if model := _model(task, engines):
        told.append(f"model:{model}")
    return told


def _model(task: Task, engines: EngineChoice) -> str | None:
    """As a warm worker's child knows it too."""
    try:
        choice = chosen_by(task.task_type, task.params, engines)
    except (InvalidInput, EngineError):
        return None  # the run will tell its user
    return str(choice)[:200] if choice else None
