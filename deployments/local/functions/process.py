"""The Deno process that serves a project's functions, and the cache of what they import."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from deployments.local.project import Function, Project
from deployments.stack.errors import StackError
from deployments.stack.home import cache_folder
from deployments.stack.lifeline import interrupted_with_parent
from deployments.stack.process import Recipe

_HERE = Path(__file__).resolve().parent
_MAIN = _HERE / "main.ts"
#: As on hosted projects.
_TIMEOUT_MS = 150_000
#: What Deno itself may read from our environment: how to reach a registry, the first time.
_INHERITED = re.compile(r"(?i)(PATH|HOME|LANG|TMPDIR|DENO_.*|NPM_CONFIG_.*|.*_PROXY|SSL_CERT_.*|NODE_EXTRA_CA_CERTS)")


class FunctionsError(StackError):
    """The functions cannot be served; the message says what Deno said."""


def deno() -> str:
    """The program of the wheel `deno`, beside our interpreter; else one on the path."""
    beside = Path(sys.executable).with_name("deno")
    found = str(beside) if beside.exists() else shutil.which("deno")
    if not found:
        raise FunctionsError("Deno is missing: it runs the edge functions.", "Install it with: pip install deno")
    return found


class Functions:
    """`folder` is ours to write in; `environment` is what the functions see."""

    def __init__(self, project: Project, folder: Path, environment: Mapping[str, str]) -> None:
        self._project = project
        self._folder = folder
        self._served = project.functions()
        self._env = {
            "DENO_TLS_CA_STORE": "mozilla,system",  # behind a company's proxy too
            **{name: value for name, value in os.environ.items() if _INHERITED.fullmatch(name)},
            "DENO_DIR": os.environ.get("DENO_DIR") or str(cache_folder() / "deno"),
            "DENO_NO_UPDATE_CHECK": "1",
            "NO_COLOR": "1",
            **environment,
            **_dotenv(project.folder / "functions" / ".env"),
        }

    def __bool__(self) -> bool:
        return bool(self._served)

    def recipe(self, port: int, log: Path) -> Recipe:
        """Least rights: the loopback, reading the functions; no writing, no programs, no libraries."""
        settings = {
            "port": port,
            "folder": str(self._source),
            "timeout": _TIMEOUT_MS,
            "functions": {one.name: one.entry.as_uri() for one in self._served},
        }
        argv = [
            *(deno(), "run", "--quiet", "--no-prompt", "--unstable-worker-options", *self._resolution()),
            *("--allow-net=127.0.0.1", f"--allow-read={self._source},{_HERE},{self._folder}"),
            *("--allow-env", "--allow-sys", str(_MAIN), json.dumps(settings)),
        ]
        return Recipe("functions", argv, self._env, self._source, log, before_exec=interrupted_with_parent)

    def cache(self) -> None:
        """Fetch what the functions import, unless these very sources were cached before. Needs the network only then.

        Raises `FunctionsError`.
        """
        self._import_map.write_text(json.dumps({"imports": {}, "scopes": _scopes(self._served)}))
        stamp = Path(self._env["DENO_DIR"]) / "longtake" / self._digest()
        if stamp.exists():
            return
        entries = [str(one.entry) for one in self._served]
        argv = [deno(), "cache", "--quiet", *self._resolution(), str(_MAIN), str(_HERE / "worker.ts"), *entries]
        done = subprocess.run(argv, env=self._env, cwd=self._source, capture_output=True, text=True)
        if done.returncode:
            raise FunctionsError(
                f"Deno cannot load what the functions import: {done.stderr.strip()}",
                "The first start fetches npm packages and needs the network; later ones do not.",
            )
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.touch()

    @property
    def _source(self) -> Path:
        return self._project.folder / "functions"

    @property
    def _import_map(self) -> Path:
        return self._folder / "import_map.json"

    def _resolution(self) -> tuple[str, ...]:
        lock = self._source / "deno.lock"
        locked = (f"--lock={lock}", "--frozen") if lock.exists() else ("--no-lock",)
        return (*locked, "--no-config", "--node-modules-dir=none", f"--import-map={self._import_map}")

    def _digest(self) -> str:
        """Of all sources that could import something."""
        digest = hashlib.sha256(self._import_map.read_bytes())
        for path in sorted((*self._source.rglob("*"), *_HERE.glob("*.ts"))):
            if path.suffix in (".ts", ".js", ".json", ".lock"):
                digest.update(str(path).encode() + path.read_bytes())
        return digest.hexdigest()[:32]


def _scopes(functions: Iterable[Function]) -> dict[str, dict[str, str]]:
    """One import map for all: each function's own holds for its folder only."""
    scopes = {}
    for function in functions:
        if function.import_map:
            said = re.sub(r"^\s*//.*$", "", function.import_map.read_text(), flags=re.MULTILINE)
            imports = json.loads(said).get("imports", {})
            base = function.import_map.parent
            scopes[f"{function.entry.parent.as_uri()}/"] = {
                name: _absolute(base, target) if target.startswith(".") else target for name, target in imports.items()
            }
    return scopes


def _absolute(base: Path, target: str) -> str:
    return (base / target).resolve().as_uri() + ("/" if target.endswith("/") else "")


def _dotenv(path: Path) -> dict[str, str]:
    """`functions/.env`, as the Supabase CLI reads it."""
    if not path.exists():
        return {}
    lines = re.findall(r"^\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*?)\s*$", path.read_text(), flags=re.MULTILINE)
    return {name: value.strip("'\"") for name, value in lines}
