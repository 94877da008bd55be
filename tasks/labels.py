"""How a task is called where people read it."""

from __future__ import annotations

from blocks.queue.model import Task

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
