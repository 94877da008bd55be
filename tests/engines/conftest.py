from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tasks.engines.protocol import Engine, Frame, Request
from tasks.engines.store import ModelStore
from tests.engines import tiny


class Models:
    """Folders of tiny models, each built when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __getitem__(self, name: str) -> Path:
        folder = self._root / name
        return folder if folder.is_dir() else getattr(tiny, name)(folder)

    def lora(self, model: str, seed: int = 7) -> Path:
        file = self._root / "loras" / f"{model}-{seed}.safetensors"
        return file if file.is_file() else tiny.lora(file.parent, self[model], seed=seed, name=file.name)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    torch = pytest.importorskip("torch")
    pytest.importorskip("diffusers")
    torch.set_num_threads(1)  # the models are so small that threads only wait for each other
    return Models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def store() -> Iterator[ModelStore]:
    made = ModelStore()
    yield made
    made.unload_all()


#: An engine of the name with the tiny model loaded, the same for a whole module.
Ready = Callable[[str, str], Engine]


@pytest.fixture
def ready(store: ModelStore, models: Models) -> Ready:
    return lambda engine, model: store.get(engine, str(models[model]))


def picture(seed: int) -> Frame:
    """No two of these are alike, and none is grey."""
    return np.random.default_rng(seed).integers(0, 256, (tiny.SIDE, tiny.SIDE, 3)).astype(np.uint8)


def clip_request(**changes: object) -> Request:
    """Five frames in two steps between two pictures."""
    options = {"steps": 2, "guidance_scale": 1.0}
    given = {"frames": 5, "seed": 1, "prompt": "a cat", "start": picture(1), "end": picture(2), "options": options}
    return Request(width=tiny.SIDE, height=tiny.SIDE, **given | changes)  # type: ignore[arg-type]


def ignore(done: int, total: int) -> None:
    """An `on_step` that wants nothing."""


def frames_of(engine: Engine, request: Request) -> np.ndarray:
    return np.stack(list(engine.generate(request, ignore)))
