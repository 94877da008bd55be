"""The entry point of our images: secrets come as files and become the environment of one process.

    python -m deployments.images.secret_files prefect server start

With `PREFECT_API_AUTH_STRING_FILE=/run/secrets/auth` the command gets that file's content as PREFECT_API_AUTH_STRING.
Prefect itself reads secrets from the environment or a profile only (PrefectHQ/prefect#11577). In this way none of them
is in an image, a compose file or what `docker inspect` shows. Standard library alone: it runs before everything else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

#: These names alone: PREFECT_API_SSL_CERT_FILE, for one, is a setting of its own and no secret.
SECRETS = (
    "PREFECT_API_AUTH_STRING",
    "PREFECT_SERVER_API_AUTH_STRING",
    "PREFECT_SERVER_DATABASE_PASSWORD",
    "PREFECT_SERVER_ENCRYPTION_KEY",
    "LONGTAKE_SUPABASE_KEY",
)
_SUFFIX = "_FILE"


class UnusableSecret(Exception):
    """A secret cannot be read, is empty, or is given twice. The message names variable and file, never the content."""


def with_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` with each of `SECRETS` read from its file. Raises `UnusableSecret`."""
    files = {name: environ[name + _SUFFIX] for name in SECRETS if name + _SUFFIX in environ}
    if twice := sorted(files.keys() & environ.keys()):
        raise UnusableSecret(f"{twice[0]} and {twice[0]}{_SUFFIX} are both set. Unset one of them.")
    kept = {name: value for name, value in environ.items() if name.removesuffix(_SUFFIX) not in files}
    return kept | {name: _read(name, Path(path)) for name, path in files.items()}


def _read(name: str, path: Path) -> str:
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except PermissionError:
        raise UnusableSecret(
            f"{name}{_SUFFIX} names {path}, which user {os.getuid()} may not read. "
            f"Make that user its owner on the host: chown {os.getuid()} FILE"
        ) from None
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UnusableSecret(f"{name}{_SUFFIX} names {path}: {why}. Write the secret into that file.") from None
    if not secret:
        raise UnusableSecret(f"{name}{_SUFFIX} names {path}, which is empty. Write the secret into it.")
    return secret


def main(arguments: Sequence[str]) -> None:
    """Become the command that `arguments` name. Ends with a line on stderr and code 1 when a secret is missing."""
    if not arguments:
        sys.exit("No command. Name one, such as: prefect worker start --pool gpu")
    try:
        environ = with_secrets(os.environ)
    except UnusableSecret as error:
        sys.exit(str(error))
    try:
        os.execvpe(arguments[0], list(arguments), environ)  # noqa: S606  (no shell is the point)
    except OSError as error:
        sys.exit(f"{arguments[0]} cannot be started: {error.strerror}.")


if __name__ == "__main__":
    main(sys.argv[1:])
