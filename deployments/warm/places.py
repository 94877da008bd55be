"""Where children of a worker live: a number of them on each GPU, or CPU slots; and which GPUs there are."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

#: The names of one GPU: its index, then UUIDs, as far as they are known: its own, those of its MIG instances.
Gpu = tuple[str, ...]


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


def installed_gpus(devices: Path = Path("/dev")) -> list[Gpu]:
    """What the driver lists, in its order. Empty where nvidia-smi fails: then CUDA does too.

    Torch is not asked: importing it would cost the worker seconds and hundreds of megabytes for its whole life.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        # A container may have the devices without the driver's programs. What remains of them is counted from 0.
        return [(str(index),) for index, _ in enumerate(devices.glob("nvidia[0-9]*"))]
    try:
        listed = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    blocks = re.findall(r"^GPU (\d+):(.*(?:\n[ \t].*)*)", listed, re.MULTILINE)  # MIG instances are indented below
    return [(index, *re.findall(r"\(UUID: ([^)]+)\)", block)) for index, block in blocks]


def visible_gpus(environ: Mapping[str, str], installed: Sequence[Gpu] | None = None) -> list[str]:
    """The GPUs that CUDA shows to a program in this environment, named as CUDA_VISIBLE_DEVICES takes them.

    Source: CUDA C++ Programming Guide, "CUDA Environment Variables". The variable names indices, or beginnings of UUIDs
    of GPUs and MIG instances; the first name that means nothing hides itself and all that follow.
    """
    gpus = installed_gpus() if installed is None else installed
    if (chosen := environ.get("CUDA_VISIBLE_DEVICES")) is None:
        return [gpu[0] for gpu in gpus]
    return list(takewhile(lambda name: any(_is_called(gpu, name) for gpu in gpus), map(str.strip, chosen.split(","))))


def _is_called(gpu: Gpu, name: str) -> bool:
    index, *uuids = gpu
    if not name.startswith(("GPU-", "MIG-")):
        return name == index
    return not uuids or any(uuid.startswith(name) for uuid in uuids)  # unknown without nvidia-smi: then it is believed


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.@-]+", "-", text)
