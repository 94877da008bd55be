"""What the queue decides without looking at rows: how long to back off, and which tasks are admitted.

Pure functions, shared by every backend. Each refusal is `InvalidTask` with `data['field']`.
"""

from __future__ import annotations

import json
import math
import reprlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random
from uuid import UUID

from blocks.queue import payload
from blocks.queue.errors import InvalidTask
from blocks.queue.model import JsonObject, TaskSpec

BACKOFF_BASE = 5.0
BACKOFF_CAP = 15 * 60.0

MIN_PRIORITY, MAX_PRIORITY = -1000, 1000
MAX_MAX_ATTEMPTS = 100
MAX_TICK = 2**31 - 1
MAX_WORKER_ID = 128
MAX_NAME = 200
MAX_TEXT = 16_000
MAX_MODEL = 1_000
#: A day: a longer lease would hide a dead holder from everybody.
MAX_SECONDS = 86_400.0


def backoff(attempt: int, random: Random) -> float:
    """Seconds to wait after `attempt` (from 1) has failed.

    d = min(900, 5 · 2^(attempt − 1)); the wait is uniform in [d/2, d]. Half is kept, so that a sick service gets its
    pause; half is jitter, so that tasks which failed together do not come back together.
    """
    full = BACKOFF_CAP if attempt > 20 else min(BACKOFF_CAP, BACKOFF_BASE * 2.0 ** (max(attempt, 1) - 1))
    return full / 2 + random.random() * full / 2


@dataclass(frozen=True, slots=True)
class Admitted:
    """A spec that may be stored: ids in canonical spelling, params as JSON text, and the digest of its body."""

    spec: TaskSpec
    params_text: str
    digest: str


def admit(spec: TaskSpec) -> Admitted:
    """Check everything about a spec that can be checked without the store."""
    text = payload.params_text(spec.params)
    tidy = replace(
        spec,
        task_type=check_text("task_type", spec.task_type, MAX_NAME),
        params=json.loads(text),
        id=_optional_uuid("id", spec.id),
        project_id=check_uuid("project_id", spec.project_id),
        depends_on=_dependencies(spec.depends_on),
        parent_id=_optional_uuid("parent_id", spec.parent_id),
        priority=check_int("priority", spec.priority, MIN_PRIORITY, MAX_PRIORITY),
        scheduled_at=_moment("scheduled_at", spec.scheduled_at),
        max_attempts=check_int("max_attempts", spec.max_attempts, 1, MAX_MAX_ATTEMPTS),
        correlation_id=_optional_text("correlation_id", spec.correlation_id, MAX_NAME),
        brief_id=_optional_uuid("brief_id", spec.brief_id),
        mandate=_optional_text("mandate", spec.mandate, MAX_TEXT),
        max_ticks=None if spec.max_ticks is None else check_int("max_ticks", spec.max_ticks, 1, MAX_TICK),
    )
    return Admitted(tidy, text, body_digest(tidy))


def body_digest(spec: TaskSpec) -> str:
    """What "the same body" means (I8): all that the client said except the id. `spec` is one that was admitted."""
    return payload.digest(
        {
            "task_type": spec.task_type,
            "params": spec.params,
            "project_id": spec.project_id,
            "depends_on": list(spec.depends_on),
            "parent_id": spec.parent_id,
            "priority": spec.priority,
            "scheduled_at": spec.scheduled_at and spec.scheduled_at.isoformat(),
            "max_attempts": spec.max_attempts,
            "correlation_id": spec.correlation_id,
            "brief_id": spec.brief_id,
            "mandate": spec.mandate,
            "max_ticks": spec.max_ticks,
        }
    )


def check_result(result: object) -> JsonObject:
    """A result as plain JSON data of its own, at most 1 MB."""
    plain: JsonObject = json.loads(payload.result_text(result))
    return plain


def check_metadata(metadata: object) -> JsonObject:
    """What a worker says of itself as plain JSON data of its own, at most 16 KB."""
    plain: JsonObject = json.loads(payload.metadata_text(metadata))
    return plain


def check_worker_id(worker_id: object) -> str:
    good = isinstance(worker_id, str) and 0 < len(worker_id) <= MAX_WORKER_ID and worker_id.isprintable()
    if not good:
        raise _invalid("worker_id", worker_id, f"Use 1 to {MAX_WORKER_ID} printable characters, such as 'gpu-1'.")
    return str(worker_id)


def check_seconds(field: str, value: object, *, zero: bool = False) -> float:
    number = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else value
    if 0 < number <= MAX_SECONDS or (zero and number == 0):
        return float(number)
    raise _invalid(field, value, f"Give seconds, more than 0 and at most {MAX_SECONDS:.0f}.")


def check_int(field: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _invalid(field, value, f"Use a whole number from {low} to {high}.")
    return value


def check_text(field: str, value: object, longest: int) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > longest or not payload.is_storable(value):
        raise _invalid(field, value, f"Use 1 to {longest} characters, none of them NUL, not only blanks.")
    return value


def check_uuid(field: str, value: object) -> str:
    text = value.lower() if isinstance(value, str) else ""
    try:
        if str(UUID(text)) == text:  # UUID takes other spellings too
            return text
    except ValueError:
        pass
    raise _invalid(field, value, "Use a UUID such as '0b9f4a52-6f0c-4c53-9d5e-0c3a5cb0a7d1'.")


def tidy_error(error: str) -> str:
    """An error text that can be stored whatever a library put into it: a task must be able to fail."""
    text = error.replace("\0", "�").encode(errors="replace").decode().strip()
    return text[:MAX_TEXT] or "No reason was given."


def _dependencies(ids: object) -> tuple[str, ...]:
    if not isinstance(ids, tuple | list):
        raise _invalid("depends_on", ids, "Give a tuple of task ids.")
    return tuple(dict.fromkeys(check_uuid("depends_on", each) for each in ids))


def _moment(field: str, value: object) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise _invalid(field, value, "Give a datetime with a time zone, best UTC.")
    return value.astimezone(UTC)


def _optional_uuid(field: str, value: object) -> str | None:
    return None if value is None else check_uuid(field, value)


def _optional_text(field: str, value: object, longest: int) -> str | None:
    return None if value is None else check_text(field, value, longest)


def _invalid(field: str, value: object, hint: str) -> InvalidTask:
    return InvalidTask(f"{field} cannot be {reprlib.repr(value)}.", hint=hint, field=field)
