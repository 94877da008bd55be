"""The deployments of prefect.yaml, registered by Prefect's own `prefect deploy --all`, in this process."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from deployments.stack.errors import DeployFailed

PREFECT_FILE = Path(__file__).parent.parent / "prefect.yaml"


def deploy_all(prefect_file: Path = PREFECT_FILE) -> None:
    """What `prefect --no-prompt deploy --all` does, minus a second Python start and a second import of every flow."""
    if not prefect_file.exists():
        raise DeployFailed(f"{prefect_file} is missing.", "Run this from a clone of the repository.")
    from prefect.cli import app

    output = io.StringIO()
    try:
        with _arguments("--no-prompt", "deploy", "--all", "--prefect-file", str(prefect_file)), redirect_stdout(output):
            app()
    except SystemExit as ended:
        if ended.code:
            raise DeployFailed(output.getvalue().strip() or f"prefect deploy ended with code {ended.code}") from None


@contextmanager
def _arguments(*arguments: str) -> Iterator[None]:
    """Prefect's command line reads sys.argv; prefect.yaml is found in the current folder by its templates too."""
    argv, folder = sys.argv, Path.cwd()
    sys.argv = ["prefect", *arguments]
    try:
        yield
    finally:
        sys.argv = argv
        os.chdir(folder)
