"""Refusals in the form of Supabase Storage: HTTP 400 as a rule, the real status in the body."""

from __future__ import annotations

import psycopg
from psycopg_pool import PoolTimeout
from starlette.requests import Request
from starlette.responses import JSONResponse

from deployments.local.answers import Refused

RESUMABLE = "/storage/v1/upload/resumable"
_INTERNAL = 500


class StorageRefusal(Refused):
    """`status` is what the body says. The HTTP status tells a fault of the server, and TUS clients all."""

    def __init__(self, status: int, code: str, message: str, error: str | None = None) -> None:
        body = {"statusCode": str(status), "code": code, "error": error or code, "message": message}
        super().__init__(status, body)

    def response(self, request: Request) -> JSONResponse:
        as_it_is = self.status >= _INTERNAL or request.url.path.startswith(RESUMABLE)
        return JSONResponse(self.body, self.status if as_it_is else 400)


def no_bucket() -> StorageRefusal:
    return StorageRefusal(404, "NoSuchBucket", "Bucket not found", "Bucket not found")


def no_object() -> StorageRefusal:
    return StorageRefusal(404, "NoSuchKey", "Object not found", "not_found")


def too_large() -> StorageRefusal:
    message = "The object exceeded the maximum allowed size"
    return StorageRefusal(413, "EntityTooLarge", message, "Payload too large")


def wrong_type(content_type: str) -> StorageRefusal:
    return StorageRefusal(415, "InvalidMimeType", f"mime type {content_type} is not supported", "invalid_mime_type")


def denied(message: str) -> StorageRefusal:
    return StorageRefusal(403, "AccessDenied", message, "Unauthorized")


def invalid(message: str) -> StorageRefusal:
    return StorageRefusal(400, "InvalidRequest", message)


def from_database(error: Exception) -> StorageRefusal:
    if isinstance(error, PoolTimeout):
        return StorageRefusal(544, "DatabaseTimeout", "The connection to the database timed out")
    assert isinstance(error, psycopg.Error)
    message = error.diag.message_primary or "Internal server error"
    match error.sqlstate:
        case "42501":
            return denied(message)
        case "23505":
            return StorageRefusal(409, "ResourceAlreadyExists", "The resource already exists", "Duplicate")
        case "23503":
            return no_bucket()
    return StorageRefusal(_INTERNAL, "DatabaseError", message)
