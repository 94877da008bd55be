"""What this machine lacks for the work it is to do: asked by a worker before it starts, and by `longtake doctor`.

Nothing here imports torch or diffusers: that would cost seconds at each start. What a worker's parent would keep for
its whole life, it either asks another process (PyAV) or imports where a diffusion engine is wanted (numpy).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from pydantic import ValidationError

from deployments.warm.places import Gpu, installed_gpus, visible_gpus
from tasks.kinds import KINDS, Makes

if TYPE_CHECKING:
    from blocks.engine import EngineChoice

#: Engines whose models are diffusers pipelines, and what those need to be installed.
DIFFUSION = ("wan", "image")
#: Type and name of the block document that says which engines run.
WORKSPACE = ("longtake-workspace", "longtake")
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


@dataclass(frozen=True, slots=True)
class Needs:
    """What the work asks of a machine.

    `models` are named "engine:model", as in a pool's template; their engines count as wanted. `device` is where
    diffusion engines run, and `gpus` names those that must be there; `on_cpu` asks for none, whatever these say.
    `folders` are written to: scratch, models. They may not exist yet. `offline`: no model can be fetched.
    """

    engines: Sequence[str] = ()
    models: Sequence[str] = ()
    device: str = "auto"
    gpus: Sequence[str] = ()
    on_cpu: bool = False
    folders: Sequence[Path] = ()
    offline: bool = False

    @property
    def diffusion(self) -> list[str]:
        """The wanted engines that are diffusion's."""
        return sorted({*self.engines, *(name.partition(":")[0] for name in self.models)} & set(DIFFUSION))


@dataclass(frozen=True, slots=True)
class Pool:
    """What a pool of type warm says of its workers, as its template names it."""

    name: str
    models: Sequence[str] = ()
    gpus: Sequence[str] = ()
    children_per_gpu: int = 1

    @property
    def makes_media(self) -> bool:
        """Whether its tasks are done by engines: those of the workspace block."""
        return any(kind.makes and self.name in kind.pools for kind in KINDS)


def _version(package: str) -> str | None:
    """Of an installed package that can also be found; None if it is not there."""
    try:
        return importlib.metadata.version(package) if importlib.util.find_spec(package) else None
    except importlib.metadata.PackageNotFoundError:
        return None


def _encoders() -> Collection[str]:
    """Asked in a process of its own, which costs 0.04 s: PyAV's 16 MB would stay with who asks."""
    code = "import av; print(*av.codecs_available)"
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return ended.stdout.split()


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
    gpus: Callable[[], Sequence[Gpu]] = installed_gpus
    version: Callable[[str], str | None] = _version
    encoders: Callable[[], Collection[str]] = _encoders
    free_disk: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free
    free_memory: Callable[[], int] = lambda: psutil.virtual_memory().available
    shared_memory: Callable[[], int | None] = _shared_memory
    may_write: Callable[[Path], bool] = lambda folder: os.access(folder, os.W_OK | os.X_OK)
    cached: Callable[[str, str | None], Path | None] = _cached
    platform: str = sys.platform

    @property
    def is_offline(self) -> bool:
        return self.environ.get("HF_HUB_OFFLINE", "").lower() in _YES


def missing_for_worker(
    pool: Pool, workspace: Mapping[str, Any] | None, folders: Sequence[Path] = (), machine: Machine = Machine()
) -> list[Problem]:
    """What a worker of this pool refuses to start without. `workspace`: the block's content; None: there is none.

    A pool whose tasks need no engine needs no block. An engine that another package adds looks after itself.
    """
    needs = Needs(models=pool.models, gpus=pool.gpus, on_cpu=pool.children_per_gpu == 0, folders=folders)
    found: list[Problem] = []
    if pool.makes_media:
        try:
            engines, scratch = _read(workspace)
        except ValueError as error:
            why = f"the engines of pool {pool.name} are named there, and {error}"
            found = [Problem(f"block {WORKSPACE[1]}", why, "Run, with this version of Longtake: longtake setup")]
        else:
            found = list(_unknown((engines.video, engines.image)))
            models = tuple(dict.fromkeys((*pool.models, *_models(engines))))
            needs = replace(
                needs, models=models, device=engines.device, folders=(*folders, scratch), offline=engines.offline
            )
    return [*found, *missing(needs, machine=machine)]


