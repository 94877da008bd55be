"""What a completion stores, where, and what becomes of it when the completion is refused."""

from __future__ import annotations

import base64
import os
import re
import uuid
from typing import Any

import pytest

from tests.edge.callers import Edge, World

LIMIT = 20 * 1024 * 1024


def _held(world: World, edge: Edge | None = None) -> dict[str, Any]:
    claimed = (edge or world.a.session).claim(world.a.session.enqueue(world.a.project))
    return {"task_id": claimed["task_id"], "claim_token": claimed["claim_token"]}


def _film(content: bytes, filename: str = "film.mp4") -> dict[str, str]:
    return {"file_data": base64.b64encode(content).decode(), "filename": filename}


def _stored(world: World) -> list[str]:
    return [row[0] for row in world.database.run("select name from storage.objects order by name")]


@pytest.fixture(autouse=True)
def empty_bucket(world: World) -> None:
    for name in _stored(world):
        url = f"{world.supabase.url}/storage/v1/object/image_uploads/{name}"
        world.http.delete(url, headers={"apikey": world.supabase.secret_key}).raise_for_status()


def test_bytes_are_stored_under_a_path_of_the_attempt(world: World) -> None:
    held = _held(world)
    answer = world.a.session.ok("complete-task", held | _film(b"a film"))
    path = f"{world.a.user}/{held['task_id']}/1/film.mp4"
    assert answer["public_url"] == f"{world.supabase.url}/storage/v1/object/public/image_uploads/{path}"
    film = world.http.get(answer["public_url"])
    assert (film.content, film.headers["content-type"]) == (b"a film", "video/mp4")
    assert world.a.session.get(held["task_id"])["output_location"] == answer["public_url"]


def test_a_stitch_completes_its_orchestrator_with_the_same_film(world: World) -> None:
    edge, project = world.a.session, world.a.project
    parent = edge.enqueue(project, task_type="travel_orchestrator")
    orchestrator = edge.claim(parent)
    stitch = edge.enqueue(project, task_type="travel_stitch", parent_id=parent)
    edge.ok("queue", {"verb": "wait", "task_id": parent, "claim_token": orchestrator["claim_token"]})
    held = edge.claim(stitch)
    fence = {"task_id": stitch, "claim_token": held["claim_token"]}
    answer = edge.ok("complete-task", fence | _film(b"whole"))
    assert [task["id"] for task in answer["outcome"]["ended"]] == [parent]
    row = edge.get(parent)
    assert (row["status"], row["output_location"]) == ("Complete", answer["public_url"])


NAMES = [
    "../../../../etc/passwd",
    "..",
    ".hidden",
    "a/b/c.mp4",
    "C:\\film.mp4",
    "фильм 映画 🎬.mp4",
    f"{'a' * 300}.mp4",
    "",
    " ",
    "a?b#c%2e%2e&d.mp4",
    "'; drop table tasks; --.mp4",
    "\u202egpj.exe",
    "a\tb\n.mp4",
]


@pytest.mark.parametrize("filename", NAMES)
def test_no_file_name_leaves_the_folder_of_the_attempt(world: World, filename: str) -> None:
    held = _held(world)
    answer = world.a.session.ok("complete-task", held | _film(b"x", filename))
    (stored,) = _stored(world)
    folder = re.escape(f"{world.a.user}/{held['task_id']}/1/")
    assert re.fullmatch(folder + r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}", stored)
    assert world.http.get(answer["public_url"]).content == b"x"


def test_repeating_a_completion_answers_the_same_and_changes_no_byte(world: World) -> None:
    held = _held(world)
    first = world.a.session.ok("complete-task", held | _film(b"accepted"))
    again = world.a.session.ok("complete-task", held | _film(b"something else"))
    assert again["public_url"] == first["public_url"]
    assert world.http.get(first["public_url"]).content == b"accepted"


def test_whoever_does_not_hold_the_task_stores_nothing(world: World) -> None:
    held = _held(world)
    stale = held | {"claim_token": str(uuid.uuid4())}
    assert world.a.session.post("complete-task", stale | _film(b"x")).status_code == 409
    assert world.b.session.post("complete-task", held | _film(b"x")).status_code == 404
    assert world.a.session.post("generate-upload-url", stale | {"filename": "film.mp4"}).status_code == 409
    assert _stored(world) == []


