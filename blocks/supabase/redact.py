"""Keep secrets out of texts that people and logs read."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Any

_SECRETS = re.compile(
    r"sb_secret_[\w-]+|lt_[\w-]{20,}|sbp_[\w-]+"
    r"|eyJ[\w-]{5,}\.[\w-]+(?:\.[\w-]*)?"  # a JWT, whole or without its signature
    r"|(?<=token=)[^\s&\"']+|(?i:(?<=bearer ))[^\s\"']+"
)
_GONE = "[secret]"


def redact(text: str, known: Iterable[str] = ()) -> str:
    """`text` without the `known` secrets and without anything that looks like one."""
    for secret in known:
        if len(secret) >= 8:  # shorter ones would blank out ordinary words
            text = text.replace(secret, _GONE)
    return _SECRETS.sub(_GONE, text)


class _WithoutQuery(logging.Filter):
    """httpx logs every URL at INFO, and a signed upload carries its token in the query."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_bare(argument) for argument in record.args)
        return True


def _bare(argument: Any) -> Any:
    text = str(argument)
    return text.split("?", 1)[0] if "://" in text and "?" in text else argument


def quiet_httpx() -> None:
    log = logging.getLogger("httpx")
    if not any(isinstance(present, _WithoutQuery) for present in log.filters):
        log.addFilter(_WithoutQuery())
