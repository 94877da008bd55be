"""The Prefer header. What would change an answer and is not emulated is an error."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from deployments.local.answers import NotEmulated

_ABSENT = (
    "tx=rollback",
    "missing=default",
    "return=headers-only",
    "count=planned",
    "max-affected",
    "timezone",
    "params",
)


@dataclass(frozen=True, slots=True)
class Preferences:
    representation: bool
    resolution: str | None
    count: bool
    applied: dict[str, str]

    @classmethod
    def of(cls, request: Request) -> Preferences:
        """Raises `NotEmulated`."""
        said = [part.strip() for part in ",".join(request.headers.getlist("prefer")).split(",") if part.strip()]
        for part in said:
            if part in _ABSENT or part.partition("=")[0] in _ABSENT:
                raise NotEmulated(f"Prefer: {part}")
        chosen = dict(part.split("=", 1) for part in said if "=" in part)
        resolution = chosen.get("resolution")
        if resolution not in ("merge-duplicates", "ignore-duplicates"):
            resolution = None
        known = [f"{name}={chosen[name]}" for name in ("resolution", "return", "count") if name in chosen]
        return cls(
            chosen.get("return") == "representation",
            resolution,
            "count" in chosen,
            {"preference-applied": ", ".join(known)} if known else {},
        )
