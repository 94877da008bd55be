"""Params and results as JSON: what may be stored, in which spelling, and what is never stored (I10)."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from blocks.queue.errors import InvalidTask

MAX_PARAMS_BYTES = 256 * 1024
MAX_RESULT_BYTES = 1024 * 1024
MAX_METADATA_BYTES = 16 * 1024
#: Deeper than any task needs, shallower than the recursion limit of any reader.
MAX_DEPTH = 64

#: A key ends like one of these (case and punctuation aside) and holds a non-empty string: it is a secret.
SECRET_KEYS = (
    "accesskey",
    "accesstoken",
    "apikey",
    "apisecret",
    "authorization",
    "authtoken",
    "bearertoken",
    "clientsecret",
    "idtoken",
    "jwt",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "refreshtoken",
    "secret",
    "secretkey",
    "servicekey",
    "servicerolekey",
)
_JWT = r"eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*"
#: Only a whole value counts: a signed URL carries a token too, is meant to be handed over, and expires.
_SECRET_VALUE = re.compile(rf"\s*(?:(?i:bearer)\s+\S+|{_JWT}|sb_secret_\S+)\s*")


def params_text(params: object) -> str:
    """The canonical JSON text of `params`. Refuses what `plain` refuses, no object, and over 256 KB."""
    return _object_text(params, field="params", limit=MAX_PARAMS_BYTES, secrets=False)


def result_text(result: object) -> str:
    """The canonical JSON text of a `result`, at most 1 MB."""
    return _object_text(result, field="result", limit=MAX_RESULT_BYTES, secrets=True)


def metadata_text(metadata: object) -> str:
    """The canonical JSON text of a worker's `metadata`, at most 16 KB."""
    return _object_text(metadata, field="metadata", limit=MAX_METADATA_BYTES, secrets=True)


def digest(body: Mapping[str, Any]) -> str:
    """SHA-256 of a body, for I8: equal bodies have equal digests, in whichever order or number spelling they came."""
    return hashlib.sha256(canonical(_whole_numbers(body)).encode()).hexdigest()


def canonical(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


def _object_text(value: object, *, field: str, limit: int, secrets: bool) -> str:
    if not isinstance(value, Mapping):
        raise InvalidTask(
            f"{field} is {type(value).__name__}, not a JSON object.",
            hint='Send an object such as {"prompt": "…"}.',
            field=field,
        )
    text = canonical(_Walk(field, secrets_allowed=secrets).plain(value, field, depth=0))
    size = len(text.encode())
    if size > limit:
        raise InvalidTask(
            f"{field} has {size} bytes as UTF-8 JSON; at most {limit} are stored.",
            hint="Put large content into storage and send its path.",
            field=field,
            size=size,
            limit=limit,
        )
    return text


class _Walk:
    """One pass over a value that answers with plain JSON data, or refuses by path."""

    def __init__(self, field: str, *, secrets_allowed: bool) -> None:
        self._field = field
        self._secrets_allowed = secrets_allowed

    def plain(self, value: object, path: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise self._refusal(path, f"is nested deeper than {MAX_DEPTH} levels.", "Flatten it.")
        match value:
            case None | bool():
                return value
            case str():
                return self._string(value, path)
            case int() | float():
                return self._number(value, path)
            case Mapping():
                return {self._key(key, path): self._entry(key, item, path, depth) for key, item in value.items()}
            case list() | tuple():
                return [self.plain(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
        raise self._refusal(path, f"is {type(value).__name__}, which JSON cannot carry.", "Convert it first.")

    def _entry(self, key: str, value: object, path: str, depth: int) -> Any:
        inner = f"{path}.{key}"
        plain = self.plain(value, inner, depth + 1)
        if not self._secrets_allowed and isinstance(plain, str) and plain.strip() and is_secret_key(key):
            raise self._secret(inner)
        return plain

    def _key(self, key: object, path: str) -> str:
        if not isinstance(key, str):
            raise self._refusal(path, f"has the key {key!r}, which is no string.", "JSON keys are strings.")
        if not is_storable(key):
            raise self._refusal(path, f"has the key {key!r}, which no database stores.", "Remove the character.")
        return key

    def _string(self, value: str, path: str) -> str:
        if not is_storable(value):
            raise self._refusal(path, "has a NUL character or half a surrogate pair.", "Remove it.")
        if not self._secrets_allowed and _SECRET_VALUE.fullmatch(value):
            raise self._secret(path)
        return value

    def _number(self, value: float, path: str) -> float:
        if isinstance(value, float) and not math.isfinite(value):
            raise self._refusal(path, f"is {value}, which JSON cannot carry.", "Use null or a finite number.")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise self._refusal(path, "is an integer beyond 64 bits.", "Send it as a string.")
        return value

    def _secret(self, path: str) -> InvalidTask:
        hint = "Keep secrets in a Prefect block or an environment variable and send a reference."
        return self._refusal(path, "looks like a secret, and params are readable by many.", hint)

    def _refusal(self, path: str, problem: str, hint: str) -> InvalidTask:
        return InvalidTask(f"{path} {problem}", hint=hint, field=self._field, path=path)


def is_secret_key(key: str) -> bool:
    return re.sub(r"[^a-z0-9]", "", key.lower()).endswith(SECRET_KEYS)


def is_storable(text: str) -> bool:
    """PostgreSQL refuses NUL in text and jsonb, UTF-8 refuses lone surrogates; so does every backend."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _whole_numbers(value: Any) -> Any:
    # JavaScript and jsonb know one kind of number: 1 and 1.0 are the same body.
    match value:
        case float() if value.is_integer() and abs(value) < 2**53:
            return int(value)
        case Mapping():
            return {key: _whole_numbers(item) for key, item in value.items()}
        case list():
            return [_whole_numbers(item) for item in value]
    return value
