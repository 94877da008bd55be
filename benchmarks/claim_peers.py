"""Other PostgreSQL queues as their packages ship them, for `benchmarks/claim.py`.

Each is installed into a cache folder when it is missing, gets a database of its own in the same cluster, and is driven
by pgbench with the statements that its own code sends: no client's speed is in the numbers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg

CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "longtake" / "peers"

#: Asks graphile-worker's own code which statements it sends for one job.
_ASK_GRAPHILE = """
import { batchGetJobs } from './node_modules/graphile-worker/dist/sql/getJobs.js';
import { batchCompleteJobs } from './node_modules/graphile-worker/dist/sql/completeJobs.js';
const said = [];
const rows = [{ id: 1, identifier: 'task' }];
const client = { query: async (q) => (said.push(typeof q === 'string' ? q : q.text), { rows }) };
const withPgClient = Object.assign(async (f) => f(client), { withRetries: async (f) => f(client) });
const shared = { escapedWorkerSchema: 'graphile_worker', workerSchema: 'graphile_worker', logger: console,
  resolvedPreset: { worker: { preparedStatements: false, useNodeTime: false } } };
await batchGetJobs(shared, withPgClient, { task: () => {} }, 'w', null, 1);
const get = said.at(-1);
await batchCompleteJobs(shared, withPgClient, 'w', [{ id: '1', job_queue_id: null }]);
console.log(JSON.stringify({ get, complete: said.at(-1) }));
"""


@dataclass(frozen=True)
class Peer:
    """`prepare` makes the schema, `fill` adds so many ready jobs, `script` takes and ends one.

    `history` adds so many ended jobs, where they are kept.
    """

    name: str
    prepare: Callable[[str], None]
    fill: str
    script: Callable[[], str]
    history: str = ""


def run_sql(url: str, text: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(text.encode())


def _wheel(name: str, version: str) -> Path:
    folder = CACHE / f"{name}-{version}"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        download = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "-d",
            str(CACHE),
            f"{name}=={version}",
        ]
        subprocess.run(download, check=True, capture_output=True)
        (wheel,) = CACHE.glob(f"{name}-{version}-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    return folder


def _graphile() -> Path:
    folder = CACHE / "graphile"
    if not (folder / "node_modules" / "graphile-worker").exists():
        folder.mkdir(parents=True, exist_ok=True)
        install = ["npm", "install", "--no-audit", "--no-fund", "--silent", "graphile-worker@0.18.0"]
        subprocess.run(install, cwd=folder, check=True, capture_output=True)
    return folder


def _prepare_procrastinate(url: str) -> None:
    schema = _wheel("procrastinate", "3.10.0") / "procrastinate" / "sql" / "schema.sql"
    run_sql(url, schema.read_text())
    run_sql(url, "insert into procrastinate_workers (last_heartbeat) select now() from generate_series(1, 64)")


def _prepare_pgmq(url: str) -> None:
    # The pure SQL of the extension, as its client package carries it.
    run_sql(url, (_wheel("pgmq", "1.1.4") / "pgmq" / "sql" / "pgmq.sql").read_text())
    run_sql(url, "select pgmq.create('bench')")


def _prepare_graphile(url: str) -> None:
    program = _graphile() / "node_modules" / ".bin" / "graphile-worker"
    subprocess.run([program, "-c", url, "--schema-only"], check=True, capture_output=True, cwd=_graphile())
    run_sql(url, "select graphile_worker.add_job('task')")


def _graphile_script() -> str:
    (_graphile() / "ask.mjs").write_text(_ASK_GRAPHILE)
    asked = subprocess.run(["node", "ask.mjs"], cwd=_graphile(), check=True, capture_output=True, text=True)
    said = json.loads(asked.stdout)
    get = (
        said["get"]
        .replace("$1", "'w' || :client_id")
        .replace("$2", "(array(select id from graphile_worker._private_tasks))")
    )
    complete = said["complete"].replace("$1", ":id")
    return f"{get.strip().rstrip(';')} \\gset\n{complete.strip().rstrip(';')};\n"


PEERS = (
    Peer(
        "procrastinate",
        _prepare_procrastinate,
        """insert into procrastinate_jobs (queue_name, task_name, args, status)
           select 'default', 'task', '{"prompt": "the sea", "steps": 30}', 'todo' from generate_series(1, %(count)s)""",
        lambda: (
            "select id, status, task_name, priority, lock, queueing_lock, args, scheduled_at, queue_name, attempts\n"
            "  from procrastinate_fetch_job_v2(array['default']::varchar[], :client_id + 1) \\gset\n"
            "select procrastinate_finish_job_v1(:id::bigint, 'succeeded', false);\n"
        ),
        # Its triggers note each step of a job in a table of their own.
        """insert into procrastinate_jobs (queue_name, task_name, args)
           select 'default', 'task', '{"prompt": "the sea", "steps": 30}' from generate_series(1, %(count)s);
           update procrastinate_jobs set status = 'doing', attempts = 1;
           update procrastinate_jobs set status = 'succeeded';""",
    ),
    Peer(
        "pgmq",
        _prepare_pgmq,
        """select count(*) from pgmq.send_batch('bench', array(
           select '{"prompt": "the sea", "steps": 30}'::jsonb from generate_series(1, %(count)s)))""",
        lambda: (
            "select msg_id from pgmq.read('bench', 600, 1) \\gset\nselect pgmq.archive('bench', :msg_id::bigint);\n"
        ),
        """insert into pgmq.a_bench (msg_id, read_ct, enqueued_at, vt, message)
           select -g, 1, now(), now(), '{"prompt": "the sea", "steps": 30}' from generate_series(1, %(count)s) g""",
    ),
    Peer(
        "graphile-worker",
        _prepare_graphile,
        """insert into graphile_worker._private_jobs (task_id, payload)
           select (select id from graphile_worker._private_tasks limit 1), '{"prompt": "the sea", "steps": 30}'
           from generate_series(1, %(count)s)""",
        _graphile_script,
    ),
)
