"""The few calls of the Prefect API that starting and stopping need, over plain HTTP.

Importing Prefect's client would cost the process that supervises all others a second and 80 MB for its whole life.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import httpx

from deployments.settings import Connection

#: States that claim to have a process. Paused (suspended) runs do not, and are left alone.
_ACTIVE = ("RUNNING", "PENDING", "CANCELLING")
_FINAL = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
#: So close to the next due time, a run could not start, work and end before its successor: it takes its place.
_START_SECONDS = 8.0


class PrefectApi:
    def __init__(self, connection: Connection, timeout: float = 10.0) -> None:
        user, _, password = (connection.auth_string or "").partition(":")
        auth = httpx.BasicAuth(user, password) if connection.auth_string else None
        # trust_env=False: a proxy setting must not carry calls to this machine away
        self._http = httpx.Client(base_url=connection.api_url, auth=auth, timeout=timeout, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def is_healthy(self) -> bool:
        try:
            return self._http.get("/health").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def get(self, path: str) -> Any:
        """Raises `httpx.HTTPError`."""
        return self._http.get(path).raise_for_status().json()

    def post(self, path: str, body: Any) -> Any:
        """Raises `httpx.HTTPError`."""
        return self._http.post(path, json=body).raise_for_status().json()

    def patch(self, path: str, body: Any) -> None:
        """Raises `httpx.HTTPError`."""
        self._http.patch(path, json=body).raise_for_status()

    def put(self, path: str, body: Any) -> None:
        """Raises `httpx.HTTPError`."""
        self._http.put(path, json=body).raise_for_status()

    def delete(self, path: str) -> None:
        """Raises `httpx.HTTPError`."""
        self._http.delete(path).raise_for_status()

    def find(self, path: str) -> Any | None:
        """What is there, or None. Raises `httpx.HTTPError`."""
        answer = self._http.get(path)
        return None if answer.status_code == httpx.codes.NOT_FOUND else answer.raise_for_status().json()

    def is_unfinished(self, flow_run_id: str | None) -> bool:
        """Whether a run still has to do something; False for none, and when the server does not know."""
        try:
            run = self.find(f"/flow_runs/{flow_run_id}") if flow_run_id else None
        except httpx.HTTPError:
            return False
        return run is not None and run["state_type"] not in _FINAL

    def end_lost_runs(self, alive: Collection[str] = (), pool: str | None = None) -> int:
        """Tell Prefect that runs whose process is gone have ended: Crashed, or Cancelled where that was under way.

        `alive` are flow run ids that have a process; `pool` narrows it to one pool.
        """
        lost = [run for run in self._active_runs(pool) if run["id"] not in alive]
        for run in lost:
            kind, name = ("CANCELLED", "Cancelled") if run["state_type"] == "CANCELLING" else ("CRASHED", "Crashed")
            state = {"type": kind, "name": name, "message": "Its process ended without a report."}
            self.post(f"/flow_runs/{run['id']}/set_state", {"state": state, "force": True})
        return len(lost)

    def free_deployment_slots(self) -> None:
        """Set the slots in use of every deployment limit to none. Only while no run has a process."""
        for limit in self._pages("/v2/concurrency_limits/filter", {}):
            if limit["name"].startswith("deployment:") and limit["active_slots"]:
                self.patch(f"/v2/concurrency_limits/{limit['id']}", {"active_slots": 0})

    def run_now(self, deployment: str, period: float = 60.0) -> bool:
        """Replace the runs of a deployment that came due while nothing ran by one in place of the last of them.

        Its scheduled time lies on the schedule's grid: a run works until its successor is due, and so must know when.
        False if there is no such deployment.
        """
        found = self.find(f"/deployments/name/{deployment}")
        if found is None:
            return False
        now = time.time()
        due = {
            "deployments": {"id": {"any_": [found["id"]]}},
            "flow_runs": {
                "state": {"type": {"any_": ["SCHEDULED"]}},
                "next_scheduled_start_time": {"before_": _moment(now)},
            },
        }
        for run in self._pages("/flow_runs/filter", due):
            self.delete(f"/flow_runs/{run['id']}")
        last = now - now % period
        scheduled = last if last + period - now > _START_SECONDS else last + period
        state = {"type": "SCHEDULED", "name": "Scheduled", "state_details": {"scheduled_time": _moment(scheduled)}}
        self.post(f"/deployments/{found['id']}/create_flow_run", {"state": state})
        return True

    def _active_runs(self, pool: str | None) -> Iterator[dict[str, Any]]:
        query: dict[str, Any] = {"flow_runs": {"state": {"type": {"any_": list(_ACTIVE)}}}}
        if pool:
            query["work_pools"] = {"name": {"any_": [pool]}}
        return self._pages("/flow_runs/filter", query)

    def _pages(self, path: str, query: dict[str, Any], size: int = 200) -> Iterator[dict[str, Any]]:
        """All rows, read before any is changed: changing them would shift the pages."""
        rows: list[dict[str, Any]] = []
        while page := self.post(path, {**query, "limit": size, "offset": len(rows)}):
            rows += page
            if len(page) < size:
                break
        return iter(rows)


def _moment(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).isoformat()
