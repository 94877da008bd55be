"""Whether bytes begin like a picture, a video or sound: what a server declares is only its word."""

from __future__ import annotations

#: So many bytes decide.
HEAD = 512

_IMAGES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM", b"II*\x00", b"MM\x00*")
_VIDEOS = (b"\x1aE\xdf\xa3", b"OggS", b"FLV\x01", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3")
_SOUNDS = (b"ID3", b"fLaC", b"caff", b"#!AMR")
#: How frames of mp3 and of AAC begin, in all their versions. Not FF FE, by which a text in UTF-16 begins.
_FRAMES = tuple(bytes((0xFF, second)) for second in (0xE2, 0xE3, 0xF0, 0xF1, 0xF2, 0xF3, 0xF8, 0xF9, 0xFA, 0xFB))
_BOXES = (b"moov", b"mdat", b"free", b"skip", b"wide")
_TRANSPORT_PACKET = 188

_DECLARED = ("image/", "video/", "audio/")
_UNDECLARED = ("application/octet-stream", "binary/octet-stream", "application/mp4", "application/ogg")


def looks_like_media(head: bytes) -> bool:
    if head.startswith((*_IMAGES, *_VIDEOS, *_SOUNDS, *_FRAMES)):
        return True
    if head.startswith((b"RIFF", b"FORM")):
        return head[8:12] in (b"WEBP", b"AVI ", b"WAVE", b"AIFF", b"AIFC")
    if head[4:8] == b"ftyp":  # MP4, MOV, AVIF, HEIC, M4A
        return True
    if head[4:8] in _BOXES:  # MOV without a brand
        return True
    return len(head) > _TRANSPORT_PACKET and head[0] == head[_TRANSPORT_PACKET] == 0x47  # MPEG transport stream


def may_be_media(content_type: str) -> bool:
    """Whether a declared type lets a picture, a video or sound be expected; none at all means octet-stream."""
    bare = content_type.split(";", 1)[0].strip().lower()
    return not bare or bare.startswith(_DECLARED) or bare in _UNDECLARED
