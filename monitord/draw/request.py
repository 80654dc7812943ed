"""What to draw: the request that the command line, the window and the render process share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from monitord.series import (
    BLOB_CORRELATION,
    BLOB_COUNT,
    BLOB_SILHOUETTE,
    SAMPLED_CORRELATION,
    SAMPLED_COUNT,
    SAMPLED_SILHOUETTE,
    SEPARATION,
    TEST_LOSS,
    TRAIN_LOSS,
    RunSeries,
)

FORMATS = ("png", "svg", "pdf")
GUIDE_SERIES = (
    BLOB_SILHOUETTE,
    SAMPLED_SILHOUETTE,
    BLOB_COUNT,
    SAMPLED_COUNT,
    BLOB_CORRELATION,
    SAMPLED_CORRELATION,
    TRAIN_LOSS,
    TEST_LOSS,
)
OVERVIEW_SERIES = (TEST_LOSS, SEPARATION, BLOB_COUNT)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawOptions:
    """How to draw.

    Attributes:
        overview: Draw all runs against each other (``overview.png``); the rest is then ignored.
        overlay: Draw many runs into the same panels; otherwise each has a row of its own.
        log_y: Logarithmic losses and metrics, where all values are above zero.
        smooth: Weight of the past in the moving average, in [0, 1); 0 draws the raw values only.
        metrics: Names of series to draw, one panel each, instead of the guide's four panels.

    Raises:
        ValueError: ``smooth`` is outside [0, 1).
    """

    overview: bool = False
    overlay: bool = False
    log_y: bool = False
    smooth: float = 0.0
    metrics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 <= self.smooth < 1.0:
            raise ValueError(f"smooth: {self.smooth!r} is not in [0, 1), such as 0.6")

    def shown_series(self) -> tuple[str, ...]:
        """Return the names of all series that a picture with these options can show."""
        if self.overview:
            return OVERVIEW_SERIES
        return (*self.metrics, TEST_LOSS, BLOB_COUNT) if self.metrics else GUIDE_SERIES


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderJob:
    """One picture to be made: the file, the runs in it, and how to draw them."""

    output: Path
    runs: Sequence[RunSeries]
    options: DrawOptions = DrawOptions()


def picture_format(output: Path) -> Literal["png", "svg", "pdf"]:
    """Return the format that the extension of ``output`` asks for.

    Raises:
        ValueError: It is none of png, svg, pdf.
    """
    match output.suffix.lower():
        case ".png":
            return "png"
        case ".svg":
            return "svg"
        case ".pdf":
            return "pdf"
        case other:
            accepted = ", ".join(f".{name}" for name in FORMATS)
            raise ValueError(f"{output}: extension {other!r} is not a picture; use {accepted}")
