"""From a model's name to a pipeline in memory: found, verified, loaded in the right type. Imports torch when called."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from tasks.engines.diffusion.weights import BadWeights, read_header, read_json, verify
from tasks.engines.protocol import EngineError, ModelUnavailable, Setup

#: The hub's own rule: no name begins with a dot or a dash, or has two of them in a row.
_HUB_NAME = re.compile(r"(?![^@]*(\.\.|--))\w[\w.-]*/\w[\w.-]*(@[\w./-]+)?")
_WIDTHS = {"float32": 4, "float16": 2, "bfloat16": 2}


def diffusers() -> ModuleType:
    """The library, or an `EngineError` that says how to get it."""
    try:
        import accelerate  # noqa: F401 (offloading and loading in little memory need it)
        import diffusers as library
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise EngineError(
            f"This engine needs {error.name or 'diffusers'}, which is not installed: pip install 'longtake[diffusers]'."
        ) from error
    found: ModuleType = library
    return found


def local_folder(model: str) -> Path | None:
    """The folder of a model that is on this machine under a path; None for the name of one on the hub."""
    try:
        path = Path(model).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError):  # longer than any path, or the home of nobody
        is_folder = is_file = False
    if is_folder:
        return path
    if is_file:
        if path.suffix == ".safetensors":
            read_header(path)
        else:
            raise BadWeights(path, "a pipeline is a folder with a model_index.json, of safetensors files only.")
        raise BadWeights(path, "it is one file of weights. Give the folder of a whole pipeline (model_index.json).")
    if not _HUB_NAME.fullmatch(model):
        raise EngineError(f"There is no folder {model[:200]!r}, and it is no name on the hub, such as 'owner/model'.")
    return None


def find(model: str, *, offline: bool) -> Path:
    """The model's folder, fetched from the hub if need be. Raises `EngineError`, `ModelUnavailable`."""
    if folder := local_folder(model):
        return folder
    name, _, revision = model.partition("@")
    library = diffusers()
    try:
        return Path(
            library.DiffusionPipeline.download(
                name, revision=revision or None, use_safetensors=True, local_files_only=offline
            )
        )
    except (OSError, ValueError) as error:
        advice = (
            f"Fetch it before with `hf download {name}`, or name a folder that holds it. "
            "A gated model needs its licence accepted and HF_TOKEN set where the worker runs."
        )
        if offline:
            raise EngineError(
                f"The model {model!r} is not on this machine, and the setup is offline. {advice}"
            ) from error
        if _is_final(error):
            raise EngineError(f"The model {model!r} cannot be had: {_first_line(error)} {advice}") from error
        raise ModelUnavailable(f"The model {model!r} cannot be fetched now: {_first_line(error)} {advice}") from error


def cached(model: str) -> Path | None:
    """The model's folder if it is here, without asking anybody."""
    if folder := local_folder(model):
        return folder
    try:
        return find(model, offline=True)
    except EngineError:
        return None


def _is_final(error: Exception) -> bool:
    """The hub answered that it has no such model, no such file or no permission; no answer at all may come later."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status in (401, 403, 404) or "safetensors" in str(error)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def device_of(setup: Setup) -> Any:
    import torch

    if setup.device != "auto":
        try:
            return torch.device(setup.device)
        except RuntimeError as error:
            raise EngineError(f"There is no device {setup.device!r}; give auto, cpu, cuda, cuda:0 or mps.") from error
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def dtype_of(setup: Setup) -> str:
    if setup.dtype != "auto":
        return setup.dtype
    return "float32" if device_of(setup).type == "cpu" else "bfloat16"


def weight_of(folder: Path, setup: Setup) -> int:
    """Bytes that the model's weights take in memory. Raises `BadWeights`."""
    return sum(header.size(_WIDTHS[dtype_of(setup)]) for header in verify(folder))


def load(folder: Path, setup: Setup, open_folder: Callable[..., Any], *, exact: Iterable[str] = ()) -> Any:
    """The pipeline, still in the CPU's memory. `exact` components stay float32: their errors would be seen."""
    import torch

    for library in (diffusers(), import_module("transformers")):
        library.utils.logging.disable_progress_bar()
    verify(folder)
    main = getattr(torch, dtype_of(setup))
    there = read_json(folder / "model_index.json")
    types = {"default": main} | {name: torch.float32 for name in exact if name in there}
    try:
        pipe = open_folder(folder, dtype=types, use_safetensors=True, local_files_only=True)
    except (OSError, ValueError, KeyError, AttributeError, ImportError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise EngineError(
            f"The model {folder} cannot be loaded by this version of diffusers: {_first_line(error)}"
        ) from error
    pipe.set_progress_bar_config(disable=True)
    return pipe
