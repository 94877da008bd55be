"""How a task is called where people read it: run names and tags."""

from __future__ import annotations

from blocks.engine import EngineChoice
from blocks.queue.model import Task
from tasks.engines.protocol import EngineError
from tasks.engines.registry import capabilities
from tasks.kinds import find_kind

#: Every run that the queue dispatched carries it.
TAG = "longtake-task"


def run_name(task: Task, attempt: int) -> str:
    """Such as "segment 2 · 3f2a9c1d" or "travel of 2 segments · 3f2a9c1d · attempt 2"."""
    # A child is named by its travel, so that the runs of one film read alike.
    family = (task.parent_id or task.id)[:8]
    again = f" · attempt {attempt}" if attempt > 1 else ""
    return f"{_what(task)} · {family}{again}"


def _what(task: Task) -> str:
    match task.task_type:
        case "travel_segment":
            index = task.params.get("segment_index", 0)
            # Whoever may enqueue may write anything here, and a name must not stop who dispatches.
            return f"segment {index + 1}" if isinstance(index, int) else "segment"
        case "travel_stitch":
            return "stitch"
        case "travel_orchestrator":
            details = task.params.get("orchestrator_details")
            images = details.get("input_image_paths_resolved") if isinstance(details, dict) else None
            return f"travel over {len(images)} images" if isinstance(images, list) else "travel"
        case other:
            return other.replace("_", " ")


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
