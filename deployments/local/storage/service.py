"""`/storage/v1`: buckets and objects, the part of Supabase Storage's HTTP that the clients call."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote

import jwt
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from deployments.local.answers import Handler, InvalidToken, NotEmulated, not_emulated, route
from deployments.local.caller import Caller, identify
from deployments.local.keys import Claims, Keys
from deployments.local.project import size_in_bytes
from deployments.local.storage.errors import (
    StorageRefusal,
    denied,
    invalid,
    no_bucket,
    no_object,
    too_large,
    wrong_type,
)
from deployments.local.storage.files import Files, Received, receive
from deployments.local.storage.rows import ADMIN, Bucket, Entry, Row, Rows, plain

_NAME = re.compile(r"[\w/!.*'() &$@=;:+,?-]{1,1024}", re.ASCII)
_UPLOAD_URL_SECONDS = 7200


@dataclasses.dataclass(frozen=True, slots=True)
class Terms:
    """What the bytes of an upload have to keep to: at most `limit` of them, of a type that the bucket takes."""

    bucket: Bucket
    limit: int

    def accept(self, content_type: str) -> None:
        """Raises `StorageRefusal`."""
        if not self.bucket.allows(content_type):
            raise wrong_type(content_type)


class Storage:
    def __init__(self, rows: Rows, files: Files, keys: Keys, limit: int) -> None:
        self.rows = rows
        self.files = files
        self.keys = keys
        self.limit = limit

    def routes(self) -> list[Route]:
        return [
            _route("/bucket", {"GET": self._buckets, "POST": self._create_bucket}),
            _route("/bucket/{bucket}", {"GET": self._bucket}),
            _route("/object/public/{bucket}/{name:path}", {"GET": self._public}),
            _route("/object/authenticated/{bucket}/{name:path}", {"GET": self._download}),
            _route("/object/info/public/{bucket}/{name:path}", {"GET": self._public_info}),
            _route("/object/info/authenticated/{bucket}/{name:path}", {"GET": self._info}),
            _route("/object/info/{bucket}/{name:path}", {"GET": self._info}),
            _route("/object/upload/sign/{bucket}/{name:path}", {"POST": self._sign_upload, "PUT": self._put_signed}),
            _route("/object/sign/{bucket}/{name:path}", {"POST": self._sign, "GET": self._signed}),
            _route("/object/sign/{bucket}", {"POST": self._sign_many}),
            _route("/object/list/{bucket}", {"POST": self._list}),
            _route("/object/list-v2/{bucket}", {"POST": not_emulated}),  # else it would name an object
            _route("/object/move", {"POST": self._move}),
            _route("/object/copy", {"POST": self._copy}),
            _route(
                "/object/{bucket}/{name:path}",
                {"GET": self._download, "POST": self._upload, "PUT": self._upload, "DELETE": self._delete},
            ),
            _route("/object/{bucket}", {"DELETE": self._delete_many}),
        ]

    def caller(self, request: Request) -> Caller:
        """Raises `StorageRefusal` for those who cannot prove who they are, also when they do not try."""
        try:
            caller = identify(request.headers, self.keys, apikey=request.headers.get("apikey"))
        except InvalidToken as error:
            raise denied(error.message) from None
        if not caller.has_token:
            raise StorageRefusal(400, "Error", "headers must have required property 'authorization'", "Error")
        return caller

    async def check(self, caller: Caller, entry: Entry, content_type: str | None = None, size: int = 0) -> Terms:
        """Whether it may be stored, as far as can be known before its bytes; what they have to keep to."""
        if not _NAME.fullmatch(entry.name) or entry.name.startswith("/"):
            raise StorageRefusal(400, "InvalidKey", f"Invalid key: {entry.name}")
        bucket = await self.rows.bucket(entry.bucket)
        terms = Terms(bucket, min(bucket.file_size_limit or self.limit, self.limit))
        if size > terms.limit:
            raise too_large()
        if content_type is not None:
            terms.accept(content_type)
        await self.rows.check_may_store(caller, entry)
        return terms

    async def store(self, entry: Entry, received: Received) -> Row:
        version = self.files.keep(received.path)
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        metadata = {
            **{"eTag": received.etag, "size": received.size, "mimetype": received.content_type},
            **{"cacheControl": received.cache_control, "lastModified": now},
            **{"contentLength": received.size, "httpStatusCode": 200},
        }
        try:
            row, former = await self.rows.store(
                dataclasses.replace(entry, version=version, metadata=metadata, user_metadata=received.user_metadata)
            )
        except StorageRefusal:
            self.files.drop(version)
            raise
        self.files.drop(former)
        return row

    def checked_token(self, token: str | None, entry: tuple[str, str], scope: str) -> Claims:
        try:
            claims = self.keys.verify_url(token or "")
        except jwt.PyJWTError as error:
            raise StorageRefusal(400, "InvalidJWT", str(error) or "The token is not valid.") from None
        if claims.get("scope") != scope or claims.get("url") != "/".join(entry):
            raise StorageRefusal(400, "InvalidSignature", "The token is for another object.")
        return claims

    # Buckets

    async def _buckets(self, request: Request) -> Response:
        return JSONResponse([plain(row) for row in await self.rows.buckets(self.caller(request))])

    async def _bucket(self, request: Request) -> Response:
        row = await self.rows.bucket_row(self.caller(request), request.path_params["bucket"])
        return JSONResponse(plain(row))

    async def _create_bucket(self, request: Request) -> Response:
        caller, body = self.caller(request), await _body(request)
        name = body.get("name") or body.get("id")
        if not isinstance(name, str) or not _NAME.fullmatch(name) or "/" in name or body.get("id", name) != name:
            raise StorageRefusal(400, "InvalidBucketName", "Bucket name invalid", "Invalid Input")
        limit = _size(body.get("file_size_limit"))
        if limit is not None and limit > self.limit:
            raise too_large()
        await self.rows.create_bucket(
            caller, Bucket(name, bool(body.get("public")), limit, body.get("allowed_mime_types"))
        )
        return JSONResponse({"name": name})

    # Bytes in

    async def _upload(self, request: Request) -> Response:
        caller = self.caller(request)
        replace = request.method == "PUT" or request.headers.get("x-upsert") == "true"
        return await self._receive(request, caller, Entry(*_address(request), caller.user_id, replace))

    async def _put_signed(self, request: Request) -> Response:
        claims = self.checked_token(request.query_params.get("token"), _address(request), "upload")
        entry = Entry(*_address(request), claims.get("owner"), bool(claims.get("upsert")))
        return await self._receive(request, ADMIN, entry)

    async def _receive(self, request: Request, caller: Caller, entry: Entry) -> Response:
        terms = await self.check(caller, entry)
        scratch = self.files.scratch()
        try:
            row = await self.store(entry, await receive(request, scratch, terms.limit, terms.accept))
        finally:
            scratch.unlink(missing_ok=True)
        return JSONResponse({"Id": str(row["id"]), "Key": f"{entry.bucket}/{entry.name}"})

    async def _sign_upload(self, request: Request) -> Response:
        caller, (bucket, name) = self.caller(request), _address(request)
        replace = request.headers.get("x-upsert") == "true"
        await self.check(caller, Entry(bucket, name, caller.user_id, replace))
        claims = {"url": f"{bucket}/{name}", "scope": "upload", "owner": caller.user_id, "upsert": replace}
        token = self.keys.sign_url(claims, _UPLOAD_URL_SECONDS)
        return JSONResponse({"url": f"/object/upload/sign/{bucket}/{quote(name)}?token={token}", "token": token})

    # Bytes out

    async def _public(self, request: Request) -> Response:
        return self._send(request, await self._public_row(request))

    async def _public_info(self, request: Request) -> Response:
        return _information(await self._public_row(request))

    async def _public_row(self, request: Request) -> Row:
        bucket, name = _address(request)
        if not (await self.rows.bucket(bucket)).public:
            raise no_bucket()
        return await self.rows.find(ADMIN, bucket, name)

    async def _download(self, request: Request) -> Response:
        return self._send(request, await self.rows.find(self.caller(request), *_address(request)))

    async def _info(self, request: Request) -> Response:
        return _information(await self.rows.find(self.caller(request), *_address(request), "object.get_info"))

    async def _signed(self, request: Request) -> Response:
        self.checked_token(request.query_params.get("token"), _address(request), "download")
        return self._send(request, await self.rows.find(ADMIN, *_address(request)))

    async def _sign(self, request: Request) -> Response:
        body, (bucket, name) = await _body(request), _address(request)
        await self.rows.find(self.caller(request), bucket, name, "object.sign")
        return JSONResponse({"signedURL": self._signed_url(bucket, name, body)})

    async def _sign_many(self, request: Request) -> Response:
        caller, body, bucket = self.caller(request), await _body(request), request.path_params["bucket"]
        answers: list[Row] = []
        for path in _names(body.get("paths")):
            try:
                await self.rows.find(caller, bucket, path, "object.sign_many")
                answers.append({"error": None, "path": path, "signedURL": self._signed_url(bucket, path, body)})
            except StorageRefusal:
                message = "Either the object does not exist or you do not have access to it"
                answers.append({"error": message, "path": path, "signedURL": None})
        return JSONResponse(answers)

    def _signed_url(self, bucket: str, name: str, body: Row) -> str:
        if body.get("transform"):
            raise NotEmulated("Transforming images")
        seconds = int(body.get("expiresIn") or 0)
        if seconds <= 0:
            raise invalid("body must have required property 'expiresIn'")
        token = self.keys.sign_url({"url": f"{bucket}/{name}", "scope": "download"}, seconds)
        return f"/object/sign/{bucket}/{quote(name)}?token={token}"

    def _send(self, request: Request, row: Row) -> Response:
        path, metadata = self.files.version(row["version"]), row["metadata"]
        if not path.exists():
            raise no_object()
        modified = format_datetime(datetime.fromisoformat(metadata["lastModified"]), usegmt=True)
        headers = {"etag": metadata["eTag"], "cache-control": metadata["cacheControl"], "last-modified": modified}
        if request.headers.get("if-none-match") == metadata["eTag"]:
            return Response(status_code=304, headers=headers)
        name = request.query_params.get("download")
        if name is not None:
            headers["content-disposition"] = f"attachment; filename*=UTF-8''{quote(name)}" if name else "attachment"
        return FileResponse(path, headers=headers, media_type=metadata["mimetype"])

    # Names

    async def _list(self, request: Request) -> Response:
        caller, body = self.caller(request), await _body(request)
        rows = await self.rows.list(caller, request.path_params["bucket"], body)
        return JSONResponse([plain(row) for row in rows])

    async def _move(self, request: Request) -> Response:
        caller, body = self.caller(request), await _body(request)
        source, target = _transfer(body)
        await self.check(ADMIN, Entry(*target, None, replace=False))
        row = await self.rows.move(caller, source, target)
        return JSONResponse({"message": "Successfully moved", "Id": str(row["id"]), "Key": target[1]})

    async def _copy(self, request: Request) -> Response:
        caller, body = self.caller(request), await _body(request)
        source, target = _transfer(body)
        found = await self.rows.find(caller, *source, "object.copy")
        entry = Entry(*target, caller.user_id, request.headers.get("x-upsert") == "true")
        await self.check(caller, entry, found["metadata"]["mimetype"], found["metadata"]["size"])
        version = self.files.share(found["version"])
        row, former = await self.rows.store(
            dataclasses.replace(
                entry, version=version, metadata=found["metadata"], user_metadata=found["user_metadata"]
            )
        )
        self.files.drop(former)
        return JSONResponse({"Id": str(row["id"]), "Key": "/".join(target)})

    async def _delete(self, request: Request) -> Response:
        bucket, name = _address(request)
        if not await self._deleted(self.caller(request), bucket, [name]):
            raise no_object()
        return JSONResponse({"message": "Successfully deleted"})

    async def _delete_many(self, request: Request) -> Response:
        caller, body = self.caller(request), await _body(request)
        rows = await self._deleted(caller, request.path_params["bucket"], _names(body.get("prefixes")))
        return JSONResponse([plain(row) for row in rows])

    async def _deleted(self, caller: Caller, bucket: str, names: list[str]) -> list[Row]:
        rows = await self.rows.delete(caller, bucket, names)
        for row in rows:
            self.files.drop(row["version"])
        return rows


def _route(path: str, handlers: Mapping[str, Handler]) -> Route:
    return route(f"/storage/v1{path}", handlers)


def _address(request: Request) -> tuple[str, str]:
    return request.path_params["bucket"], request.path_params["name"]


async def _body(request: Request) -> Row:
    try:
        body: Any = await request.json()
    except ValueError:
        raise invalid("The body is no JSON.") from None
    if not isinstance(body, dict):
        raise invalid("body must be object")
    return body


def _names(said: Any) -> list[str]:
    if not isinstance(said, list) or not all(isinstance(name, str) for name in said):
        raise invalid("body must have a list of names")
    return said


def _size(said: Any) -> int | None:
    try:
        return size_in_bytes(said)
    except ValueError as error:
        raise invalid(str(error)) from None


def _transfer(body: Row) -> tuple[tuple[str, str], tuple[str, str]]:
    bucket, source, target = (body.get(name) for name in ("bucketId", "sourceKey", "destinationKey"))
    if not (isinstance(bucket, str) and isinstance(source, str) and isinstance(target, str)):
        raise invalid("body must have bucketId, sourceKey and destinationKey")
    return (bucket, source), (str(body.get("destinationBucket") or bucket), target)


def _information(row: Row) -> Response:
    metadata = row["metadata"]
    return JSONResponse(
        {
            **plain({name: row[name] for name in ("id", "name", "version", "bucket_id", "created_at")}),
            "size": metadata["size"],
            "content_type": metadata["mimetype"],
            "cache_control": metadata["cacheControl"],
            "etag": metadata["eTag"],
            "last_modified": metadata["lastModified"],
            "metadata": row["user_metadata"],
        }
    )
