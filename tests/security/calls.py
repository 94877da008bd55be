"""One call of every function of `public` that concerns the rows of user A, as arguments by name.

Text such as `{held}` stands for an id or token of `family`. A function that has no call here fails a test.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

Arguments = Mapping[str, Any]

_HELD = {"p_task_id": "{held}", "p_claim_token": "{token}"}
#: For users and the service.
CALLS: dict[str, Arguments] = {
    "enqueue_tasks": {"p_tasks": [{"task_type": "analysis", "params": {}, "project_id": "{project}"}]},
    "func_add_task": {
        "p_task_id": "{fresh}",
        "p_params": {},
        "p_task_type": "analysis",
        "p_project_id": "{project}",
    },
    "claim_tasks": {"p_worker_id": "w"},
    "claim_job": {"p_worker_id": "w", "p_types": ["analysis"]},
    "func_claim_available_task": {"worker_id_param": "w"},
    "func_claim_task": {"p_table_name": "tasks", "p_worker_id": "w"},
    "func_claim_user_task": {"p_table_name": "tasks", "p_worker_id": "w", "p_user_id": "{a}"},
    "start_task": {"p_task_id": "{dispatched}", "p_attempt": 1, "p_worker_id": "w"},
    "dispatched_task": {
        "p_task_id": "{dispatched}",
        "p_claim_token": "{dispatch_token}",
        "p_flow_run_id": "{fresh}",
    },
    "renew_task": _HELD,
    "wait_task": _HELD,
    "complete_task": _HELD,
    "fail_task": _HELD | {"p_error": "x"},
    "release_task": _HELD,
    "upload_target": _HELD,
    "func_update_task_status": {"p_task_id": "{own}", "p_status": "Complete"},
    "complete_task_with_timing": {"p_task_id": "{own}", "p_output_location": "x"},
    "func_mark_task_failed": {"p_task_id": "{own}", "p_error_message": "x"},
    "complete_job": {"p_job_id": "{own}"},
    "fail_job": {"p_job_id": "{own}"},
    "note_worker": {"p_worker_id": "w", "p_current_model": "motion:flow", "p_metadata": {}, "p_user_id": "{a}"},
    "cancel_task": {"p_task_id": "{ready}"},
    "retry_task": {"p_task_id": "{failed}"},
    "get_task": {"p_task_id": "{ready}"},
    "task_children": {"p_parent_id": "{held}"},
    "list_tasks": {},
    "list_workers": {},
    "task_counts": {},
    "task_predecessors": {"p_task_id": "{child}"},
    "completed_segments": {"p_run_id": "run"},
    "func_get_completed_generation_segments_for_stitch": {"p_run_id": "run"},
    "create_token": {"p_hash": "ab" * 32, "p_label": "x", "p_prefix": "lt_", "p_user_id": "{a}"},
    "list_tokens": {},
    "revoke_token": {"p_id": "{user_token}"},
}
#: For the service alone.
SERVICE_CALLS: dict[str, Arguments] = {
    "rescue_tasks": {"p_lost": [["{held}", 1]]},
    "prune_tasks": {"p_older_than_seconds": 0},
    "resolve_token": {"p_hash": "cd" * 32},
    "import_tasks": {
        "p_tasks": [
            {"id": "{fresh}", "task_type": "analysis", "params": {}, "project_id": "{project}", "status": "Queued"}
        ]
    },
    "longtake_health": {},
}
#: These show and change no row of anybody.
HARMLESS: dict[str, Arguments] = {
    "queue_pulse": {},
    "longtake_schema_version": {},
    "func_initialize_tasks_table": {},
    "func_migrate_tasks_for_task_type": {},
}
ALL: dict[str, Arguments] = CALLS | SERVICE_CALLS | HARMLESS

#: What of an answer says that there was something; without an entry, the answer itself.
_TELLS: dict[str, Callable[[Any], Any]] = {"task_counts": lambda counts: counts["ready"]}


def filled(arguments: Arguments, names: Mapping[str, str]) -> dict[str, Any]:
    """The arguments with each `{name}` replaced."""
    text = json.dumps(arguments)
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", value)
    made: dict[str, Any] = json.loads(text)
    return made


def tells(function: str, answer: Any) -> bool:
    """Whether an answer shows anything: no null, no empty list, no zero."""
    return bool(answer) and bool(_TELLS.get(function, bool)(answer))
