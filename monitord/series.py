"""The numbers of a run as float arrays: what every table, picture and page is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

AT = "at"
"""When an epoch ended, in its entry of a history: a time, and no series."""
BLOB_COUNT = "diagnostics.n_blobs"
SEPARATION = "diagnostics.blob_separation"
BLOB_SILHOUETTE = "diagnostics.blob_silhouette"
BLOB_CORRELATION = "diagnostics.blob_correlation"
BLOB_BIRTH = "diagnostics.blob_born_epoch"
SAMPLED_COUNT = "diagnostics.n_clusters_dbscan"
SAMPLED_SILHOUETTE = "diagnostics.silhouette_score"
SAMPLED_CORRELATION = "diagnostics.weight_correlation"
TRAIN_LOSS = "train.scaled_loss"
TEST_LOSS = "test.scaled_loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSeries:
    """Every numeric series that a run has, by dotted name, such as ``test.scaled_loss``.

    Attributes:
        name: Name of the experiment, for titles and legends.
        epochs: Epoch numbers, increasing; float64 of shape (n_epochs,).
        values: Dotted name to float64 array of shape (n_epochs,); NaN where an epoch has no
            value. NaN and infinities that the run recorded are there too.
        nonfinite: Dotted name to boolean array of shape (n_epochs,): True where the run recorded
            NaN or an infinity; only for series that have such an epoch.
        at: When each epoch ended, seconds since 1970; float64 of shape (n_epochs,), NaN where the
            run did not record it; None if it never did.
        began: When the run began, seconds since 1970, or None if unknown.
        restarts: First epochs of the second and later training processes.
        n_planned: Number of epochs that the run shall have, or None if unknown.
        config: The run's configuration, nested as in ``config.json``; empty if there is none.
        born: The epoch at which the present blob structure appeared and has held since, or None.
        diagnostics_missing: Why there are no diagnostics, or None if there are some.
        traces: Stage two: ``trace0`` and so on to the series of that trace, over its own epochs.
    """

    name: str
    epochs: Floats
    values: Mapping[str, Floats]
    nonfinite: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    at: Floats | None = None
    began: float | None = None
    restarts: tuple[int, ...] = ()
    n_planned: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    born: int | None = None
    diagnostics_missing: str | None = None
    traces: Mapping[str, RunSeries] = field(default_factory=dict)

    def names(self) -> list[str]:
        """Return the dotted names of all series; those of stage two begin with their trace's."""
        inner = [f"{name}.{own}" for name, trace in self.traces.items() for own in trace.values]
        return [*self.values, *inner]

    def recorded(self) -> dict[str, Floats]:
        """Return all that is known of each epoch: ``at``, where there is one, and the series."""
        return {**self.values} if self.at is None else {AT: self.at, **self.values}

    def part_with(self, name: str) -> tuple[RunSeries, str]:
        """Return where a series is, this run or one of its traces, and its name in there."""
        trace, _, own = name.partition(".")
        found = None if name in self.values else self.traces.get(trace)
        return (self, name) if found is None else (found, own)

    def get(self, name: str) -> Floats:
        """Return the series ``name``; all NaN if the run has none of that name."""
        values = self.values.get(name)
        return np.full(self.epochs.shape, np.nan) if values is None else values
