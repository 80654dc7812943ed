"""``pairs_picture``: draws the weight pairs as training goes on, and histograms at its end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from diagnostics.blobs import find_blobs
from diagnostics.contract import strictjson
from diagnostics.contract.density import DensityGrid
from diagnostics.contract.errors import BlobwatchError
from diagnostics.contract.events import EpochEnded, decode_event
from diagnostics.contract.folder import RunFolder
from diagnostics.contract.history import replay
from diagnostics.contract.journal import read_journal
from diagnostics.contract.protocol import Epoch, Value
from diagnostics.contract.results import encode_results
from diagnostics.contract.snapshot import Part

PAIRS_NAME = "encoder_decoder_pairs.png"
ENCODER_NAME = "encoder_weights_histogram.png"
OUTPUTS_NAME = "network_outputs_histogram.png"
TRACES_NAME = "stage2_traces.png"
MAX_DRAW_SHARE = 0.05
"""Share of the time that may go into drawing; epochs that come faster are skipped."""
CHECKPOINT_WAIT_S = 10.0
N_OUTPUTS = 1_000_000
"""Outputs in the histogram, about."""


class PairsPicture:
    """Draws ``encoder_decoder_pairs.png`` where the configuration has ``save_plots``.

    At the last epoch also ``encoder_weights_histogram.png`` and ``network_outputs_histogram.png``,
    and at the last of each trace of stage two ``stage2_traces.png``.
    """

    name = "pairs_picture"
    needs: frozenset[Part] = frozenset({"density"})

    def __init__(self, max_draw_share: float = MAX_DRAW_SHARE) -> None:
        """Set the share of the time that may go into drawing, 0 to 1 (1: every epoch)."""
        if not 0.0 < max_draw_share <= 1.0:
            raise ValueError(f"max_draw_share: got {max_draw_share}; accepted: above 0, up to 1")
        self.max_draw_share = max_draw_share
        self._ended_at = float("-inf")
        self._pause_s = 0.0

    def compute(self, epoch: Epoch) -> Mapping[str, Value]:
        """Draw if it is due; return the milliseconds that it took, None if it was not due.

        Raises:
            BlobwatchError: The last epoch's weights, for the outputs, are not there.
        """
        if not epoch.config.get("save_plots", True):
            return {}
        if epoch.event.trace is not None:
            if epoch.last:
                _draw_traces(epoch)
            return {}
        started = time.monotonic()
        if not epoch.last and started - self._ended_at < self._pause_s:
            return {"pairs_picture_time_ms": None}
        import diagnostics.draw.pairs  # noqa: F401  (seconds, but once: no measure of drawing)

        drawing = time.monotonic()
        grid = epoch.snapshot.density
        structure = find_blobs(grid)
        self._draw_pairs(epoch, grid, structure)
        self._ended_at = time.monotonic()
        self._pause_s = (self._ended_at - drawing) * (1.0 / self.max_draw_share - 1.0)
        if epoch.last:
            _draw_encoder_weights(epoch, grid, structure)
            _draw_outputs(epoch)
        return {"pairs_picture_time_ms": (time.monotonic() - started) * 1e3}

    def _draw_pairs(self, epoch: Epoch, grid: DensityGrid, structure: Mapping[str, Any]) -> None:
        from diagnostics.draw.pairs import draw_pairs
        from diagnostics.draw.paper import write_picture

        name = str(epoch.config.get("experiment_name", ""))
        fields = epoch.fields
        is_same = fields.get("n_blobs") == structure["n_blobs"]
        born = fields.get("blob_born_epoch") if is_same else None
        figure = draw_pairs(grid, structure, epoch=epoch.event.epoch, born=born, name=name)
        write_picture(figure, epoch.folder / PAIRS_NAME)


def _draw_encoder_weights(epoch: Epoch, grid: DensityGrid, structure: Mapping[str, Any]) -> None:
    from diagnostics.draw.histograms import draw_encoder_weights
    from diagnostics.draw.paper import write_picture

    figure = draw_encoder_weights(grid, structure, epoch=epoch.event.epoch)
    write_picture(figure, epoch.folder / ENCODER_NAME)


def _draw_outputs(epoch: Epoch) -> None:
    """Draw the outputs on fresh data.

    The weights, biases included, come from the run's checkpoint: shipping them with every epoch
    for the sake of the last would cost the training thread a copy each time.
    """
    from diagnostics.analysis.outputs import network_outputs
    from diagnostics.draw.histograms import draw_outputs
    from diagnostics.draw.paper import write_picture

    data = epoch.config["data"]
    weights = _wait_for_weights(epoch.folder, epoch.event)
    outputs = network_outputs(
        weights,
        sparsity=data["sparsity"],
        noise_variance=data["noise_variance"],
        n_samples=max(1, N_OUTPUTS // weights.encoder.shape[1]),
        seed=data["seed"],
    )
    figure = draw_outputs(outputs, epoch=epoch.event.epoch)
    write_picture(figure, epoch.folder / OUTPUTS_NAME)


def _draw_traces(epoch: Epoch) -> None:
    """Draw the traces so far from the journal, which has this epoch before the results do."""
    from diagnostics.draw.paper import write_picture
    from diagnostics.draw.traces import draw_traces

    journal = RunFolder(epoch.folder).journal
    results = replay(decode_event(payload) for payload in read_journal(journal).payloads)
    if results is None or results.stage2 is None:
        raise BlobwatchError(f"{journal}: no trace of stage two in it to draw")
    name = str(epoch.config.get("experiment_name", ""))
    content = strictjson.decode(encode_results(results), journal)
    write_picture(draw_traces(content, name=name), epoch.folder / TRACES_NAME)


def _wait_for_weights(root: Path, event: EpochEnded) -> Any:
    """Return the weights after the last epoch; the trainer writes them just after its event.

    A checkpoint of stage two may soon take the place of the last epoch's; ``model.pth`` stays.
    """
    from diagnostics.analysis.saved_weights import load_weights
    from diagnostics.analysis.weights_files import WeightsFile

    path, final, epoch = RunFolder(root).checkpoint, RunFolder(root).model, event.epoch
    ended_at = datetime.fromisoformat(event.at).timestamp()
    deadline = time.monotonic() + CHECKPOINT_WAIT_S
    seen: tuple[int, int] | None = None
    found: int | None = None
    while time.monotonic() < deadline:
        if path.is_file():
            status = path.stat()
            # Replaced, never changed: the same inode and time hold the same weights.
            if (status.st_ino, status.st_mtime_ns) != seen:
                seen = status.st_ino, status.st_mtime_ns
                weights = load_weights(WeightsFile(path))
                found = weights.epoch
                if found == epoch and weights.trace == event.trace:
                    return weights
        # An older one is that of a run that has been continued since.
        if final.is_file() and final.stat().st_mtime > ended_at:
            return load_weights(WeightsFile(final))
        time.sleep(0.1)
    have = "is not there" if found is None else f"is of epoch {found}"
    raise BlobwatchError(f"{path} {have}: no outputs of epoch {epoch} to draw")
