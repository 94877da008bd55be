"""`longtake doctor`: what is missing here, and what to do about it. Looks, changes nothing, starts nothing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from packaging.version import Version

from deployments.doctor_server import server_checks, what_gpu_workers_read
from deployments.doctor_supabase import supabase_checks
from deployments.findings import Check, failed, passed
from deployments.requirements import Needs, Pool, missing, missing_for_worker
from deployments.settings import Settings
from deployments.stack.errors import StackError
from deployments.stack.home import running_up
from deployments.stack.leftovers import find_leftovers
from deployments.stack.postgres import find_binaries
from deployments.work_pools import pool_template

__all__ = ["Check", "checks"]

_PYTHONS = ((3, 11), (3, 15))
_ROOM_NEEDED = 2_000_000_000
_PREFECT = ("3.8.8", "3.10")
#: Prefect 3.8.8 cannot insert scheduled runs with a newer one: nothing on a schedule ever runs.
_SQLALCHEMY_BELOW = "2.1"


def checks(settings: Settings, *, gpu: bool = False, models: Sequence[str] = ()) -> list[Check]:
    """This machine first, then the server that the settings point at.

    `gpu`: also what a worker of pool gpu would refuse to start without; `models`: what else it is to load, as
    "engine:model".
    """
    local: tuple[Callable[[Settings], Check], ...] = (
        _python, _packages, _home, _room, _media, _database, _queue, _leftovers,
    )  # fmt: skip
    here = [*(check(settings) for check in local), *_engines(settings, gpu, models)]
    return [*here, *supabase_checks(settings), *server_checks(settings)]


def _python(_settings: Settings) -> Check:
    found, (first, beyond) = platform.python_version(), _PYTHONS
    if first <= sys.version_info[:2] < beyond:
        return passed("python", found)
    return failed("python", f"{found} is not supported", "Make a virtual environment with Python 3.11 to 3.14.")


def _packages(_settings: Settings) -> Check:
    prefect, sqlalchemy = (importlib.metadata.version(name) for name in ("prefect", "sqlalchemy"))
    found = f"Prefect {prefect}, SQLAlchemy {sqlalchemy}"
    low, beyond = map(Version, _PREFECT)
    if not low <= Version(prefect) < beyond:
        return failed("packages", found, f"pip install 'prefect>={low},<{beyond}'")
    if Version(sqlalchemy) >= Version(_SQLALCHEMY_BELOW):
        why = f"{found}: Prefect's scheduler fails with it, so nothing is polled"
        return failed("packages", why, f"pip install 'sqlalchemy<{_SQLALCHEMY_BELOW}'")
    return passed("packages", found)


def _home(settings: Settings) -> Check:
    nearest = next(_existing(settings.home))
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        return passed("home", f"{settings.home}{'' if nearest == settings.home else ' (not made yet)'}")
    return failed("home", f"{nearest} cannot be written", "Choose another folder with LONGTAKE_HOME or --home.")


def _room(settings: Settings) -> Check:
    free = shutil.disk_usage(next(_existing(settings.home))).free
    detail = f"{free / 1e9:.1f} GB free"
    if free >= _ROOM_NEEDED:
        return passed("disk", detail)
    return failed("disk", detail, f"Make {_ROOM_NEEDED / 1e9:.0f} GB of room, or put LONGTAKE_HOME on another disk.")


def _media(_settings: Settings) -> Check:
    try:
        import av
        import cv2
    except ImportError as error:
        return failed("media", str(error), "pip install av opencv-python-headless")
    if "libx264" not in av.codecs_available:
        return failed("media", f"PyAV {av.__version__} cannot encode H.264", "pip install --force-reinstall av")
    return passed("media", f"PyAV {av.__version__} with libx264, OpenCV {cv2.__version__}")


def _engines(settings: Settings, gpu: bool, models: Sequence[str]) -> Iterator[Check]:
    """One line for each problem."""
    if gpu:
        found = missing_for_worker(*_gpu_worker(settings, models), [_prefect_home(settings)])
        passes = "a worker of pool gpu"
    else:
        engines = (settings.engine, settings.image_engine)
        found, passes = missing(Needs(engines=engines, models=models, on_cpu=True)), ", ".join(engines)
    if not found:
        yield passed("engines", f"nothing is missing for {passes}")
    yield from (failed(problem.what, problem.why, problem.fix) for problem in found)


def _gpu_worker(settings: Settings, models: Sequence[str]) -> tuple[Pool, dict[str, Any]]:
    """What the worker reads from the server; without one, or before its set-up, what set-up would write there."""
    pool, workspace = what_gpu_workers_read(settings) or (None, None)
    template = (pool or pool_template("gpu", settings))["base_job_template"]
    says = {name: variable.get("default") for name, variable in template["variables"]["properties"].items()}
    named = Pool("gpu", (*(says["models"] or ()), *models), says["gpus"] or (), says["children_per_gpu"])
    engines = {
        "video": settings.engine,
        "image": settings.image_engine,
        "video_model": settings.model,
        "image_model": settings.image_model,
        **({"device": settings.device} if settings.device else {}),
    }
    return named, workspace or {"engines": engines, "work_dir": str(settings.work_dir)}


def _prefect_home(settings: Settings) -> Path:
    """Of the worker that `up` starts here; on any other machine of the one that a person starts."""
    theirs = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    return theirs if os.environ.get("PREFECT_API_URL") else settings.prefect_home


def _database(_settings: Settings) -> Check:
    try:
        return passed("postgresql", find_binaries().version)
    except StackError as error:
        return failed("postgresql", error.message, error.hint)


def _queue(settings: Settings) -> Check:
    if settings.supabase_url:
        return passed("queue", "in the Supabase project")
    if not settings.queue_path.exists():
        return passed("queue", f"{settings.queue_path} (not made yet)")
    from blocks.queue.errors import QueueError
    from blocks.queue.sqlite import SqliteQueue

    try:
        queue = SqliteQueue(settings.queue_path)
        counts = queue.counts()
        queue.close()
    except QueueError as error:
        return failed("queue", error.message, error.hint)
    return passed("queue", f"{counts.ready} ready, {counts.in_progress} in progress, {counts.failed} failed")


def _leftovers(settings: Settings) -> Check:
    holder, found = running_up(settings.home), len(find_leftovers(settings.home))
    if holder:
        return passed("processes", f"{found} belong to the running longtake up (process {holder})")
    if found:
        fix = f"longtake up --home {settings.home} ends them and starts anew."
        return failed("processes", f"{found} of a former life still run", fix)
    return passed("processes", "none is left over")


def _existing(path: Path) -> Iterator[Path]:
    return (folder for folder in (path, *path.parents) if folder.exists())
