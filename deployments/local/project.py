"""What a project folder says: config.toml, migrations, seeds, functions. Layout of the Supabase CLI."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.stack.errors import StackError

#: The project of this repository.
OURS = Path(__file__).resolve().parents[2] / "supabase"

GIGABYTE = 1000**3
_DEFAULT_FILE_LIMIT = 5 * GIGABYTE


class ProjectError(StackError):
    """The project folder cannot be used; the message names the file."""


@dataclass(frozen=True, slots=True)
class Migration:
    version: str
    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Bucket:
    name: str
    public: bool
    file_size_limit: int | None
    allowed_mime_types: list[str] | None


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    entry: Path
    verify_jwt: bool
    import_map: Path | None


@dataclass(frozen=True, slots=True)
class Project:
    folder: Path
    config: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Project:
        """Raises `ProjectError`."""
        path = folder / "config.toml"
        try:
            config = tomllib.loads(path.read_text())
        except OSError as error:
            raise ProjectError(f"Cannot read {path}: {error.strerror}.", "Give the folder that holds it.") from error
        except tomllib.TOMLDecodeError as error:
            raise ProjectError(f"{path} is no valid TOML: {error}.") from error
        if config.get("api", {}).get("auto_expose_new_tables"):
            raise ProjectError(
                f"{path} sets api.auto_expose_new_tables, which the local stack does not emulate.",
                "Grant tables in the migrations, as hosted projects demand.",
            )
        return cls(folder.resolve(), config)

    @property
    def schemas(self) -> list[str]:
        return list(self.config.get("api", {}).get("schemas", ["public"]))

    @property
    def extra_search_path(self) -> list[str]:
        return list(self.config.get("api", {}).get("extra_search_path", ["public", "extensions"]))

    @property
    def max_rows(self) -> int:
        return int(self.config.get("api", {}).get("max_rows", 1000))

    @property
    def file_size_limit(self) -> int:
        return size_in_bytes(self.config.get("storage", {}).get("file_size_limit")) or _DEFAULT_FILE_LIMIT

    @property
    def jwt_expiry(self) -> int:
        return int(self.config.get("auth", {}).get("jwt_expiry", 3600))

    def migrations(self) -> list[Migration]:
        """In the order in which they are applied. Files of other names are ignored, as the Supabase CLI does."""
        named = ((re.fullmatch(r"(\d+)_(.+)\.sql", path.name), path) for path in self._files("migrations", "*.sql"))
        return [Migration(match[1], match[2], path) for match, path in named if match]

    def seeds(self) -> list[Path]:
        seed = self.config.get("db", {}).get("seed", {})
        if not seed.get("enabled", True):
            return []
        patterns = seed.get("sql_paths", ["./seed.sql"])
        return [path for pattern in patterns for path in sorted(self.folder.glob(pattern.removeprefix("./")))]

    def buckets(self) -> list[Bucket]:
        return [
            Bucket(
                name,
                bool(said.get("public", False)),
                size_in_bytes(said.get("file_size_limit")),
                said.get("allowed_mime_types") or None,
            )
            for name, said in self.config.get("storage", {}).get("buckets", {}).items()
        ]

    def functions(self) -> list[Function]:
        """The folders with an `index.ts`; those with a leading underscore are shared code."""
        said = self.config.get("functions", {})
        return [
            self._function(entry, said.get(entry.parent.name, {}))
            for entry in self._files("functions", "*/index.ts")
            if entry.parent.name[0] not in "_." and said.get(entry.parent.name, {}).get("enabled", True)
        ]

    def _function(self, entry: Path, said: dict[str, Any]) -> Function:
        maps = [self.folder / said["import_map"]] if "import_map" in said else []
        maps += [entry.with_name("deno.json"), self.folder / "functions" / "deno.json"]
        import_map = next((path.resolve() for path in maps if path.exists()), None)
        return Function(entry.parent.name, entry, bool(said.get("verify_jwt", True)), import_map)

    def _files(self, folder: str, pattern: str) -> list[Path]:
        return sorted((self.folder / folder).glob(pattern))


def size_in_bytes(said: int | str | None) -> int | None:
    """`50MiB`, `5GB` or a number of bytes. Raises `ValueError`."""
    if said is None or isinstance(said, int):
        return said
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", said.strip().lower())
    if not match:
        raise ValueError(f"{said!r} is no file size; write 20GB, 20MB, 30KB or a number of bytes.")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** " kmgt".index(match[2] or " "))
