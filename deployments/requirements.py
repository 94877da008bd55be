"""What this machine lacks for the work it is to do: asked by a worker before it starts, and by `longtake doctor`.

Nothing here imports torch or diffusers: that would cost seconds at each start.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tasks.engines.diffusion.weights import read_header, weight_files
from tasks.engines.protocol import EngineError

#: Engines whose models are diffusers pipelines, and what those need to be installed.
DIFFUSION = ("wan", "image")
_EXTRA = ("torch", "diffusers", "transformers", "accelerate", "safetensors")
_SHM = Path("/dev/shm")  # noqa: S108  (its size is read, nothing is written)
_YES = ("1", "on", "true", "yes")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is missing. As text it is one line: what, why, what to do."""

    what: str
    why: str
    fix: str

    def __str__(self) -> str:
        return " ".join(f"{self.what}: {self.why}. {self.fix}".split())


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that must be free: in each folder, in memory, and the size of shared memory for diffusion engines."""

    disk: int = 2_000_000_000
    memory: int = 1_000_000_000
    shared: int = 1_000_000_000


def _gpus() -> Sequence[str]:
    """What the driver lists. Torch is not asked: importing it takes longer than all other checks together."""
    program = shutil.which("nvidia-smi")
    if program is None:  # a container may have the devices without the driver's programs
        return sorted(map(str, Path("/dev").glob("nvidia[0-9]*")))
    try:
        listed = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return [line for line in listed.splitlines() if line.startswith("GPU ")]


def _version(package: str) -> str | None:
    """Of an installed package that can also be found; None if it is not there."""
    try:
        return importlib.metadata.version(package) if importlib.util.find_spec(package) else None
    except importlib.metadata.PackageNotFoundError:
        return None


def _encoders() -> Collection[str]:
    try:
        import av
    except ImportError:
        return ()
    found: Collection[str] = av.codecs_available
    return found


def _cached(name: str, revision: str | None) -> Path | None:
    """The folder of a model that the hub's cache has, without asking the hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, OSError):
        return None


def _shared_memory() -> int | None:
    return shutil.disk_usage(_SHM).total if _SHM.is_dir() else None


