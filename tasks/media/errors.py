"""What the media code refuses. Every message says what is wrong, why, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping


class MediaError(ValueError):
    """A picture, a film or a timeline cannot be used as it is; the same input will fail again."""


class SegmentError(MediaError):
    """A stitch cannot keep its promised length. `problems` maps each bad segment's index to what is wrong with it."""

    def __init__(self, problems: Mapping[int, str]) -> None:
        self.problems = dict(problems)
        said = "; ".join(f"segment {index}: {problem}" for index, problem in sorted(self.problems.items()))
        super().__init__(f"{said}. Nothing was stitched; make these segments again.")
