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


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Supabase:
    supabase_url: str | None = None
    "A Supabase project as queue and storage; `local`: the one of `longtake supabase start`."
    supabase_key_file: Path | None = None
    "A file with the key to it; otherwise LONGTAKE_SUPABASE_KEY."
    supabase_project: str | None = None
    "The row of its table projects that your tasks belong to."

    def overrides(self) -> dict[str, Any]:
        """As settings. Raises `Refusal` for a file that cannot be read."""
        return {
            "supabase_url": self.supabase_url,
            "supabase_key": self._key(),
            "supabase_project": self.supabase_project,
        }

    def _key(self) -> str | None:
        if self.supabase_key_file is None:
            return None
        try:
            return self.supabase_key_file.expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeError) as error:
            raise Refusal(
                f"{self.supabase_key_file} cannot be read: {error}.", "Give a file that holds the key."
            ) from None


HERE, DEFAULTS, ELSEWHERE = Home(), Common(), Supabase()


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