@dataclass(frozen=True, slots=True)
class Machine:
    """What is looked at; a test hands in another one."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    gpus: Callable[[], Sequence[str]] = _gpus
    version: Callable[[str], str | None] = _version
    encoders: Callable[[], Collection[str]] = _encoders
    free_disk: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free
    free_memory: Callable[[], int] = lambda: psutil.virtual_memory().available
    shared_memory: Callable[[], int | None] = _shared_memory
    may_write: Callable[[Path], bool] = lambda folder: os.access(folder, os.W_OK | os.X_OK)
    cached: Callable[[str, str | None], Path | None] = _cached

    @property
    def is_offline(self) -> bool:
        return self.environ.get("HF_HUB_OFFLINE", "").lower() in _YES


def missing(
    *,
    engines: Sequence[str],
    models: Sequence[str] = (),
    gpus_wanted: bool = False,
    folders: Sequence[Path] = (),
    room: Room = Room(),
    machine: Machine = Machine(),
) -> list[Problem]:
    """Every problem there is, so that all can be mended at once; an empty list when the work can begin.

    `models` are named "engine:model", as in a pool's template; their engines count as wanted. `folders` are written
    to: scratch, models. They may not exist yet. Makes nothing, changes nothing.
    """
    wanted = {*engines, *(name.partition(":")[0] for name in models)}
    diffusion = sorted(wanted & set(DIFFUSION))
    found = list(_media(machine))
    if gpus_wanted:
        found += _gpu(machine)
    if diffusion:
        lacking = list(_extra(machine, diffusion))
        found += [*lacking, *_shared(machine, room)]
        for name in models:
            engine, _, model = name.partition(":")
            if engine in DIFFUSION:
                found += _model(machine, model, searchable=not lacking)
    for folder in folders:
        found += _folder(machine, folder, room)
    return [*found, *_memory(machine, room)]


def _media(machine: Machine) -> Iterator[Problem]:
    if "libx264" not in machine.encoders():
        why = "PyAV is missing or was built without libx264, and every film is encoded with it"
        yield Problem("H.264 encoder", why, "pip install --force-reinstall av")


def _gpu(machine: Machine) -> Iterator[Problem]:
    visible = machine.environ.get("CUDA_VISIBLE_DEVICES")
    torch = machine.version("torch")
    if not machine.gpus():
        yield Problem(
            "GPU",
            "one is wanted, and nvidia-smi is not there or lists none",
            "Install the NVIDIA driver; in a container, start it with --gpus all and the NVIDIA container toolkit.",
        )
    elif visible is not None and visible.strip() in ("", "-1"):
        why = f"CUDA_VISIBLE_DEVICES={visible!r} hides all of them"
        yield Problem("GPU", why, "Unset it, or name one: CUDA_VISIBLE_DEVICES=0")
    if torch and torch.endswith("+cpu"):
        why = f"{torch} is a build without CUDA, so the GPU would stay idle"
        yield Problem("torch", why, "Install a CUDA build: https://pytorch.org/get-started/locally")


def _extra(machine: Machine, engines: Sequence[str]) -> Iterator[Problem]:
    if lacking := [package for package in _EXTRA if machine.version(package) is None]:
        why = f"not installed, and the engine{'s' * (len(engines) > 1)} {' and '.join(engines)} cannot work without"
        yield Problem(", ".join(lacking), why, "pip install 'longtake[diffusers]'")


def _shared(machine: Machine, room: Room) -> Iterator[Problem]:
    size = machine.shared_memory()
    if size is not None and size < room.shared:
        why = f"{_SHM} has {_size(size)}, and tensors that go from process to process need {_size(room.shared)}"
        yield Problem("shared memory", why, "Start the container with --shm-size 2g, or in compose: shm_size: 2gb")


def _model(machine: Machine, model: str, *, searchable: bool) -> Iterator[Problem]:
    """A folder must be whole. A name on the hub may be incomplete or absent as long as it can be fetched."""
    path = Path(model).expanduser()
    name, _, revision = model.partition("@")
    if path.is_dir():
        yield from _weights(model, path)
    elif path.is_absolute() or model.startswith((".", "~")):
        why = "there is no such folder" if not path.exists() else "it is a file, and a model is a folder"
        yield Problem(
            f"model {model}", why, "Name the folder that holds model_index.json, or the model's name on the hub."
        )
    elif machine.is_offline and searchable:
        cached = machine.cached(name, revision or None)
        if cached:
            yield from _weights(model, cached)
        else:
            why = "it is not on this machine, and HF_HUB_OFFLINE forbids fetching it"
            yield Problem(
                f"model {model}", why, f"Fetch it where there is a network, into the same HF_HOME: hf download {name}"
            )


def _weights(model: str, folder: Path) -> Iterator[Problem]:
    """Whole by their headers; the hashes, which take minutes, are compared when the model is loaded."""
    try:
        for file in weight_files(folder):
            read_header(file)
    except EngineError as error:
        what, _, rest = str(error).partition(": ")
        why, _, fix = rest.partition(". ")
        yield Problem(f"model {model}", f"{what}: {why.rstrip('.')}", fix or "Fetch the model again.")


def _folder(machine: Machine, folder: Path, room: Room) -> Iterator[Problem]:
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not nearest.is_dir():
        yield Problem(f"folder {folder}", f"{nearest} is a file", "Move it away, or choose another folder.")
        return
    if not machine.may_write(nearest):
        why = f"{nearest} cannot be written by user {os.getuid()}"
        yield Problem(f"folder {folder}", why, f"chown {os.getuid()} {nearest}, or choose another folder.")
    free = machine.free_disk(nearest)
    if free < room.disk:
        why = f"{_size(free)} free on the disk of {nearest}, {_size(room.disk)} needed"
        yield Problem(f"folder {folder}", why, "Make room, or put it on another disk.")


def _memory(machine: Machine, room: Room) -> Iterator[Problem]:
    free = machine.free_memory()
    if free < room.memory:
        why = f"{_size(free)} free, {_size(room.memory)} needed"
        yield Problem("memory", why, "End other programs, or give the machine or container more.")


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"
