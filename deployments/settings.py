"""What a person may set, in one frozen class; the only place where the environment is read."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "LONGTAKE_"
#: In the environment of every process that `up` starts, with the home as its value. Set by us, not by people.
MARKER = "LONGTAKE_STACK"

#: A key goes from process to process in the environment, where only its owner can read it.
_KEY = f"{PREFIX}SUPABASE_KEY"

POOLS = ("control", "cpu", "gpu")
#: Does the tasks of `gpu` in containers, wherever somebody starts a worker for it; set-up makes it, `up` starts none.
GPU_DOCKER = "gpu-docker"


class UnknownSetting(ValueError):
    """LONGTAKE_… is not a setting. Did you mean …?"""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        near = difflib.get_close_matches(_bare(name), map(_bare, known), n=1, cutoff=0.5)
        self.name = name
        self.nearest = PREFIX + near[0] if near else None
        hint = f"Did you mean {self.nearest}?" if self.nearest else f"Known: {', '.join(known)}."
        super().__init__(f"{name} is not a setting of Longtake. {hint}")


def _bare(name: str) -> str:
    """Without the prefix, which makes all names alike."""
    return name.upper().removeprefix(PREFIX)


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the Prefect API is and what it asks for. The auth string stays out of logs and of repr."""

    api_url: str
    auth_string: str | None
    source: str

    def __repr__(self) -> str:
        return f"Connection({self.api_url!r}, source={self.source!r})"

    @property
    def ui_url(self) -> str:
        return self.api_url.rstrip("/").removesuffix("/api")

    def environment(self) -> dict[str, str]:
        """What a Prefect process needs to reach this server."""
        auth = {"PREFECT_API_AUTH_STRING": self.auth_string} if self.auth_string else {}
        return {"PREFECT_API_URL": self.api_url, **auth}


class Settings(BaseSettings):
    """Each field is LONGTAKE_<NAME> in the environment. Build it with `load`, which refuses unknown names."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    home: Path = Field(Path("~/.longtake"), description="Everything Longtake keeps: queue, files, server data, logs.")
    engine: str = Field("motion", description="The engine that makes segments and clips: motion, wan.")
    model: str = Field("", description="The model it loads when a task names none; empty: the engine's default.")
    image_engine: str = Field("sketch", description="The engine that makes single images: sketch, image.")
    image_model: str = Field("", description="The model it loads when a task names none; empty: the engine's default.")
    device: str = Field(
        "", description="Where models run: auto, cuda, cuda:1, mps or cpu; empty: what the workspace block says, auto."
    )
    control_slots: int = Field(4, ge=2, le=64, description="Runs at once in pool control; poll holds one of them.")
    cpu_slots: int = Field(1, ge=1, le=64, description="Runs at once in pool cpu.")
    gpu_slots: int = Field(1, ge=1, le=64, description="Runs at once in pool gpu.")
    server_port: int = Field(0, ge=0, le=65535, description="Port of the Prefect server that `up` starts; 0: any.")
    worker_poll_seconds: float = Field(1.0, ge=0.2, le=60, description="How often a worker looks for runs.")
    supabase_url: str = Field(
        "", description="A Supabase project as queue and storage, or `local`; empty: SQLite and a folder of the home."
    )
    supabase_key: SecretStr = Field(
        SecretStr(""), description="The key to it: sb_secret_…, a user's JWT, or a token lt_…. Never in a command line."
    )
    supabase_publishable_key: str = Field("", description="The sb_publishable_… key, needed beside a user's JWT.")
    supabase_project: UUID | None = Field(None, description="The row of its table projects that your tasks belong to.")
    supabase_bucket: str = Field(
        "image_uploads", description="Its Storage bucket; SUPABASE_VIDEO_BUCKET says the same."
    )
    stop_grace_seconds: float = Field(20.0, ge=0, le=3600, description="How long Ctrl-C waits for running work.")

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ, **overrides: Any) -> Self:
        """Read the environment; `overrides` (a command's options) win, None leaves a setting alone.

        Refuses: `UnknownSetting`; pydantic's `ValidationError` for a value of the wrong kind.
        """
        known = cls.names()
        for name in environ:
            if name.upper().startswith(PREFIX) and name.upper() not in (*known, MARKER):
                raise UnknownSetting(name, known)
        if bucket := environ.get("SUPABASE_VIDEO_BUCKET"):
            overrides.setdefault("supabase_bucket", environ.get(f"{PREFIX}SUPABASE_BUCKET", bucket))
        return cls(**{key: value for key, value in overrides.items() if value is not None})

    def for_child(self) -> tuple[str, dict[str, str]]:
        """These settings for a process of ours: (JSON, which may stand in its command line, and environment)."""
        key = self.supabase_key.get_secret_value()
        return self.model_dump_json(exclude={"supabase_key"}), {_KEY: key} if key else {}

    @classmethod
    def from_parent(cls, document: str, environ: Mapping[str, str] = os.environ) -> Self:
        """The inverse of `for_child`."""
        return cls.model_validate({**json.loads(document), "supabase_key": environ.get(_KEY, "")})

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(PREFIX + field.upper() for field in cls.model_fields)

    @property
    def queue_path(self) -> Path:
        return self.home / "queue.db"

    @property
    def storage_root(self) -> Path:
        return self.home / "storage"

    @property
    def work_dir(self) -> Path:
        return self.home / "work"

    @property
    def tmp_dir(self) -> Path:
        """Temporary files of the processes that `up` starts; emptied at every start."""
        return self.home / "tmp"

    @property
    def logs_dir(self) -> Path:
        return self.home / "logs"

    @property
    def prefect_home(self) -> Path:
        return self.home / "prefect"

    @property
    def postgres_dir(self) -> Path:
        return self.home / "postgres"

    @property
    def server_file(self) -> Path:
        """Where `up` writes how to reach its server; mode 0600, since it carries the auth string."""
        return self.home / "server.json"

    def slots(self, pool: str) -> int:
        slots: int = getattr(self, f"{pool.partition('-')[0]}_slots")
        return slots

    def connection(self, environ: Mapping[str, str] = os.environ) -> Connection | None:
        """PREFECT_API_URL if it is set, else the server that `up` last started in this home, else None."""
        if url := environ.get("PREFECT_API_URL"):
            return Connection(url, environ.get("PREFECT_API_AUTH_STRING"), "PREFECT_API_URL")
        try:
            written = json.loads(self.server_file.read_text())
            return Connection(written["api_url"], written["auth_string"], str(self.server_file))
        except (OSError, ValueError, KeyError):
            return None
