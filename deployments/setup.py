"""`longtake setup`: makes the Prefect server you point at ready for Longtake. Repeating it changes nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import httpx

from deployments.settings import Connection, Settings
from deployments.stack.api import PrefectApi
from deployments.work_pools import ensure_automations, ensure_pools


class SetupFailed(Exception):
    """The server cannot be set up; the message says what to do."""


def set_up(
    settings: Settings, connection: Connection | None = None, on_step: Callable[[str], None] = lambda _line: None
) -> None:
    """Pools and their limits, automations, the workspace block, the deployments of prefect.yaml.

    `connection` defaults to the server that the environment or the home names. Raises `SetupFailed`.
    """
    connection = connection or settings.connection()
    if connection is None:
        raise SetupFailed("Which Prefect server? Set PREFECT_API_URL, or start one here with: longtake up")
    try:
        with PrefectApi(connection) as api:
            on_step(_said("work pools", ensure_pools(api, settings)))
            on_step(_said("automations", ensure_automations(api)))
    except httpx.HTTPError as error:
        raise SetupFailed(f"The Prefect API at {connection.api_url} refuses or does not answer: {error}") from error
    set_up_with_prefect(settings, connection)
    on_step("workspace block and deployments: written")


def set_up_with_prefect(settings: Settings, connection: Connection) -> None:
    """The part that needs Prefect's own code, which reads where its server is when it is imported."""
    os.environ.update(connection.environment())
    from blocks.workspace import save_workspace
    from deployments.deploy import DeployFailed, deploy_all

    save_workspace(settings.queue_path, settings.storage_root, settings.engine, settings.work_dir)
    try:
        deploy_all()
    except DeployFailed as error:
        raise SetupFailed(str(error)) from error


def _said(what: str, changed: list[str]) -> str:
    return f"{what}: {'wrote ' + ', '.join(changed) if changed else 'as they should be'}"


def main() -> None:
    """As a process of the stack, which has made the pools already. Settings come as JSON, the server by environment."""
    settings = Settings.model_validate_json(sys.argv[2])
    connection = settings.connection()
    assert connection is not None
    set_up_with_prefect(settings, connection)
