"""Processes of a former life in this home, found by what they carry, and ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from deployments.settings import MARKER


def find_leftovers(home: Path, data_dir: Path | None = None) -> list[psutil.Process]:
    """Processes with our marker for this home, and PostgreSQL processes at work in `data_dir`.

    PostgreSQL's own children overwrite their environment with a title, so they are known by their folder.
    Never ourselves nor those who started us.
    """
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid not in spared and (_is_marked(process, home) or _is_postgres(process, data_dir)):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # gone meanwhile, or another user's: not ours
    return found


def end_all(processes: Iterable[psutil.Process], patience: float = 3.0) -> None:
    """Ask all of them, wait, kill the rest. PostgreSQL takes SIGINT for a quick and clean end."""
    processes = list(processes)
    for process in processes:
        _signal(process, signal.SIGINT if _name(process).startswith("postgres") else signal.SIGTERM)
        _signal(process, signal.SIGCONT)  # a frozen one would never hear the first
    for process in wait_gone(processes, patience):
        _signal(process, signal.SIGKILL)
    wait_gone(processes, patience)


def wait_gone(
    processes: Iterable[psutil.Process], patience: float, enough: Callable[[], bool] = lambda: False
) -> list[psutil.Process]:
    """Answers with those that still live after `patience` seconds, or when it is `enough`.

    A zombie is gone: a frozen parent buries nobody.
    """
    deadline = time.monotonic() + patience
    living = [process for process in processes if _lives(process)]
    while living and time.monotonic() < deadline and not enough():
        time.sleep(0.05)
        living = [process for process in living if _lives(process)]
    return living


def _is_marked(process: psutil.Process, home: Path) -> bool:
    return bool(process.environ().get(MARKER) == str(home)) and process.status() != psutil.STATUS_ZOMBIE


def _is_postgres(process: psutil.Process, data_dir: Path | None) -> bool:
    return data_dir is not None and process.name().startswith("postgres") and process.cwd() == str(data_dir)


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
