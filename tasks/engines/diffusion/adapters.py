"""LoRAs of a loaded pipeline: put on by strength, never fused, so that taking them off leaves the base as it was."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tasks.engines.diffusion.memory import Placement, is_out_of_memory
from tasks.engines.diffusion.weights import read_header
from tasks.engines.protocol import EngineError

logger = logging.getLogger(__name__)


class Adapters:
    """What is on the pipeline now stays there for the next request; the same LoRAs again cost nothing."""

    def __init__(self, placement: Placement) -> None:
        self._placement = placement
        self._on: dict[str, float] = {}  # adapter name: strength

    @property
    def state(self) -> str:
        """Tells embeddings apart that were made under different LoRAs, which may change a text encoder too."""
        return repr(sorted(self._on.items()))

    def use(self, pipe: Any, loras: Mapping[str, float]) -> None:
        """Exactly these LoRAs, by file. Raises `EngineError` naming one that is damaged or made for another model."""
        wanted = {_name(Path(path)): (Path(path), strength) for path, strength in loras.items()}
        strengths = {name: strength for name, (_, strength) in wanted.items()}
        if strengths == self._on:
            return
        if wanted and not hasattr(pipe, "load_lora_weights"):
            raise EngineError(f"{type(pipe).__name__} takes no LoRAs; remove additional_loras or take another model.")
        if wanted and find_spec("peft") is None:
            raise EngineError("LoRAs need peft, which is not installed: pip install 'longtake[diffusers]'.")
        self._placement.release()
        try:
            self._change(pipe, wanted, strengths)
        except BaseException:
            self._remove_all(pipe)
            raise
        self._on = strengths

    def _change(self, pipe: Any, wanted: Mapping[str, tuple[Path, float]], strengths: Mapping[str, float]) -> None:
        if not wanted:
            self._remove_all(pipe)
            return
        if gone := [name for name in self._on if name not in wanted]:
            pipe.delete_adapters(gone)
        for name, (path, _) in wanted.items():
            if name not in self._on:
                _load(pipe, name, path)
        pipe.set_adapters(list(strengths), adapter_weights=list(strengths.values()))

    def _remove_all(self, pipe: Any) -> None:
        if hasattr(pipe, "unload_lora_weights"):
            pipe.unload_lora_weights()
        self._on = {}


def _load(pipe: Any, name: str, path: Path) -> None:
    read_header(path)
    for second in _halves(pipe, path):
        try:
            pipe.load_lora_weights(
                str(path.parent),
                weight_name=path.name,
                adapter_name=name,
                use_safetensors=True,
                local_files_only=True,
                **({"load_into_transformer_2": True} if second else {}),
            )
        except (ValueError, KeyError, RuntimeError, OSError, IndexError, AttributeError) as error:
            if is_out_of_memory(error):
                raise
            raise EngineError(f"{_not_for(pipe, path)}: {str(error).splitlines()[0][:300]}") from error
    if not any(name in adapters for adapters in pipe.get_list_adapters().values()):
        # diffusers only warns when not one key fits, and the film would be made without.
        raise EngineError(f"{_not_for(pipe, path)}: not one of its layers is found in the model.")
    logger.info("lora_loaded adapter=%s file=%s", name, path.name)


def _halves(pipe: Any, path: Path) -> tuple[bool, ...]:
    """Whether to load into the second transformer: Wan 2.2's LoRAs come in pairs, told apart by their names only.

    One that names neither half goes into both.
    """
    if getattr(pipe, "transformer_2", None) is None:
        return (False,)
    words = path.name.lower().replace("-", "_")
    if "low_noise" in words or "lownoise" in words:
        return (True,)
    if "high_noise" in words or "highnoise" in words:
        return (False,)
    return (False, True)


def _not_for(pipe: Any, path: Path) -> str:
    return f"The LoRA {path.name} does not fit {type(pipe).__name__}; take one that was trained for this model"


def _name(path: Path) -> str:
    """Another file under the same path is another adapter."""
    try:
        status = path.stat()
    except OSError as error:
        raise EngineError(f"The LoRA {path} cannot be read: {error.strerror}.") from error
    return "lora_" + hashlib.sha256(f"{path} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:16]
