"""A film in a browser: after a seek each canvas shows the frame of that moment. Skipped where no Chromium is."""

from __future__ import annotations

import json
import queue
import random
import shutil
import socket
import subprocess
import threading
from dataclasses import replace

import numpy as np
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from tasks.media.stitch import stitch
from tasks.media.timeline import Blend, Timeline
from tasks.media.video import write_video
from tests.media.films import HEIGHT, SPEC, WIDTH
from tests.waiting import until

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
BITS = 8
FPS = 16

PAGE = """<!doctype html><video muted preload=auto src=/film.mp4></video><script>
const video = document.querySelector("video"), canvas = document.createElement("canvas")
const happens = name => new Promise((done, fail) => {
  video.addEventListener(name, done, {once: true})
  video.addEventListener("error", () => fail(video.error.message), {once: true})
})
// "seeked" may come before the picture does. A frame that is never presented is found out by what the canvas has then.
const presented = frame => new Promise(done => {
  const late = setTimeout(done, 10000)
  const look = (now, about) => {
    if (Math.abs(about.mediaTime - frame / FPS) > .25 / FPS) return video.requestVideoFrameCallback(look)
    clearTimeout(late)
    done()
  }
  video.requestVideoFrameCallback(look)
})
function shown() {
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight]
  const context = canvas.getContext("2d", {willReadFrequently: true})
  context.drawImage(video, 0, 0)
  let number = 0
  for (let bit = 0; bit < BITS; bit++) {
    const x = (bit + .5) * canvas.width / BITS
    number += (context.getImageData(x, canvas.height / 2, 1, 1).data[1] > 127) << bit
  }
  return number
}
async function look() {
  if (video.readyState < 2) await happens("loadeddata")
  const found = []
  for (const frame of SEEKS) {
    const seen = presented(frame)
    video.currentTime = (frame + .5) / FPS
    await seen
    found.push(shown())
  }
  return {found, duration: video.duration}
}
const tell = said => fetch("/said", {method: "POST", body: JSON.stringify(said)});
look().catch(error => ({error: String(error)})).then(tell)
</script>"""


def numbered(number):
    """Its number in black and white bars, the lowest bit leftmost. A blend of two that say the same says it too."""
    bars = [255 * (number >> bit & 1) for bit in range(BITS)]
    return np.broadcast_to(np.repeat(bars, WIDTH // BITS)[None, :, None], (HEIGHT, WIDTH, 3)).astype(np.uint8)


@pytest.fixture
def served():
    """Serves routes on a port of its own; ended with the test."""
    running = []

    def serve(routes):
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        running.append((server, thread, listener))
        until(lambda: server.started, "the server has started")
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"

    yield serve
    for server, thread, listener in running:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here (Debian package chromium)")
@pytest.mark.parametrize("bframes", [0, 3])
def test_each_seek_on_and_around_seams_shows_the_right_frame(tmp_path, served, bframes):
    timeline, film = Timeline((33,) * 8, (8, 1, 6, 12, 2, 8, 0)), tmp_path / "film.mp4"
    spec, segments = replace(SPEC, bframes=bframes), []
    for i, start in enumerate(timeline.starts()):
        segments.append(tmp_path / f"{i}.mp4")
        frames = (numbered(start + k) for k in range(33))
        write_video(frames, segments[-1], spec, idr_at=timeline.cuts(i), count=33)
    assert stitch(segments, timeline, film, fps=FPS).mode == "smart"
    seeks = around_seams(timeline, 20)
    assert shown_by_chromium(served, film, tmp_path / "profile", seeks) == (seeks, timeline.length / FPS)


def around_seams(timeline, count):
    """Frames at the borders of overlaps and in them, in an order that jumps to and fro."""
    at, wanted = 0, [0, timeline.length - 1]
    for span in timeline.spans():
        if isinstance(span, Blend):
            wanted += [at - 1, at, at + span.count // 2, at + span.count - 1, at + span.count]
        at += span.count
    draw = random.Random(5)
    return draw.sample(sorted(set(wanted)), count)


def shown_by_chromium(served, film, profile, seeks):
    said = queue.Queue()

    async def hear(request: Request):
        said.put(json.loads(await request.body()))
        return Response()

    page = PAGE.replace("SEEKS", json.dumps(seeks)).replace("BITS", str(BITS)).replace("FPS", str(FPS))
    url = served(
        [
            Route("/", lambda request: HTMLResponse(page)),
            Route("/film.mp4", lambda request: FileResponse(film, media_type="video/mp4")),
            Route("/said", hear, methods=["POST"]),
        ]
    )
    quiet = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={profile}"]
    with (profile.parent / "chromium.log").open("wb") as log:
        browser = subprocess.Popen([CHROMIUM, *quiet, url], stdout=log, stderr=log)
    try:
        answer = said.get(timeout=90)
    finally:
        browser.terminate()
        browser.wait()
    assert "error" not in answer, answer
    return answer["found"], answer["duration"]
