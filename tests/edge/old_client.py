"""A worker of the old system, as CONTRACTS and the seeds describe it.

It sends its token as the bearer and nothing else: no apikey header, no claim token, no retries. It reads what the old
functions answered and no more.
"""

from __future__ import annotations

import base64
from typing import Any

import httpx


class OldClient:
    def __init__(self, http: httpx.Client, url: str, token: str) -> None:
        self._http = http
        self._url = f"{url}/functions/v1"
        self._headers = {"Authorization": f"Bearer {token}"}

    def _post(self, function: str, body: dict[str, Any]) -> httpx.Response:
        return self._http.post(f"{self._url}/{function}", json=body, headers=self._headers)

    def add_task(self, task_type: str, params: dict[str, Any], project_id: str, dependant_on: str | None = None) -> str:
        body = {"params": params, "task_type": task_type, "project_id": project_id, "dependant_on": dependant_on}
        answer = self._post("create-task", body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["task_id"])

    def claim(self) -> dict[str, Any] | None:
        answer = self._post("claim_next_task", {})
        if answer.status_code == 204:
            return None
        assert answer.status_code == 200, answer.text
        said = answer.json()
        return {key: said[key] for key in ("task_id", "params", "task_type", "project_id")}

    def complete_with_file(self, task_id: str, content: bytes, filename: str) -> httpx.Response:
        data = base64.b64encode(content).decode()
        return self._post("complete-task", {"task_id": task_id, "file_data": data, "filename": filename})

    def complete_with_url(self, task_id: str, url: str) -> httpx.Response:
        return self._post("complete-task", {"task_id": task_id, "output_location": url})

    def update_status(self, task_id: str, status: str, output_location: str | None = None) -> httpx.Response:
        body = {"task_id": task_id, "status": status, "output_location": output_location}
        return self._post("update-task-status", body)

    def predecessor_output(self, task_id: str) -> tuple[str | None, str | None]:
        said = self._post("get-predecessor-output", {"task_id": task_id}).raise_for_status().json()
        return said["predecessor_id"], said["output_location"]

    def completed_segments(self, run_id: str) -> list[tuple[int, str]]:
        answer = self._post("get-completed-segments", {"run_id": run_id}).raise_for_status()
        return [(entry["segment_index"], entry["output_location"]) for entry in answer.json()]
