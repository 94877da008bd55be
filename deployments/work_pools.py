"""Work pools and automations on a Prefect server, from the JSON files beside this module. Repeating changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deployments.settings import GPU_DOCKER, POOLS, Settings
from deployments.stack.api import PrefectApi
from deployments.stack.errors import WrongPoolType

__all__ = ["WrongPoolType", "ensure_automations", "ensure_pools", "pool_template"]

_HERE = Path(__file__).parent


def pool_template(pool: str, settings: Settings) -> dict[str, Any]:
    """Type, description and base job template of one of our pools.

    `pools/warm.json` is what `prefect work-pool get-default-base-job-template --type warm` prints; a pool's own file
    says which defaults it changes. So that Prefect need not be imported here.
    """
    own: dict[str, Any] = json.loads((_HERE / "pools" / f"{pool}.json").read_text())
    if "base_job_template" in own:
        return own
    template = json.loads((_HERE / "pools" / "warm.json").read_text())
    for name, default in {"drain_seconds": settings.stop_grace_seconds, **own.pop("defaults")}.items():
        template["variables"]["properties"][name]["default"] = default
    return {**own, "base_job_template": template}


def ensure_pools(api: PrefectApi, settings: Settings) -> list[str]:
    """Create or correct our pools. Answers with the names of those that changed.

    What an operator set in a pool's template stays, but for what our settings say: limits, and how long a stop waits.
    """
    changed = []
    for pool in (*POOLS, GPU_DOCKER):
        wanted = {**pool_template(pool, settings), "concurrency_limit": settings.slots(pool)}
        found = api.find(f"/work_pools/{pool}")
        if found is None:
            api.post("/work_pools/", {"name": pool, **wanted})
        elif found["type"] != wanted["type"]:
            raise WrongPoolType(
                f"Work pool {pool!r} is of type {found['type']!r}, Longtake needs {wanted['type']!r}.",
                f"Delete it first: prefect work-pool delete {pool}",
            )
        elif _correct(found, wanted, pool):
            api.patch(f"/work_pools/{pool}", {key: value for key, value in wanted.items() if key != "type"})
        else:
            continue
        changed.append(pool)
    return changed


def _correct(found: dict[str, Any], wanted: dict[str, Any], pool: str) -> bool:
    """Whether the pool has to be changed; takes what an operator set over into `wanted`."""
    ours = {"drain_seconds", *json.loads((_HERE / "pools" / f"{pool}.json").read_text()).get("defaults", {})}
    variables = wanted["base_job_template"]["variables"]["properties"]
    of_operator = found["base_job_template"].get("variables", {}).get("properties", {})
    for name, variable in variables.items():
        if name not in ours and "default" in of_operator.get(name, {}):
            variable["default"] = of_operator[name]["default"]
    return any(found[key] != value for key, value in wanted.items())


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