def test_a_late_upload_does_not_touch_the_retry(world: World) -> None:
    slow = _held(world)
    url = world.a.session.ok("generate-upload-url", slow | {"filename": "film.mp4"})
    world.service.ok("queue", {"verb": "rescue", "lost": [[slow["task_id"], 1]]})
    world.database.run(
        "update private.queue set place = 'ready', scheduled_at = null where task_id = %s", slow["task_id"]
    )
    quick = world.a.session.claim(slow["task_id"])
    fence = {"task_id": slow["task_id"], "claim_token": quick["claim_token"]}
    done = world.a.session.ok("complete-task", fence | _film(b"the retry's"))
    world.http.put(url["upload_url"], content=b"late", headers={"content-type": "video/mp4"})
    late = world.a.session.post("complete-task", slow | {"storage_path": url["storage_path"]})
    assert late.status_code == 409
    assert world.http.get(done["public_url"]).content == b"the retry's"


def test_twenty_megabytes_pass_and_a_byte_more_is_told_the_other_route(world: World) -> None:
    held, content = _held(world), os.urandom(LIMIT)
    answer = world.a.session.post("complete-task", held | _film(content + b"x"))
    assert answer.status_code == 413
    assert "generate-upload-url" in answer.json()["hint"]
    done = world.a.session.ok("complete-task", held | _film(content))
    assert world.http.get(done["public_url"]).content == content


# The signed route


@pytest.mark.parametrize("who", ["session", "token", "worker", "service"])
def test_a_signed_upload_completes_a_task(world: World, who: str) -> None:
    edges = {"session": world.a.session, "token": world.a.token, "worker": world.worker, "service": world.service}
    held = _held(world, edges[who])
    asked = held | {"filename": "my film.mp4", "content_type": "video/mp4"}
    ticket = edges[who].ok("generate-upload-url", asked)
    assert ticket["storage_path"] == f"{world.a.user}/{held['task_id']}/1/my_film.mp4"
    assert ticket["upload_url"].startswith(f"{world.supabase.url}/storage/v1/object/upload/sign/image_uploads/")
    headers = {"content-type": "video/mp4"}
    world.http.put(ticket["upload_url"], content=b"signed", headers=headers).raise_for_status()
    done = edges[who].ok("complete-task", held | {"storage_path": ticket["storage_path"]})
    film = world.http.get(done["public_url"])
    assert (film.content, film.headers["content-type"]) == (b"signed", "video/mp4")


def test_a_signed_upload_may_be_repeated(world: World) -> None:
    held = _held(world)
    ticket = world.a.session.ok("generate-upload-url", held | {"filename": "film.mp4"})
    for content in (b"cut of", b"whole"):
        world.http.put(ticket["upload_url"], content=content).raise_for_status()
    done = world.a.session.ok("complete-task", held | {"storage_path": ticket["storage_path"]})
    assert world.http.get(done["public_url"]).content == b"whole"


def test_a_path_without_a_file_completes_nothing(world: World) -> None:
    held = _held(world)
    ticket = world.a.session.ok("generate-upload-url", held | {"filename": "film.mp4"})
    answer = world.a.session.post("complete-task", held | {"storage_path": ticket["storage_path"]})
    assert (answer.status_code, answer.json()["details"]["field"]) == (422, "storage_path")
    world.http.put(ticket["upload_url"], content=b"").raise_for_status()
    answer = world.a.session.post("complete-task", held | {"storage_path": ticket["storage_path"]})
    assert (answer.status_code, answer.json()["details"]["field"]) == (422, "storage_path")
    assert world.a.session.get(held["task_id"])["status"] == "In Progress"


def test_a_path_elsewhere_completes_nothing(world: World) -> None:
    done, held = _held(world), _held(world)
    world.a.session.ok("complete-task", done | _film(b"another task's"))
    (other,) = _stored(world)
    folder = f"{world.a.user}/{held['task_id']}/1"
    for path in (other, f"{folder}/../../{done['task_id']}/1/film.mp4", f"/{folder}/film.mp4", folder, "", "..", "x"):
        answer = world.a.session.post("complete-task", held | {"storage_path": path})
        assert (path, answer.status_code) == (path, 422)
