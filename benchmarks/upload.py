"""Storing a 500 MB film in the local stack, beside the barest way to get the same bytes there.

Ours hashes the file, sends it in parts that survive a cut, and checks what is stored. The peer is one streamed POST
that does none of this. Usage: python benchmarks/upload.py [rounds]
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from blocks.storage.supabase import SupabaseStorage
from blocks.supabase.access import SupabaseAccess
from deployments.local.stack import LocalSupabase

SIZE = 500 << 20
PIECE = 256 << 10


def main(rounds: int = 3) -> None:
    with tempfile.TemporaryDirectory(prefix="longtake-bench-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL's own user enters it
        film = Path(folder) / "film.mp4"
        with film.open("wb") as file:
            file.truncate(SIZE)
        with LocalSupabase(Path(folder) / "home") as stack:
            access = SupabaseAccess(stack.url, stack.secret_key)
            storage = SupabaseStorage(access)
            storage.put(Path(__file__), owner="u", task_id="t", attempt=0, name="warm-up.mp4")
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            ours, bare = list[float](), list[float]()
            for n in range(rounds):
                ours.append(_seconds(lambda n=n: storage.put(film, owner="u", task_id="t", attempt=n, name="ours.mp4")))
                bare.append(_seconds(lambda n=n: _post(access, film, f"u/t/{n}/bare.mp4")))
            extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    fast, slow = statistics.median(bare), statistics.median(ours)
    print(
        f"ours {SIZE / slow / 1e6:.0f} MB/s, one bare POST {SIZE / fast / 1e6:.0f} MB/s, extra memory {extra:.0f} MiB"
    )
    print(f"ratio to the bare POST: {fast / slow:.2f} ({rounds} rounds each, in turn)")


def _post(access: SupabaseAccess, film: Path, path: str) -> None:
    def pieces() -> Iterator[bytes]:
        with film.open("rb") as file:
            while piece := file.read(PIECE):
                yield piece

    url = f"{access.url}/storage/v1/object/{access.bucket}/{path}"
    headers = {**access.headers(), "content-type": "video/mp4", "content-length": str(SIZE)}
    httpx.post(url, content=pieces(), headers=headers, timeout=600).raise_for_status()


def _seconds(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
