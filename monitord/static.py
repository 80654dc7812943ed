"""Pictures on request, made in this process: ``monitord RUN --static``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monitord.series import RunSeries


def write_static(
    series_list: Sequence[RunSeries],
    output: Path,
    *,
    overlay: bool = False,
    log_y: bool = False,
    smooth: float = 0.0,
    metrics: Sequence[str] = (),
) -> Path:
    """Draw runs into ``output``; one run as the four panels, many as a row each or overlaid.

    Args:
        series_list: The runs.
        output: The picture; its extension (.png, .svg, .pdf) chooses the format.
        overlay: Draw many runs into the same panels.
        log_y: Logarithmic losses and metrics, where all values are above zero.
        smooth: Weight of the past in the moving average, in [0, 1); the raw curve stays, faint.
        metrics: Names of series, one panel each, instead of the guide's four panels.

    Returns:
        ``output``.

    Raises:
        ValueError: The extension or ``smooth`` is not accepted.
        OSError: The file cannot be written.
    """
    from monitord.draw.request import DrawOptions, picture_format

    options = DrawOptions(overlay=overlay, log_y=log_y, smooth=smooth, metrics=tuple(metrics))
    picture_format(output)
    # matplotlib takes most of a second to load: only once it is sure that there is a picture.
    from monitord.draw.canvas import write_figure
    from monitord.draw.sheet import Sheet

    write_figure(Sheet().draw(series_list, options), output)
    return output
