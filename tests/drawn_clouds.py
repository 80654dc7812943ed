"""A cloud of three blobs to draw, and what is asked of figures."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diagnostics.blobs import find_blobs
from diagnostics.contract.density import DensityGrid, build_density

BLOBS = (((0.0, 0.0), 30_000), ((1.4, 0.14), 300), ((-1.4, -0.14), 300))


def cloud() -> DensityGrid:
    rng = np.random.default_rng(0)
    pairs = np.vstack([rng.normal(size=(n, 2)) * (0.05, 0.005) + c for c, n in BLOBS])
    encoder, decoder = (pairs[:, k].reshape(-1, 100) for k in (0, 1))
    return build_density(encoder, decoder.T)


GRID = cloud()
STRUCTURE = find_blobs(GRID)


def axes_of(figure: Figure, label: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_label() == label)


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.texts)
