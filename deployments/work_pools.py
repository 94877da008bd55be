"""Work pools and automations on a Prefect server, from the JSON files beside this module. Repeating changes nothing."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from deployments.settings import POOLS, Settings
from deployments.stack.api import PrefectApi
from deployments.stack.errors import WrongPoolType

__all__ = ["WrongPoolType", "ensure_automations", "ensure_pools", "pool_template"]

_HERE = Path(__file__).parent
#: What a template may leave open: the interpreter of this virtual environment, which a bare `python` may not be.
_PYTHON = "${python}"


def pool_template(pool: str, python: str = sys.executable) -> dict[str, Any]:
    text = (_HERE / "pools" / f"{pool}.json").read_text()
    template: dict[str, Any] = json.loads(text.replace(_PYTHON, json.dumps(shlex.quote(python))[1:-1]))
    return template


def ensure_pools(api: PrefectApi, settings: Settings) -> list[str]:
    """Create or correct the three pools. Answers with the names of those that changed."""
    changed = []
    for pool in POOLS:
        wanted = {**pool_template(pool), "concurrency_limit": settings.slots(pool)}
        found = api.find(f"/work_pools/{pool}")
        if found is None:
            api.post("/work_pools/", {"name": pool, **wanted})
        elif found["type"] != wanted["type"]:
            raise WrongPoolType(
                f"Work pool {pool!r} is of type {found['type']!r}, Longtake needs {wanted['type']!r}.",
                f"Delete it first: prefect work-pool delete {pool}",
            )
        elif any(found[key] != value for key, value in wanted.items()):
            api.patch(f"/work_pools/{pool}", {key: value for key, value in wanted.items() if key != "type"})
        else:
            continue
        changed.append(pool)
    return changed


def ensure_automations(api: PrefectApi) -> list[str]:
    """Create or correct our automations; a person who disabled one keeps it disabled."""
    changed = []
    for path in sorted((_HERE / "automations").glob("*.json")):
        wanted = json.loads(path.read_text())
        where = {"automations": {"name": {"any_": [wanted["name"]]}}}
        found = next(iter(api.post("/automations/filter", where)), None)
        if found is None:
            api.post("/automations/", wanted)
        elif not _contains(found, wanted := {**wanted, "enabled": found["enabled"]}):
            api.put(f"/automations/{found['id']}", wanted)
        else:
            continue
        changed.append(wanted["name"])
    return changed


def _contains(found: Any, wanted: Any) -> bool:
    """Whether the server's answer, which adds ids and defaults, says all that we want."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(_contains(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(found, list):
        if all(isinstance(item, str) for item in wanted):
            return sorted(found) == sorted(wanted)  # event names are a set to the server
        return len(found) == len(wanted) and all(map(_contains, found, wanted))
    return bool(found == wanted)
