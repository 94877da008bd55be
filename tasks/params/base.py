"""Parameters of a task, validated at enqueue and again when a run reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tasks.errors import InvalidInput

MAX_SIDE = 8192
MAX_PIXELS = 8192 * 4352  # an 8K film, rounded up to the grid


class Params(BaseModel):
    """A known field of the wrong type is refused; unknown ones are kept and ignored, and `unknown()` names them."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    @classmethod
    def read(cls, params: Mapping[str, Any]) -> Self:
        """Raises `InvalidInput` naming every offending field, its value and the rule."""
        try:
            return cls.model_validate(dict(params))
        except ValidationError as error:
            raise InvalidInput("; ".join(_sentence(e) for e in error.errors())) from None

    def unknown(self) -> list[str]:
        """Dotted names of the fields that nothing reads, here and in nested parameters."""
        names = list(self.model_extra or ())
        for field in type(self).model_fields:
            value = getattr(self, field)
            if isinstance(value, Params):
                names += [f"{field}.{name}" for name in value.unknown()]
        return sorted(names)


def _sentence(error: Any) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    path = [str(part) for part in error["loc"]]
    # A rule about several fields is raised by their model and begins with the name of the one to change.
    if named := re.match(r"([a-z_]+): (.*)", message, re.DOTALL):
        path, message = [*path, named[1]], named[2]
    where = ".".join(path) or "params"
    shown = repr(error.get("input"))
    # A missing field's "input" is the whole object, and long values would drown the message.
    given = "" if error["type"] == "missing" or len(shown) > 80 else f" (got {shown})"
    return f"{where}: {message}{given}"


def parse_size(text: str) -> tuple[int, int]:
    """ "832x480" to (832, 480). Raises ValueError with what to do."""
    match = re.fullmatch(r"\s*(\d{1,6})\s*[xX×]\s*(\d{1,6})\s*", text)
    if not match:
        raise ValueError('give the size as "WIDTHxHEIGHT" in pixels, such as "832x480"')
    width, height = int(match[1]), int(match[2])
    if min(width, height) < 16:
        raise ValueError("each side must be at least 16 pixels")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ValueError(f"at most {MAX_SIDE} pixels a side and {MAX_PIXELS:,} in all; scale down")
    return width, height


def floor_to(size: tuple[int, int], multiple: int) -> tuple[int, int]:
    """Each side down to the engine's multiple."""
    return (max(multiple, size[0] // multiple * multiple), max(multiple, size[1] // multiple * multiple))


def _checked_size(text: str) -> str:
    parse_size(text)
    return text


Size = Annotated[str, AfterValidator(_checked_size)]
Seed = Annotated[int, Field(ge=-1, le=2**63 - 1)]
Fps = Annotated[float, Field(gt=0, le=240)]
FrameCount = Annotated[int, Field(ge=1, le=100_000)]
#: How a picture of another shape is brought to the size of the film.
Fit = Literal["cover", "contain", "blur"]
