"""Whether bytes begin like a picture or a video: what a server declares is only its word."""

from __future__ import annotations

#: So many bytes decide.
HEAD = 512

_IMAGES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM", b"II*\x00", b"MM\x00*")
_VIDEOS = (b"\x1aE\xdf\xa3", b"OggS", b"FLV\x01", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3")
_PICTURE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")
_BOXES = (b"moov", b"mdat", b"free", b"skip", b"wide")
_TRANSPORT_PACKET = 188

_DECLARED = ("image/", "video/")
_UNDECLARED = ("application/octet-stream", "binary/octet-stream", "application/mp4", "application/ogg")


def looks_like_media(head: bytes) -> bool:
    if head.startswith(_IMAGES) or head.startswith(_VIDEOS):
        return True
    if head.startswith(b"RIFF"):
        return head[8:12] in (b"WEBP", b"AVI ")
    if head[4:8] == b"ftyp":  # MP4, MOV, AVIF, HEIC; a sound file names its brand too
        return head[8:12] in _PICTURE_BRANDS or head[8:11] not in (b"M4A", b"M4B")
    if head[4:8] in _BOXES:  # MOV without a brand
        return True
    return len(head) > _TRANSPORT_PACKET and head[0] == head[_TRANSPORT_PACKET] == 0x47  # MPEG transport stream


def may_be_media(content_type: str) -> bool:
    """Whether a declared type lets a picture or a video be expected; none at all means octet-stream."""
    bare = content_type.split(";", 1)[0].strip().lower()
    return not bare or bare.startswith(_DECLARED) or bare in _UNDECLARED
