"""Supabase Storage as far as uploads go, with faults to order. For what a real one does only by bad luck."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

import httpx

#: Called before a request is answered; what it returns is the answer instead, what it raises is the connection's end.
Fault = Callable[[httpx.Request], httpx.Response | None]


@dataclass
class FakeSupabase:
    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    sent: list[httpx.Request] = field(default_factory=list)
    #: The etag of stored bytes.
    etag: Callable[[bytes], str] = lambda content: hashlib.md5(content).hexdigest()
    before: Fault = lambda request: None
    #: Applied to an object when its upload ends.
    spoil: Callable[[bytes], bytes] = lambda content: content
    #: Answers whose request was carried out and whose answer is lost.
    lose: Callable[[httpx.Request], bool] = lambda request: False
    ticket: dict[str, str] = field(default_factory=dict)
    _wanted: dict[str, tuple[str, int]] = field(default_factory=dict)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = unquote(request.url.path)
        self.sent.append(request)
        if (faulty := self.before(request)) is not None:
            return faulty
        answer = self._answer(request, path)
        if self.lose(request):
            raise httpx.ReadError("the answer was lost")
        return answer

    def count(self, pattern: str) -> int:
        """How many requests there were whose method and path match."""
        return sum(1 for sent in self.sent if re.search(pattern, f"{sent.method} {unquote(sent.url.path)}"))

    def _answer(self, request: httpx.Request, path: str) -> httpx.Response:
        if path == "/functions/v1/generate-upload-url":
            return httpx.Response(200, json=self.ticket)
        if path.startswith("/storage/v1/upload/resumable"):
            return self._tus(request, path)
        where = re.fullmatch(
            r"/storage/v1/object/(?P<way>(?:info/|upload/)?(?:public/|authenticated/|sign/)?)films/(?P<name>.+)", path
        )
        if not where:
            return httpx.Response(404)
        name = where["name"]
        if request.method in ("POST", "PUT"):
            if name in self.objects and request.headers.get("x-upsert") == "false":
                return httpx.Response(400, json={"statusCode": "409", "error": "Duplicate", "message": "exists"})
            self.objects[name] = self.spoil(request.read())
            return httpx.Response(200, json={"Key": name})
        if name not in self.objects:
            return httpx.Response(400, json={"statusCode": "404", "error": "not_found", "message": "Object not found"})
        content = self.objects[name]
        if where["way"].startswith("info/"):
            return httpx.Response(200, json={"size": len(content), "etag": f'"{self.etag(content)}"'})
        if request.method == "DELETE":
            del self.objects[name]
            return httpx.Response(200, json={})
        if ranged := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", "")):
            piece = content[int(ranged[1]) : int(ranged[2] or len(content)) + 1]
            span = f"bytes {ranged[1]}-{int(ranged[1]) + len(piece) - 1}/{len(content)}"
            return httpx.Response(206, content=piece, headers={"content-range": span, "content-type": "video/mp4"})
        return httpx.Response(200, content=content, headers={"content-type": "video/mp4"})

    def _tus(self, request: httpx.Request, path: str) -> httpx.Response:
        if request.method == "POST":
            told = dict(pair.split(" ") for pair in request.headers["upload-metadata"].split(","))
            upload = f"u{len(self._wanted)}"
            self._wanted[upload] = (
                base64.b64decode(told["objectName"]).decode(),
                int(request.headers["upload-length"]),
            )
            self.uploads[upload] = bytearray()
            # As behind a proxy that hides the true address: nobody may follow it.
            return httpx.Response(201, headers={"location": f"http://10.0.0.9:5000/upload/resumable/{upload}"})
        upload = path.rsplit("/", 1)[-1]
        if upload not in self.uploads:
            return httpx.Response(404)
        have = self.uploads[upload]
        name, size = self._wanted[upload]
        if request.method == "PATCH":
            if int(request.headers["upload-offset"]) != len(have):
                return httpx.Response(409, text="Upload-Offset conflict")
            have += request.read()
            if len(have) == size:
                self.objects[name] = self.spoil(bytes(have))
                del self.uploads[upload]
        return httpx.Response(204, headers={"upload-offset": str(len(have))})
