"""Texts and pictures as the model sees them, kept for the next request: neighbouring segments share them."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

#: A few megabytes each on the CPU.
_MOST = 32

Compute = Callable[..., Any]


class Embeddings:
    """Least recently used first out; kept on the CPU, handed out on the device that asks."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Any] = OrderedDict()

    def get(self, key: str, compute: Callable[[], Any], device: Any) -> Any:
        if key in self._kept:
            self._kept.move_to_end(key)
            return _moved(self._kept[key], device)
        made = compute()
        self._kept[key] = _moved(made, "cpu")
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)
        return made

    def clear(self) -> None:
        self._kept.clear()

    def share_texts(self, pipe: Any, state: Callable[[], str]) -> None:
        """Let the pipeline's own `encode_prompt` look here first. `state` is what else its answer depends on."""
        encode: Compute | None = getattr(pipe, "encode_prompt", None)
        if encode is None:
            return

        def encode_prompt(*args: Any, **kwargs: Any) -> Any:
            given = [*args, *(item for pair in sorted(kwargs.items()) for item in pair)]
            if not all(_is_plain(value) for value in given):
                return encode(*args, **kwargs)
            key = digest("text", state(), repr(given))
            return self.get(key, lambda: _encoded(pipe, encode, *args, **kwargs), pipe._execution_device)

        pipe.encode_prompt = encode_prompt

    def share_pictures(self, pipe: Any) -> None:
        """Let Wan's `encode_image` look here first, picture by picture: one segment's end is the next one's start."""
        import numpy as np
        import torch

        encode: Compute = pipe.encode_image

        def encode_image(image: Any, device: Any = None) -> Any:
            there = device or pipe._execution_device
            pictures = image if isinstance(image, list) else [image]
            return torch.cat(
                [
                    self.get(
                        digest("picture", str(picture.size), np.asarray(picture).tobytes()),
                        lambda picture=picture: _encoded(pipe, encode, picture, there),  # type: ignore[misc]
                        there,
                    )
                    for picture in pictures
                ]
            )

        pipe.encode_image = encode_image


def digest(*parts: str | bytes) -> str:
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole.update(len(data).to_bytes(8, "little") + data)
    return whole.hexdigest()


def _encoded(pipe: Any, encode: Compute, *args: Any, **kwargs: Any) -> Any:
    """The encoder's answer, after which an offloaded encoder goes back to the CPU.

    By itself it would leave when the next part in line is called, and that one may be skipped for a kept answer.
    """
    made = encode(*args, **kwargs)
    for hook in getattr(pipe, "_all_hooks", []):
        hook.offload()
    return made


def _is_plain(value: Any) -> bool:
    """No tensor, no picture: what `repr` tells in full."""
    import torch

    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, str | int | float | torch.device | torch.dtype)


def _moved(value: Any, device: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_moved(item, device) for item in value)
    return value.to(device) if hasattr(value, "to") else value
