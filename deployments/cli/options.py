"""The options that every command has, and the settings they lead to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from deployments.cli.exits import Refusal

if TYPE_CHECKING:  # pydantic costs more than the whole help page
    from pydantic import ValidationError

    from deployments.settings import Settings

#: A switch without a --no- form.
Switch = Annotated[bool, Parameter(negative=(), show_default=False)]
#: An option that may be given several times.
REPEATABLE = Parameter(consume_multiple=False, negative=(), show_default=lambda values: ", ".join(map(str, values)))


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Home:
    home: Path | None = None
    "The folder that holds queue, files and logs; otherwise LONGTAKE_HOME, or ~/.longtake."


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Common(Home):
    json: Switch = False
    "Write one JSON document to stdout, for programs."


HERE, DEFAULTS = Home(), Common()


def load_settings(common: Home, **overrides: Any) -> Settings:
    """Environment and options together. Raises `Refusal` naming the variable."""
    from pydantic import ValidationError

    from deployments.settings import Settings, UnknownSetting

    try:
        return Settings.load(home=common.home, **overrides)
    except UnknownSetting as error:
        raise Refusal(str(error), code="unknown_setting") from None
    except ValidationError as error:
        raise Refusal(_sentences(error), "Correct or unset it.", code="invalid_setting") from None


def _sentences(error: ValidationError) -> str:
    from deployments.settings import PREFIX

    found = (
        f"{PREFIX}{'_'.join(str(part) for part in one['loc']).upper()}: {one['msg']}, not {one['input']!r}."
        for one in error.errors()
    )
    return " ".join(found)
