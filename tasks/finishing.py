"""What is done to a whole film after its stitch: another rate, another size, sound."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tasks.errors import InvalidInput
from tasks.media.audio import check_sound, lay_under
from tasks.media.encoding import frame_rate
from tasks.media.errors import MediaError
from tasks.media.label import append_label, read_label
from tasks.media.probe import probe
from tasks.media.retime import retimed
from tasks.media.upscale import methods, upscaled, upscaled_size
from tasks.params.travel import TravelDetails
from tasks.step import step
from tasks.work import Work


async def check_finish(work: Work, travel: TravelDetails, size: tuple[int, int]) -> None:
    """Refuse before anything is generated what could not be done at the end. Raises `InvalidInput`, `StorageError`."""
    if travel.upscale_factor > 1:
        try:
            upscaled_size(*size, travel.upscale_factor)
        except MediaError as error:
            raise InvalidInput(f"upscale_factor: {error}") from None
        if travel.upscale_method not in (known := methods()):
            raise InvalidInput(f"upscale_method: {travel.upscale_method!r} is not here. There are: {', '.join(known)}.")
    if travel.audio_path:
        try:
            await work.compute(check_sound, await work.fetch(travel.audio_path))
        except MediaError as error:
            raise InvalidInput(f"audio_path: {error}") from None


@step("finish film")
async def finish_film(work: Work, travel: TravelDetails, film: Path) -> Path:
    """The rate first, so that fewer pixels are interpolated; sound last, since both others leave it out."""
    on_step = work.held.on_step
    if travel.output_fps and frame_rate(travel.output_fps) != (await work.compute(probe, film)).fps:
        film, source = film.with_name("retimed.mp4"), film
        await work.compute(partial(retimed, source, film, fps=travel.output_fps, on_step=on_step))
    if travel.upscale_factor > 1:
        film, source = film.with_name("upscaled.mp4"), film
        factor, method = travel.upscale_factor, travel.upscale_method
        await work.compute(partial(upscaled, source, film, factor=factor, method=method, on_step=on_step))
    if travel.audio_path:
        sound = await work.fetch(travel.audio_path)
        film, source = film.with_name("with_sound.mp4"), film
        keep = partial(_copy_label, source)
        fade = travel.audio_fade_out
        await work.compute(partial(lay_under, source, sound, film, fade_out=fade, on_step=on_step, finish=keep))
    return film


async def film_facts(work: Work, film: Path) -> dict[str, int | float]:
    """Of the film as its user gets it: frames, seconds, frames a second, size."""
    info = await work.compute(probe, film)
    size = {"width": info.width, "height": info.height}
    return {"frames": info.frames, "duration": info.duration, "fps": float(info.fps), **size}


def _copy_label(source: Path, target: Path) -> None:
    """The pictures are the same packets, so what is said of them still holds."""
    if label := read_label(source):
        append_label(target, label)
