"""Run as a program: upload one file and say how much memory that took. The job comes as JSON on stdin."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from blocks.storage.supabase import SupabaseStorage
from blocks.supabase.access import SupabaseAccess


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)


def main() -> None:
    job = json.load(sys.stdin)
    storage = SupabaseStorage(SupabaseAccess(job["url"], job["key"]))
    key = {"owner": "user-1", "task_id": job["task_id"], "attempt": 1}
    storage.put(Path(__file__), **key, name="warm-up.mp4")  # connections, certificates, imports
    before = peak_kib()
    stored = storage.put(Path(job["file"]), **key, name="film.mp4")
    extra = peak_kib() - before
    json.dump({"location": stored.location, "sha256": stored.sha256, "extra_kib": extra}, sys.stdout)


if __name__ == "__main__":
    main()
