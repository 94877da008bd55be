"""The tags of a task's run."""

from __future__ import annotations

from blocks.engine import EngineChoice
from blocks.queue.model import Task
from tasks.engines.protocol import EngineError
from tasks.engines.registry import capabilities
from tasks.kinds import find_kind
from tasks.labels import TAG


def tags(task: Task, attempt: int, engines: EngineChoice) -> list[str]:
    """What runs are found by. `model:` and `travel:` tell a warm worker which of its children is the best for a run."""
    told = [TAG, f"task:{task.id}", f"attempt:{attempt}", f"type:{task.task_type}", f"project:{task.project_id}"]
    if task.parent_id:
        told.append(f"travel:{task.parent_id}")
    if model := _model(task, engines):
        told.append(f"model:{model}")
    return told


def _model(task: Task, engines: EngineChoice) -> str | None:
    """Such as "wan:Wan-AI/Wan2.1-FLF2V-14B-720P-diffusers", by which a warm worker's child knows it too."""
    makes = find_kind(task.task_type).makes
    if makes is None:
        return None
    engine = engines.video if makes == "video" else engines.image
    default = engines.video_model if makes == "video" else engines.image_model
    named = task.params.get("model_name") or task.params.get("model")
    try:
        model = named if isinstance(named, str) else default or capabilities(engine).default_model
    except EngineError:
        return None  # the run will tell its user
    return f"{engine}:{model[:200]}"
