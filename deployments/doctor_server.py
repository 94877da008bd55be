"""The part of `longtake doctor` that asks the Prefect server."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import yaml

from deployments.deploy import PREFECT_FILE
from deployments.findings import Check, failed, passed
from deployments.requirements import WORKSPACE
from deployments.settings import GPU_DOCKER, POOLS, Settings
from deployments.stack.api import PrefectApi

_SET_UP = "longtake setup"
_POLL_AT_LEAST_EVERY = timedelta(minutes=2)
_BLOCK = "/block_types/slug/{}/block_documents/name/{}".format(*WORKSPACE)


def server_checks(settings: Settings) -> list[Check]:
    """One failed check when there is no server to ask; otherwise all that set-up and workers should have made."""
    connection = settings.connection()
    if connection is None:
        return [failed("server", "no Prefect server is known", "Start one with: longtake up, or set PREFECT_API_URL.")]
    where = f"{connection.api_url} (from {connection.source})"
    try:
        with PrefectApi(connection, timeout=5) as api:
            version = api.get("/admin/version")
            return [passed("server", f"Prefect {version} at {where}"), *_what_it_has(api)]
    except httpx.HTTPStatusError as error:
        fix = "Set PREFECT_API_AUTH_STRING to the server's auth string."
        return [failed("server", f"{where} answers {error.response.status_code}", fix)]
    except httpx.HTTPError as error:
        return [failed("server", f"{where} does not answer: {error}", "Start it with: longtake up")]


def what_gpu_workers_read(settings: Settings) -> tuple[dict[str, Any] | None, dict[str, Any] | None] | None:
    """Pool gpu and the content of the workspace block, as far as they are there; None without an answer."""
    connection = settings.connection()
    if connection is None:
        return None
    try:
        with PrefectApi(connection, timeout=5) as api:
            block = api.find(_BLOCK)
            return api.find("/work_pools/gpu"), block and block["data"]
    except httpx.HTTPError:
        return None  # `server_checks` tells why


def _what_it_has(api: PrefectApi) -> Iterator[Check]:
    pools = {pool: api.find(f"/work_pools/{pool}") for pool in (*POOLS, GPU_DOCKER)}
    yield _missing("pools", [name for name, found in pools.items() if found is None])
    listed = yaml.safe_load(PREFECT_FILE.read_text())["deployments"]
    flows = {one["name"]: one["entrypoint"].rpartition(".")[2] for one in listed}
    absent = [name for name, flow in flows.items() if api.find(f"/deployments/name/{flow}/{name}") is None]
    yield _missing("deployments", absent)
    yield _missing("block", [] if api.find(_BLOCK) else ["longtake"])
    containers = pools.pop(GPU_DOCKER)
    if containers and containers["status"] == "READY":
        pools.pop("gpu")  # its tasks are done there
        yield _worker(GPU_DOCKER, "READY")
    yield from (_worker(name, found["status"]) for name, found in pools.items() if found)
    if "poll" not in absent:
        yield _poll(api)


def _missing(what: str, names: list[str]) -> Check:
    if names:
        return failed(what, f"missing: {', '.join(names)}", _SET_UP)
    return passed(what, "as they should be")


def _worker(pool: str, status: str) -> Check:
    if status == "READY":
        return passed(f"worker {pool}", "online")
    fix = f"prefect work-pool resume {pool}" if status == "PAUSED" else f"prefect worker start --pool {pool}"
    return failed(f"worker {pool}", f"the pool is {status.lower().replace('_', ' ')}", fix)


def _poll(api: PrefectApi) -> Check:
    where = {
        "flows": {"name": {"any_": ["poll"]}},
        "flow_runs": {"state": {"type": {"any_": ["RUNNING", "COMPLETED"]}}},
        "sort": "START_TIME_DESC",
        "limit": 1,
    }
    last = next(iter(api.post("/flow_runs/filter", where)), None)
    if last is None:
        return failed("poll", "it has never run", "Start a worker: prefect worker start --pool control")
    age = datetime.now(UTC) - datetime.fromisoformat(last["start_time"])
    detail = f"last started {age.total_seconds():.0f} s ago"
    if age <= _POLL_AT_LEAST_EVERY:
        return passed("poll", detail)
    return failed("poll", detail, f"Look at the worker of pool control on {platform.node() or 'its host'}.")
