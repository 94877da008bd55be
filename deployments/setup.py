"""`longtake setup`: makes the Prefect server you point at ready for Longtake. Repeating it changes nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable

import httpx

from deployments.settings import Connection, Settings
from deployments.stack.api import PrefectApi
from deployments.stack.errors import SetupFailed
from deployments.work_pools import ensure_automations, ensure_pools

__all__ = ["SetupFailed", "set_up"]


def set_up(
    settings: Settings, connection: Connection | None = None, on_step: Callable[[str], None] = lambda _line: None
) -> None:
    """Pools and their limits, automations, the workspace block, the deployments of prefect.yaml.

    `connection` defaults to the server that the environment or the home names. Raises `SetupFailed`.
    """
    connection = connection or settings.connection()
    if connection is None:
        raise SetupFailed("Which Prefect server?", "Set PREFECT_API_URL, or start one here with: longtake up")
    try:
        with PrefectApi(connection) as api:
            on_step(_said("work pools", ensure_pools(api, settings)))
            on_step(_said("automations", ensure_automations(api)))
    except httpx.HTTPError as error:
        raise SetupFailed(
            f"The Prefect API at {connection.api_url} refuses or does not answer: {error}",
            f"That address comes from {connection.source}. Is the server up, and PREFECT_API_AUTH_STRING right?",
        ) from error
    set_up_with_prefect(settings, connection)
    on_step("workspace block and deployments: written")


def set_up_with_prefect(settings: Settings, connection: Connection) -> None:
    """The part that needs Prefect's own code. Importing that takes a second, so it is imported here."""
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    from deployments.deploy import deploy_all
    from deployments.workspace import save

    # Explicit, whatever was imported before: without an address Prefect starts a throw-away server and fills that.
    server = {PREFECT_API_URL: connection.api_url, PREFECT_API_AUTH_STRING: connection.auth_string}
    with temporary_settings(server):
        save(settings)
        deploy_all()


def _said(what: str, changed: list[str]) -> str:
    return f"{what}: {'wrote ' + ', '.join(changed) if changed else 'as they should be'}"


def main() -> None:
    """As a process of the stack, which has made the pools already. Server and key come by environment."""
    settings = Settings.from_parent(sys.argv[2])
    connection = settings.connection()
    assert connection is not None
    set_up_with_prefect(settings, connection)
