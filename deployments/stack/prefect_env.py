"""What the Prefect processes of a stack get in their environment: all of it, nothing inherited by accident."""

from __future__ import annotations

import os
from collections.abc import Mapping

from deployments.settings import MARKER, PREFIX, Connection, Settings
from deployments.stack.home import Secrets


def base_environment(settings: Settings, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Ours minus every Prefect and Longtake variable (a person's profile must not leak in), plus the marker.

    TMPDIR: workers keep a folder of a fixed name in it, which another user of the machine could own.
    """
    kept = {name: value for name, value in environ.items() if not name.upper().startswith(("PREFECT_", PREFIX))}
    return {**kept, MARKER: str(settings.home), "TMPDIR": str(settings.tmp_dir)}


def client_environment(settings: Settings, connection: Connection) -> dict[str, str]:
    """For workers, and through them for flow runs: the API, never the database or the encryption key."""
    return {
        **base_environment(settings),
        **connection.environment(),
        "PREFECT_HOME": str(settings.prefect_home),
        "PREFECT_WORKER_QUERY_SECONDS": str(settings.worker_poll_seconds),
        # A successor of a one-at-a-time deployment fetched ahead of its time is cancelled for colliding.
        "PREFECT_WORKER_PREFETCH_SECONDS": "0",
        # The shortest that Prefect allows; the automation for lost runs waits three of them.
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_CLI_COLORS": "false",
        "DO_NOT_TRACK": "1",
    }


def server_environment(
    settings: Settings, secrets: Secrets, connection: Connection, database_url: str
) -> dict[str, str]:
    return {
        **base_environment(settings),
        "PREFECT_HOME": str(settings.prefect_home),
        "PREFECT_API_URL": connection.api_url,
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database_url,
        "PREFECT_SERVER_ENCRYPTION_KEY": secrets.encryption_key,
        "PREFECT_SERVER_API_AUTH_STRING": secrets.auth_string,
        "PREFECT_API_AUTH_STRING": secrets.auth_string,  # the server's own services call its API
        # Prefect answers every origin by default: any web page could then talk to a server on this machine.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": connection.ui_url,
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        # A schedule every minute would put 100 runs ahead into the table.
        "PREFECT_SERVER_SERVICES_SCHEDULER_MAX_RUNS": "5",
        "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_RUNS": "3",
        "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_SCHEDULED_TIME": "PT3M",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_CLI_COLORS": "false",
        "DO_NOT_TRACK": "1",
    }
