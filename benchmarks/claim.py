"""Claim and complete in PostgreSQL: ours beside the least that two commits can cost, and beside other queues.

    python benchmarks/claim.py [--quick]

The limit is an `update` of one row by its primary key and a commit, twice for each task; the row is as wide as a task.
All run in one cluster, driven by pgbench; rounds are interleaved and medians shown. On a shared machine read ratios,
and first those of CPU: the server's processes alone, from what the postmaster has reaped.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg

from benchmarks.claim_peers import PEERS, Peer, run_sql
from deployments.local.stack import LocalSupabase
from deployments.stack.postgres import find_binaries

QUICK = "--quick" in sys.argv
ROUNDS, SECONDS = (2, 2) if QUICK else (3, 4)
FINISHED = 100_000 if QUICK else 1_000_000
DEEP = 100_000 if QUICK else 1_000_000
HINDERED = 20_000 if QUICK else 100_000
#: (clients, durable)
CELLS = [(1, True), (8, True), (32, True), (1, False), (8, False), (32, False)]

USER, PROJECT = "00000000-0000-4000-8000-0000000000a1", "00000000-0000-4000-8000-0000000000a2"
RARE_USER, RARE_PROJECT = "00000000-0000-4000-8000-0000000000b1", "00000000-0000-4000-8000-0000000000b2"

_SETUP = f"""
insert into auth.users (id) values ('{USER}'), ('{RARE_USER}');
insert into public.projects (id, user_id) values ('{PROJECT}', '{USER}'), ('{RARE_PROJECT}', '{RARE_USER}');
insert into public.workers (id) select 'w' || g from generate_series(0, 63) g;
create table private.reference (id integer primary key, row_like_a_task text, n integer) with (fillfactor = 70);
insert into private.reference select g, repeat('x', 450), 0 from generate_series(1, 100000) g;
"""
#: Past the triggers, since a million rows through them take minutes; what they would have written is written here.
_ROWS = """
insert into public.tasks (task_type, params, project_id, user_id, order_key, body_hash, created_at, updated_at, status,
    attempts, worker_id, generation_processed_at, output_location, scheduled_at, priority)
  select '{kind}', '{{"prompt": "the sea", "steps": 30}}', '{project}', '{user}', nextval('private.enqueue_order'), 1,
    now(), now(), '{status}', {attempts}, {worker}, {ended}, {output}, {due}, 0 from generate_series(1, {count});
"""
_PLACES = """
insert into private.queue (task_id, user_id, task_type, priority, order_key, place, unmet, scheduled_at, has_kin)
  select t.id, t.user_id, t.task_type, t.priority, t.order_key, '{place}', {unmet}, t.scheduled_at, false
  from public.tasks t where t.order_key > {last} order by t.order_key;
insert into private.cursors values (0, 0) on conflict do nothing;
"""
#: Cut out of the answer, since the product reads it in Python: to parse it in SQL costs the server 25 us a task.
_TOKEN = """left(split_part(c::text, '"claim_token" : "', 2), 36)"""
_CLAIM = f"""select substr(c::text, 19, 36) as id, {_TOKEN} as token
  from public.claim_tasks('w' || :client_id, {{arguments}}) c \\gset
"""
_COMPLETE = "select public.complete_task(:id, :token, 'https://example.com/film.mp4');\n"
_DISPATCHER = "p_task_types => array['travel_stitch', 'single_image'], p_request_id => gen_random_uuid()::text"
SCRIPTS = {
    "ours": _CLAIM.format(arguments="1") + _COMPLETE,
    "ours, as dispatched": _CLAIM.format(arguments=_DISPATCHER) + _COMPLETE,
    "limit": "\\set id random(1, 100000)\nupdate private.reference set n = n + 1 where id = :id;\n",
    "rare type": _CLAIM.format(arguments="p_task_types => array['analysis']") + _COMPLETE,
    "rare user": _CLAIM.format(arguments=f"p_user_id => '{RARE_USER}'") + _COMPLETE,
    "ten at a time": f"""select count(public.complete_task(substr(c::text, 18, 36), {_TOKEN},
    'https://example.com/film.mp4'))
  from json_array_elements(public.claim_tasks('w' || :client_id, 10)) c;
