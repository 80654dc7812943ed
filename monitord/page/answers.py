"""What the API answers: typed data, from which the OpenAPI document is made as well."""

from __future__ import annotations

from typing import Any

import msgspec


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """One run at one moment; names as in ``monitord --json``.

    Attributes:
        id: Opaque name of the run, for addresses.
        name: Its name, with anything unprintable replaced.
        state: running, slow, diverged, stalled, waiting, unreadable, failed, interrupted, finished.
        reason: Why.
        epoch: Last epoch, 0 if there is none.
        n_planned: Epochs that it shall have, or null.
        loss_name: Which loss the loss fields tell, or null.
        loss_last: Last loss; null where it is not finite.
        loss_best: Least loss, or null.
        loss_best_epoch: The epoch of that, or null.
        train_last: Last training loss, or null.
        n_blobs: Blobs by all pairs, else the sampled count, or null.
        n_blobs_sampled: Whether ``n_blobs`` is the sampled count.
        separation: Separation of the blobs, or null.
        silhouette: By all pairs, else the sampled one, or null.
        correlation: Of encoder and decoder weights, or null.
        born: Epoch at which the present blobs appeared, or null.
        epoch_s: Recent seconds per epoch, or null.
        left_s: Seconds that it still needed at ``at``, or null.
        silent_s: Seconds since the last new data at ``at``; null once it has ended.
        n_restarts: Times that it was started again.
        at: When this was so; seconds since 1970, by the server's clock.
        data: Changes whenever there are new numbers to ask for.
        spark: The loss in at most 32 steps, 0 (least) to 99; null where it is not finite.
    """

    id: str
    name: str
    state: str
    reason: str
    epoch: int
    n_planned: int | None
    loss_name: str | None
    loss_last: float | None
    loss_best: float | None
    loss_best_epoch: int | None
    train_last: float | None
    n_blobs: int | None
    n_blobs_sampled: bool
    separation: float | None
    silhouette: float | None
    correlation: float | None
    born: int | None
    epoch_s: float | None
    left_s: float | None
    silent_s: float | None
    n_restarts: int
    at: float
    data: str
    spark: list[int | None]


class AlertTold(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that was told since the monitor started.

    Attributes:
        run: Opaque name of its run; empty if that is gone.
        name: The run's name.
        rule: The rule, in words.
        state: The run's state then.
        reason: Why it was in that state.
        epoch: Its last epoch then.
        at: When, ISO 8601 in UTC.
    """

    run: str
    name: str
    rule: str
    state: str
    reason: str
    epoch: int
    at: str


class RunList(msgspec.Struct, frozen=True, kw_only=True):
    """The runs that were asked for.

    Attributes:
        title: What is watched.
        cursor: Give it to ``/api/events``: only later changes come then.
        now: The server's clock, seconds since 1970.
        n_all: Number of all runs.
        n_matching: Number of runs that satisfy the filter; ``runs`` may be a part of them.
        states: All states, from what needs eyes now to what is over.
        runs: Rows, in the order asked for; left out with ``fields=id``.
        ids: Opaque names alone, with ``fields=id``.
        alerts: The latest alerts, oldest first.
        trouble: Why some folders are found by the sweep alone, or null.
    """

    title: str
    cursor: str
    now: float
    n_all: int
    n_matching: int
    states: list[str]
    runs: list[RunRow | msgspec.Raw]
    ids: list[str]
    alerts: list[AlertTold]
    trouble: str | None


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """An earlier life of a run that started over: its epochs, kept until the monitor ends."""

    n_epochs: int
    last_epoch: int


class RunDetail(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of a run but its numbers.

    Attributes:
        row: Its row.
        folder: Its folder, for people.
        config: Its configuration, nested, or a text that says why it is not shown.
        environment: Versions and hardware, likewise.
        facts: What ``results.json`` says of the run: when it began and ended, device, process.
        restarts: First epochs of the second and later training processes.
        segments: Those processes as the file tells them, likewise.
        earlier: What the run was before it started over.
        trouble: Why the file cannot be read at present, with since when, or null.
        diagnostics_missing: Why there are no diagnostics, or null.
        series: Names of all numeric series.
        nonfinite: Names of series with NaN or an infinity, each with the first such epoch.
        alerts: Its alerts since the monitor started.
    """

    row: RunRow
    folder: str
    config: Any
    environment: Any
    facts: dict[str, Any]
    restarts: list[int]
    segments: Any
    earlier: list[Segment]
    trouble: str | None
    diagnostics_missing: str | None
    series: list[str]
    nonfinite: dict[str, int]
    alerts: list[AlertTold]


class SeriesPart(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of a run that the cursor did not have yet.

    Attributes:
        id: The run.
        cursor: Ask with this next; opaque.
        reset: Forget what you had: the run started over, or the server did.
        more: There are more numbers than fit in one answer: ask again at once.
        epochs: Epochs that are new or have changed, increasing.
        values: Name to one value for each of ``epochs``; null where it is not finite or missing.
            ``at``, if the run records it, is when the epoch ended, seconds since 1970.
        nonfinite: Name to those of ``epochs`` where NaN or an infinity was recorded.
        began: When the run began, seconds since 1970, or null.
        restarts: First epochs of the second and later training processes.
        born: Epoch at which the present blobs appeared, or null.
    """

    id: str
    cursor: str
    reset: bool
    more: bool
    epochs: list[float]
    values: dict[str, list[float | None]]
    nonfinite: dict[str, list[float]]
    began: float | None
    restarts: list[int]
    born: int | None


class Densities(msgspec.Struct, frozen=True, kw_only=True):
    """Which density pictures a run has kept; all show the same window of weights.

    Attributes:
        epochs: Their epochs.
        encoder: Lowest and highest encoder weight of the window.
        decoder: The same of decoder weights.
        size: Rows and columns of each picture.
        trouble: Why there are none, or null.
    """

    epochs: list[int]
    encoder: tuple[float, float]
    decoder: tuple[float, float]
    size: int
    trouble: str | None


class Density(msgspec.Struct, frozen=True, kw_only=True):
    """The density of weight pairs after one epoch.

    Attributes:
        epoch: The epoch.
        n_pairs: Pairs on the grid.
        n_outside: Pairs outside the window.
        n_nonfinite: Pairs with a weight that is NaN or infinite.
        pixels: base64 of size x size bytes, the highest decoder weights first, encoder weights
            from low to high; 0 is empty, 1 to 255 the logarithm of the density.
    """

    epoch: int
    n_pairs: int
    n_outside: int
    n_nonfinite: int
    pixels: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """How runs differ.

    Attributes:
        ids: The runs.
        names: Their names.
        configuration: Keys whose values differ, each with one value for each run.
        n_keys_left_out: How many more such keys there are than fit in an answer.
        outcome: How the runs stand, label to one text for each run.
        groups: Runs whose configurations differ in nothing but seeds.
    """

    ids: list[str]
    names: list[str]
    configuration: dict[str, list[Any]]
    n_keys_left_out: int
    outcome: dict[str, list[str]]
    groups: list[list[str]]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request was refused: one sentence with the remedy."""

    error: str