def _read(workspace: Mapping[str, Any] | None) -> tuple[EngineChoice, Path]:
    """Engines and scratch folder. Raises `ValueError`: there is none, or one that another version has written."""
    from blocks.engine import EngineChoice

    if workspace is None:
        raise ValueError("the Prefect server has no such block")
    try:
        return EngineChoice.model_validate(workspace["engines"]), Path(workspace["work_dir"])
    except KeyError as error:
        raise ValueError(f"it has no field {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"its engines cannot be read: {where}={first['input']!r}, {first['msg']}") from error


def _unknown(engines: Iterable[str]) -> Iterator[Problem]:
    from tasks.engines.registry import BUILTIN, UnknownEngine, names

    for engine in engines:
        # Others are looked for only then: it reads the description of every installed package.
        if engine not in BUILTIN and engine not in (known := names()):
            why, _, fix = str(UnknownEngine(engine, known)).partition(". ")
            yield Problem(f"block {WORKSPACE[1]}", why, fix)


def _models(engines: EngineChoice) -> Iterator[str]:
    """Those that tasks get when they name none."""
    makes: tuple[tuple[Makes, str], ...] = (("video", engines.video), ("image", engines.image))
    for what, engine in makes:
        if engine in DIFFUSION:
            from tasks.models import choose

            yield str(choose(engines, what))


def missing(needs: Needs, *, room: Room = Room(), machine: Machine = Machine()) -> list[Problem]:
    """Every problem there is, so that all can be mended at once; an empty list when the work can begin.

    Makes nothing, changes nothing.
    """
    found = [*_media(machine), *_gpu(machine, needs)]
    if needs.diffusion:
        lacking = list(_extra(machine, needs.diffusion))
        found += [*lacking, *_shared(machine, room)]
        for name in needs.models:
            engine, _, model = name.partition(":")
            if engine in DIFFUSION:
                offline = needs.offline or machine.is_offline
                found += _model(machine, model, offline=offline, searchable=not lacking)
    full: set[int] = set()
    for folder in needs.folders:
        found += _folder(machine, folder, room, full)
    return [*found, *_memory(machine, room)]


def _media(machine: Machine) -> Iterator[Problem]:
    if "libx264" not in machine.encoders():
        why = "PyAV is missing or was built without libx264, and every film is encoded with it"
        yield Problem("H.264 encoder", why, "pip install --force-reinstall av")


def _gpu(machine: Machine, needs: Needs) -> Iterator[Problem]:
    """Nothing where the operator wants the CPU, or Apple's own GPU, which no driver lists."""
    elsewhere = ("cpu", "mps") if machine.platform != "darwin" else ("cpu", "mps", "auto")
    by_engine = bool(needs.diffusion) and needs.device not in elsewhere
    if needs.on_cpu or not (needs.gpus or by_engine):
        return
    installed = machine.gpus()
    # As the worker does it: what a pool names counts, whatever the variable says.
    chosen = ",".join(needs.gpus) if needs.gpus else machine.environ.get("CUDA_VISIBLE_DEVICES")
    seen = visible_gpus({} if chosen is None else {"CUDA_VISIBLE_DEVICES": chosen}, installed)
    there = ", ".join(gpu[0] for gpu in installed)
    if not installed:
        who = _named(needs.diffusion) if by_engine else "the pool"
        yield Problem(
            "GPU",
            f"{who} asks for one, and neither nvidia-smi nor /dev has any",
            "Install the NVIDIA driver; in a container, start it with --gpus all and the NVIDIA container toolkit. "
            "To compute on the CPU after all, set up with LONGTAKE_DEVICE=cpu, or set children_per_gpu 0 in the pool.",
        )
    elif needs.gpus and len(seen) < len(needs.gpus):
        why = f"the pool names {needs.gpus[len(seen)]!r}, and this machine has {there}"
        yield Problem("GPU", why, "Correct `gpus` in the pool, or leave it empty for all that there are.")
    elif not seen:
        why = f"CUDA_VISIBLE_DEVICES={chosen!r} hides all that there are: {there}"
        yield Problem("GPU", why, "Unset it, or name one: CUDA_VISIBLE_DEVICES=0")
    torch = machine.version("torch")
    if torch and torch.endswith("+cpu"):
        why = f"{torch} is a build without CUDA, so the GPU would stay idle"
        yield Problem("torch", why, "Install a CUDA build: https://pytorch.org/get-started/locally")


def _extra(machine: Machine, engines: Sequence[str]) -> Iterator[Problem]:
    if lacking := [package for package in _EXTRA if machine.version(package) is None]:
        why = f"not installed, and {_named(engines)} cannot work without"
        yield Problem(", ".join(lacking), why, "pip install 'longtake[diffusers]'")


def _named(engines: Sequence[str]) -> str:
    return f"the engine{'s' * (len(engines) > 1)} {' and '.join(engines)}"


def _shared(machine: Machine, room: Room) -> Iterator[Problem]:
    size = machine.shared_memory()
    if size is not None and size < room.shared:
        why = f"{_SHM} has {_size(size)}, and tensors that go from process to process need {_size(room.shared)}"
        yield Problem("shared memory", why, "Start the container with --shm-size 2g, or in compose: shm_size: 2gb")


def _model(machine: Machine, model: str, *, offline: bool, searchable: bool) -> Iterator[Problem]:
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
    elif offline and searchable:
        cached = machine.cached(name, revision or None)
        if cached:
            yield from _weights(model, cached)
        else:
            forbids = "HF_HUB_OFFLINE" if machine.is_offline else "`offline` in the block longtake"
            why = f"it is not on this machine, and {forbids} forbids fetching it"
            yield Problem(
                f"model {model}", why, f"Fetch it where there is a network, into the same HF_HOME: hf download {name}"
            )


def _weights(model: str, folder: Path) -> Iterator[Problem]:
    """Whole by their headers; the hashes, which take minutes, are compared when the model is loaded."""
    from tasks.engines.diffusion.weights import read_header, weight_files
    from tasks.engines.protocol import EngineError

    try:
        for file in weight_files(folder):
            read_header(file)
    except EngineError as error:
        what, _, rest = str(error).partition(": ")
        why, _, fix = rest.partition(". ")
        yield Problem(f"model {model}", f"{what}: {why.rstrip('.')}", fix or "Fetch the model again.")


def _folder(machine: Machine, folder: Path, room: Room, full: set[int]) -> Iterator[Problem]:
    """A disk that is `full` is told once."""
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not nearest.is_dir():
        yield Problem(f"folder {folder}", f"{nearest} is a file", "Move it away, or choose another folder.")
        return
    if not machine.may_write(nearest):
        why = f"{nearest} cannot be written by user {os.getuid()}"
        yield Problem(f"folder {folder}", why, f"chown {os.getuid()} {nearest}, or choose another folder.")
    free, disk = machine.free_disk(nearest), nearest.stat().st_dev
    if free < room.disk and disk not in full:
        full.add(disk)
        why = f"{_size(free)} free on the disk of {nearest}, {_size(room.disk)} needed"
        yield Problem(f"folder {folder}", why, "Make room, or put it on another disk.")


def _memory(machine: Machine, room: Room) -> Iterator[Problem]:
    free = machine.free_memory()
    if free < room.memory:
        why = f"{_size(free)} free, {_size(room.memory)} needed"
        yield Problem("memory", why, "End other programs, or give the machine or container more.")


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"