""",
}


class Run(NamedTuple):
    rate: float  # transactions a second
    cpu: float  # microseconds of the server a transaction


@dataclass
class Server:
    """The cluster, and pgbench on it."""

    owner: str  # as the migrations ran
    admin: str
    postmaster: psutil.Process
    scripts: Path
    failures: list[str] = field(default_factory=list)

    def database(self, name: str) -> str:
        return urlunsplit(urlsplit(self.admin)._replace(path=f"/{name}"))

    def bench(self, script: str, clients: int, *, durable: bool, url: str = "", seconds: float = SECONDS) -> Run:
        path = self.scripts / "script.sql"
        path.write_text(script)
        # The role as which REST calls the functions; a peer's database and the limit have another owner.
        role = " -c role=service_role" if not url and "public." in script else ""
        options = f"-c synchronous_commit={'on' if durable else 'off'}{role}"
        command = [find_binaries().bin_dir / "pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", "2"]
        command += ["-T", str(seconds), "-f", path, url or self.owner]
        before = self._cpu()
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PGOPTIONS": options})
        if done.returncode:
            raise RuntimeError(f"{done.stderr[-500:]}\n{script}")
        time.sleep(0.3)  # the postmaster buries the sessions: only then their time is in its account
        count = int(re.search(r"actually processed: (\d+)", done.stdout).group(1))  # type: ignore[union-attr]
        rate = float(re.search(r"tps = ([\d.]+)", done.stdout).group(1))  # type: ignore[union-attr]
        return Run(rate, (self._cpu() - before) / count * 1e6)

    def _cpu(self) -> float:
        times = self.postmaster.cpu_times()
        return float(times.children_user + times.children_system)

    def ready(self, count: int, *, kind: str = "single_image", user: str = USER, project: str = PROJECT) -> None:
        self._rows(count, kind=kind, user=user, project=project, place="ready", unmet=0)

    def finished(self, count: int) -> None:
        ended = {"attempts": 1, "worker": "'w1'", "ended": "now()", "output": "'https://example.com/film.mp4'"}
        self._rows(count, status="Complete", **ended)

    def blocked(self, count: int) -> None:
        self._rows(count, place="blocked", unmet=1)

    def delayed(self, count: int) -> None:
        self._rows(count, due="now() + interval '1 day'", place="delayed", unmet=0)

    def _rows(self, count: int, place: str = "", unmet: int = 0, **given: object) -> None:
        usual = {"kind": "single_image", "user": USER, "project": PROJECT, "status": "Queued", "attempts": 0}
        usual |= {"worker": "null", "ended": "null", "output": "null", "due": "null", "count": count}
        with psycopg.connect(self.owner) as connection:
            (last,) = connection.execute("select coalesce(max(order_key), 0) from public.tasks").fetchone() or (0,)
        run_sql(self.owner, "alter table public.tasks disable trigger user")
        run_sql(self.owner, _ROWS.format(**(usual | given)))
        run_sql(self.owner, "alter table public.tasks enable trigger user")
        if place:
            run_sql(self.owner, _PLACES.format(place=place, unmet=unmet, last=last))

    def empty(self) -> None:
        beside = "private.claim_requests, private.cursors, private.latecomers"
        run_sql(self.owner, f"truncate public.tasks, {beside} cascade")

    def settle(self, *databases: str) -> None:
        for url in (self.admin, *databases):
            run_sql(url, "vacuum analyze")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="longtake-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with LocalSupabase(folder / "home", durable=True) as stack:
            postmaster = psutil.Process(stack.state().pids["postgres"])
            server = Server(stack.database_url, stack.admin_database_url, postmaster, folder)
            run_sql(server.owner, _SETUP)
            against_others(server)
            by_itself(server)


def against_others(server: Server) -> None:
    peers = [peer for peer in PEERS if _prepared(server, peer)]
    server.finished(FINISHED)
    for peer in peers:
        if peer.history:
            run_sql(server.database(_database(peer)), peer.history.replace("%(count)s", str(FINISHED)))
    contenders = {name: (SCRIPTS[name], "") for name in ("limit", "ours", "ours, as dispatched")}
    contenders |= {peer.name: (peer.script(), server.database(_database(peer))) for peer in peers}
    print(f"claim+complete, {FINISHED:,} finished rows; a task is two commits, so the limit is halved")
    print(f"{'clients':>7} {'durable':>8}  " + "".join(f"{name:>26}" for name in contenders))
    for clients, durable in CELLS:
        _refill(server, peers)
        runs: dict[str, list[Run]] = {name: [] for name in contenders}
        for _ in range(ROUNDS):
            for name, (script, url) in contenders.items():
                runs[name].append(server.bench(script, clients, durable=durable, url=url))
        medians = {name: Run(*map(statistics.median, zip(*each, strict=True))) for name, each in runs.items()}
        limit = Run(medians["limit"].rate / 2, medians["limit"].cpu * 2)
        cells = [f"{run.rate:7.0f}/s {run.rate / limit.rate:5.2f} {run.cpu:5.0f} us" for run in medians.values()]
        print(f"{clients:>7} {'yes' if durable else 'no':>8}  " + "".join(f"{cell:>26}" for cell in cells), flush=True)
        _goals(medians, limit, clients, durable=durable)


def _goals(medians: dict[str, Run], limit: Run, clients: int, *, durable: bool) -> None:
    ours = medians["ours"]
    if (clients, durable) == (8, False):
        judge("of the limit, 8 clients, not durable", ours.rate / limit.rate, 0.25)
    if (clients, durable) == (32, True):
        judge("of the limit, 32 clients, durable", ours.rate / limit.rate, 0.36)
    for name, goal in (("procrastinate", 1.5), ("pgmq", 1.4), ("graphile-worker", 1.0)):
        if clients == 8 and name in medians:
            judge(
                f"of {name}, 8 clients, {'durable' if durable else 'not durable'}", ours.rate / medians[name].rate, goal
            )


def by_itself(server: Server) -> None:
    """Ours with something in the way, as a part of ours without: 8 clients, not durable.

    Each is taken as a part of the limit of the same moment, so that a neighbour's work is in both.
    """

    def measured(prepare: Callable[[], None], script: str) -> float:
        server.empty()
        prepare()
        server.settle()
        parts = []
        for _ in range(ROUNDS):
            limit = server.bench(SCRIPTS["limit"], 8, durable=False, seconds=2)
            parts.append(server.bench(SCRIPTS[script], 8, durable=False).rate / limit.rate)
        return statistics.median(parts)

    enough = 90_000
    plain = measured(lambda: server.ready(enough), "ours")
    by_type = measured(lambda: server.ready(enough), "ours, as dispatched")

    def among_others(prepare: Callable[[], None]) -> Callable[[], None]:
        def both() -> None:
            server.ready(DEEP)
            prepare()

        return both

    judge(f"{DEEP:,} deep, of a shallow queue", measured(lambda: server.ready(DEEP), "ours") / plain, 0.9)
    blocked = measured(lambda: (server.blocked(HINDERED), server.ready(enough))[0], "ours")
    judge(f"the oldest {HINDERED:,} blocked", blocked / plain, 0.8)
    delayed = measured(lambda: (server.delayed(HINDERED), server.ready(enough))[0], "ours")
    judge(f"the oldest {HINDERED:,} not yet due", delayed / plain, 0.8)
    with held_snapshot(server):
        judge("an old snapshot held open", measured(lambda: server.ready(enough), "ours") / plain, 0.8)
        judge(
            "the same, claims as dispatched",
            measured(lambda: server.ready(enough), "ours, as dispatched") / by_type,
            0.8,
        )
    rare_user = among_others(lambda: server.ready(enough, user=RARE_USER, project=RARE_PROJECT))
    judge("one user's tasks among a million", measured(rare_user, "rare user") / plain, 0.6)
    rare_type = among_others(lambda: server.ready(enough, kind="analysis"))
    judge("a rare type among a million", measured(rare_type, "rare type") / plain, 0.6)
    server.empty()
    server.ready(3 * enough)
    server.settle()
    rounds = [
        [server.bench(SCRIPTS[name], 8, durable=True).rate for name in ("ours", "ten at a time")] for _ in range(ROUNDS)
    ]
    judge("ten at a time, durable, of one at a time", statistics.median(10 * ten / one for one, ten in rounds), 4)


@contextmanager
def held_snapshot(server: Server) -> Iterator[None]:
    with psycopg.connect(server.owner) as connection:
        connection.execute("set transaction isolation level repeatable read")
        connection.execute("select count(*) from private.reference")
        yield


def judge(what: str, ratio: float, goal: float) -> None:
    print(f"    {what:48} {ratio:6.2f}   goal {goal:4.2f}  {'met' if ratio >= goal else 'NOT MET'}", flush=True)


def _database(peer: Peer) -> str:
    return "peer_" + peer.name.replace("-", "_")


def _prepared(server: Server, peer: Peer) -> bool:
    try:
        run_sql(server.admin, f"create database {_database(peer)}")
        peer.prepare(server.database(_database(peer)))
    except (OSError, subprocess.CalledProcessError, psycopg.Error, ValueError) as error:
        print(f"{peer.name}: not measured: {error}")
        return False
    return True


def _refill(server: Server, peers: Sequence[Peer]) -> None:
    count = 50_000 if QUICK else 150_000
    run_sql(server.owner, "delete from public.tasks where status <> 'Complete'")
    server.ready(count)
    for peer in peers:
        run_sql(server.database(_database(peer)), peer.fill.replace("%(count)s", str(count)))
    server.settle(*(server.database(_database(peer)) for peer in peers))


if __name__ == "__main__":
    main()
