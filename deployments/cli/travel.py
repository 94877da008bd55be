"""`longtake travel create`: look at every picture, do the arithmetic, then enqueue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from blocks.queue.model import Enqueued, TaskSpec
from blocks.queue.protocol import TaskQueue
from deployments.cli.exits import ExitCode, Refusal
from deployments.cli.lookup import is_anybody_working, opened_queue
from deployments.cli.options import DEFAULTS, REPEATABLE, Common, Switch, load_settings
from deployments.cli.rows import task_document
from deployments.cli.screen import Screen
from deployments.cli.task import tell_how_to_watch
from deployments.cli.watch import conclude, follow

if TYPE_CHECKING:  # OpenCV and NumPy: not for a help page
    from deployments.settings import Settings
    from tasks.engines.protocol import Capabilities
    from tasks.media.timeline import Timeline
    from tasks.params.travel import TravelDetails

app = App(name="travel", help="Turn images into a film.", help_format="plaintext")
app.command("deployments.cli.redo:redo", name="redo")

#: The queue names its fields; a person typed options.
_OPTIONS = {
    "input_image_paths_resolved": "IMAGES",
    "base_prompts_expanded": "--prompt",
    "negative_prompts_expanded": "--negative-prompt",
    "segment_frames_expanded": "--frames",
    "frame_overlap_expanded": "--overlap",
    "parsed_resolution_wh": "--size",
    "fps_helpers": "--fps",
    "seed_base": "--seed",
    "num_new_segments_to_generate": "--segments",
    "upscale_factor": "--upscale",
    "output_fps": "--output-fps",
    "audio_path": "--audio",
}


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Film:
    """What a person asks for; one value of a repeatable option goes for all segments."""

    prompt: Annotated[Sequence[str], REPEATABLE, Parameter(show_default=False)] = ("",)
    "What a segment shows: once for all, or once for each segment."

    negative_prompt: Annotated[Sequence[str], REPEATABLE, Parameter(show_default=False)] = ("",)
    "What it must not show: once for all, or once for each segment."

    frames: Annotated[Sequence[int], REPEATABLE] = (81,)
    "Frames of a segment, overlap included: once for all, or once for each."

    overlap: Annotated[Sequence[int], REPEATABLE] = (12,)
    "Frames that neighbours share: once for all, or once for each join."

    size: str = "832x480"
    "WIDTHxHEIGHT; each side goes down to the engine's multiple."

    fps: float = 16.0
    "Frames a second."

    seed: int = 12345
    "Segment i uses seed + i; the same seed gives the same film."

    chain: bool = True
    "Whether a segment continues the motion of the one before; without it they are made in parallel."

    segments: int | None = None
    "How many; by default one between each two neighbouring images."

    model: str | None = None
    "A model of the engine; by default the engine's own."

    continue_from: Path | None = None
    "A video that the film continues: then each image ends a segment."

    loop: Switch = False
    "Go on from the last image to the first, so that the film can be shown round and round."

    fit: Literal["cover", "contain", "blur"] = "cover"
    "For pictures of another shape: fill the frame and crop, show all with bars, or over a blurred copy."

    audio: Path | None = None
    "Sound for the film, a recording or another film: cut or followed by silence to its exact length."

    upscale: float | None = None
    "Make the finished film so many times larger."

    output_fps: float | None = None
    "Frames a second of the finished film; frames between those that were made are interpolated."

    fit_seams: Switch = False
    "Take the drift of colour out of each segment that continues another."

    align_seams: Switch = False
    "Where neighbours show the same thing in different places, move it while they fade."

    id: str | None = None
    "A UUID of yours: sending the same again creates nothing."


USUAL = Film()


@app.command
def create(
    *images: Annotated[Path, Parameter(name="IMAGES", help="The pictures, in the order of the journey.")],
    film: Film = USUAL,
    watch: Annotated[Switch, Parameter(help="Follow it until the end; the exit code is its outcome.")] = False,
    common: Common = DEFAULTS,
) -> ExitCode:
    """Make one continuous shot from images. Says exactly how long it will be."""
    screen, settings = Screen(as_json=common.json), load_settings(common)
    check_pictures(images, film)
    plan = plan_film(images, film, settings)
    for warning in plan.warnings:
        screen.warn(warning)
    from tasks.intake import enqueue

    with opened_queue(settings) as queue:
        stored = enqueue(queue, _spec(*_stored_files(images, film, settings), film))[0]
        facts = {"created": stored.created, "film": plan.document(), "warnings": list(plan.warnings)}
        return tell(queue, stored, [plan.sentence()], facts, screen, settings, watch=watch)


def tell(
    queue: TaskQueue,
    stored: Enqueued,
    lines: Sequence[str],
    facts: dict[str, Any],
    screen: Screen,
    settings: Settings,
    *,
    watch: bool,
) -> ExitCode:
    """What was stored: `lines` for people, `facts` for programs. With `watch`, also how it ended."""
    if not screen.as_json:
        screen.say(stored.task.id if stored.created else f"{stored.task.id} (was there already)")
        for line in lines:
            screen.say(line)
    if watch:
        if not is_anybody_working(settings):
            screen.warn("No Prefect server answers, so nothing works on the queue. Start it with: longtake up")
        return conclude(follow(queue, stored.task.id, screen), screen, facts)
    screen.document({"task": task_document(stored.task), **facts})
    if not screen.as_json:
        tell_how_to_watch(screen, stored.task, working=is_anybody_working(settings))
    return ExitCode.OK


def check_pictures(images: Sequence[Path], film: Film) -> None:
    """Decode every picture now: a refusal costs a second here and a segment later. Names all that are bad."""
    if not images:
        raise Refusal(
            "A film needs images, and none was given.", "Name two or more: longtake travel create a.jpg b.jpg"
        )
    if len(images) == 1 and film.continue_from is None and film.segments is None and not film.loop:
        raise Refusal(
            "A film goes from one image to the next, and only one was given.",
            "Name at least two, or say --segments 1 for a clip that only starts from it.",
        )
    if film.segments is not None and film.segments < 1:
        raise Refusal(f"A film of {film.segments} segments would be empty.", "Leave --segments out, or give 1 or more.")
    from tasks.media.errors import MediaError
    from tasks.media.images import read_image

    problems = []
    for image in images:
        try:
            read_image(image)
        except MediaError as error:
            problems.append(str(error))
    if problems:
        raise Refusal(" ".join(problems), "Nothing was stored.", code="invalid_media")


@dataclass(frozen=True, slots=True)
class FilmPlan:
    """The film as it will be made, and where that is not what was asked."""

    timeline: Timeline
    size: tuple[int, int]
    fps: float
    warnings: tuple[str, ...]

    @property
    def made(self) -> tuple[int, ...]:
        """Frames of the segments that are generated: all but a video that is continued."""
        return self.timeline.segments[1:] if self.timeline.continued else self.timeline.segments

    def document(self) -> dict[str, Any]:
        return {
            "frames": self.timeline.length,
            "seconds": round(self.timeline.length / self.fps, 3),
            "fps": self.fps,
            "width": self.size[0],
            "height": self.size[1],
            "segments": list(self.made),
            "overlaps": [*self.timeline.overlaps, *([self.timeline.wrap] if self.timeline.wrap else [])],
        }

    def sentence(self) -> str:
        length, made = self.timeline.length, " + ".join(str(frames) for frames in self.made)
        before = f" after {self.timeline.segments[0]} of the video" if self.timeline.continued else ""
        joins = " + ".join(str(frames) for frames in self.document()["overlaps"])
        overlaps = f", less overlaps of {joins}" if joins else ""
        return (
            f"The film will have {length} frames ({length / self.fps:.1f} s at {self.fps:g} fps, "
            f"{self.size[0]}x{self.size[1]}): {made}{before}{overlaps}."
        )


def plan_film(images: Sequence[Path], film: Film, settings: Settings) -> FilmPlan:
    """Exact arithmetic for the engine of these settings. Raises `Refusal` in the words of the options."""
    from tasks.errors import InvalidInput
    from tasks.media.probe import probe
    from tasks.params.base import floor_to, parse_size
    from tasks.params.travel import TravelParams
    from tasks.travel import refuse_too_long, timeline_of

    engine = engine_of(settings)
    preceding = probe(film.continue_from).frames if film.continue_from else None
    try:
        files = {"continue_from_video_resolved_path": str(film.continue_from)} if film.continue_from else {}
        spec = _spec([str(image) for image in images], files, film)
        details = TravelParams.read(spec.params).orchestrator_details
        timeline = timeline_of(details, grid=engine.frame_grid, preceding=preceding)
        refuse_too_long(timeline)
    except InvalidInput as error:
        raise Refusal(_in_options(str(error)), "Nothing was stored.", code="invalid_task") from None
    asked = parse_size(film.size)
    size = floor_to(asked, engine.size_multiple)
    warnings = tuple(_overlap_warnings(details, timeline))
    if size != asked:
        multiple = f"multiples of {engine.size_multiple}"
        warnings += (f"--size {film.size} becomes {size[0]}x{size[1]}: this engine makes {multiple}.",)
    return FilmPlan(timeline, size, film.fps, warnings)


def engine_of(settings: Settings) -> Capabilities:
    from tasks.engines.protocol import EngineError
    from tasks.engines.registry import capabilities

    try:
        return capabilities(settings.engine)
    except EngineError as error:
        raise Refusal(str(error), "Correct LONGTAKE_ENGINE.", code="unknown_engine") from None


def _overlap_warnings(details: TravelDetails, timeline: Timeline) -> list[str]:
    """One for each overlap that cannot be what was asked."""
    warnings = []
    joins = zip(details.joins, timeline.overlaps, pairwise(timeline.segments), strict=True)
    for index, (asked, made, neighbours) in enumerate(joins):
        if asked == made:
            continue
        why = "overlaps are even"
        if asked > min(neighbours):
            why = f"it is longer than a segment of {min(neighbours)} frames"
        warnings.append(f"overlap {index + 1} of {asked} frames becomes {made}: {why}.")
    if details.wrap != timeline.wrap:
        why = "it is even, and takes only frames that no other overlap does"
        warnings.append(f"the overlap of {details.wrap} frames that closes the loop becomes {timeline.wrap}: {why}.")
    return warnings


def _stored_files(images: Sequence[Path], film: Film, settings: Settings) -> tuple[list[str], dict[str, str]]:
    """Copies in the storage: the originals may move or change before a worker looks."""
    from deployments.site import input_keeper

    kept = input_keeper(settings)
    more = {"continue_from_video_resolved_path": film.continue_from, "audio_path": film.audio}
    return [kept(image) for image in images], {name: kept(path) for name, path in more.items() if path}


def _spec(images: Sequence[str], files: Mapping[str, str], film: Film) -> TaskSpec:
    from tasks.travel import travel_spec

    return travel_spec(
        images,
        prompts=film.prompt,
        negative_prompts=film.negative_prompt,
        frames=film.frames,
        overlaps=film.overlap,
        size=film.size,
        fps=film.fps,
        seed=film.seed,
        task_id=film.id,
        chain_segments=film.chain,
        num_new_segments_to_generate=film.segments,
        model_name=film.model,
        loop=film.loop or None,
        fit=film.fit if film.fit != "cover" else None,
        upscale_factor=film.upscale,
        output_fps=film.output_fps,
        seam_colour_fit=film.fit_seams or None,
        seam_flow=film.align_seams or None,
        **files,
    )


def _in_options(message: str) -> str:
    message = message.replace("orchestrator_details.", "")
    for field, option in _OPTIONS.items():
        message = message.replace(field, option)
    return message
