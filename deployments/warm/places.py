"""Where children of a worker live: a number of them on each GPU, or CPU slots."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """`name` is that of its lock file. `gpu` is as CUDA_VISIBLE_DEVICES takes it; empty: none is to be seen."""

    name: str
    gpu: str = ""

    @property
    def environment(self) -> dict[str, str]:
        return {"CUDA_VISIBLE_DEVICES": self.gpu}


def places(gpus: Sequence[str], children_per_gpu: int, limit: int | None, worker: str) -> list[Place]:
    """`limit` of them at most; without GPUs, or with no child on them, so many CPU slots.

    On GPUs the lock is the machine's, so that no second worker uses them; CPU slots are the worker's own.
    """
    if not (gpus and children_per_gpu):
        return [Place(f"cpu-{_file_name(worker)}-{number}") for number in range(limit or 1)]
    # First one on each GPU, then a second one on each: a limit below their number then uses all GPUs.
    spread = [Place(f"gpu-{_file_name(gpu)}-{number}", gpu) for number in range(children_per_gpu) for gpu in gpus]
    return spread[:limit]


def visible_gpus(environ: Mapping[str, str]) -> list[str]:
    """Ids of the GPUs that this machine offers: CUDA_VISIBLE_DEVICES, else what nvidia-smi counts.

    Not by asking torch: importing it would cost the worker seconds and hundreds of megabytes for its whole life.
    """
    if (chosen := environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu.strip() for gpu in chosen.split(",") if gpu.strip() not in ("", "-1", "NoDevFiles")]
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return answer.stdout.split() if answer.returncode == 0 else []


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.@-]+", "-", text)
