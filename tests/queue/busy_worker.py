"""A process that claims and completes as fast as it can, for `test_processes.py`, which kills it.

    python busy_worker.py FILE WORKER_ID

Writes one line per step, after the queue has answered: `claim ID ATTEMPT`, `complete ID ATTEMPT`, `stale ID ATTEMPT`.
Ends by itself when every task has ended.
"""

from __future__ import annotations

import sys
from uuid import uuid4

from blocks.queue.errors import StaleClaim
from blocks.queue.sqlite import SqliteQueue


def main(path: str, worker_id: str) -> None:
    queue = SqliteQueue(path)
    while True:
        claims = queue.claim(worker_id, limit=2, request_id=str(uuid4()), lease=3600)
        for claim in claims:
            task_id = claim.task.id
            say("claim", task_id, claim.attempt)
            try:
                token = queue.start(task_id, claim.attempt, worker_id, request_id=str(uuid4()), lease=3600).token
                queue.renew(task_id, token, tick=1, lease=3600)
                queue.complete(task_id, token, output_location=f"{worker_id}/{claim.attempt}")
                say("complete", task_id, claim.attempt)
            except StaleClaim:
                say("stale", task_id, claim.attempt)
        if not claims:
            counts = queue.counts()
            if counts.ready + counts.blocked + counts.delayed + counts.in_progress + counts.waiting == 0:
                return


def say(word: str, task_id: str, attempt: int) -> None:
    sys.stdout.write(f"{word} {task_id} {attempt}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
