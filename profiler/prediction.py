"""What a batch size will need, before it is tried. Pure. Units: bytes."""

from __future__ import annotations

from dataclasses import dataclass

from profiler import memory
from profiler.record import Record
from trainer.config import ExperimentConfig


@dataclass(frozen=True, slots=True)
class Prediction:
    """Peak memory; ``is_minimum``: no prediction, but what every form of the step needs."""

    n_bytes: int
    is_minimum: bool

    def __str__(self) -> str:
        words = "needs at least" if self.is_minimum else "predicted"
        return f"{words} {self.n_bytes / 1e9:.2f} GB"


def predict(record: Record, config: ExperimentConfig, size: int) -> Prediction | None:
    """Predict a size's peak from the trials so far, or its least before there are two."""
    seen = [
        (t.batch_size, t.memory.peak_bytes)
        for t in record.trials
        if t.memory is not None and t.status == "completed"
    ]
    model = memory.fit_memory(seen)
    if model is not None:
        return Prediction(model.peak_bytes(size), is_minimum=False)
    bases = [t.base_bytes for t in record.trials if t.base_bytes is not None]
    if not bases:
        return None
    data, hidden = config.data, config.model.hidden_size
    model = memory.floor_model(data.d, hidden, data.sparsity, max(bases))
    return Prediction(model.peak_bytes(size), is_minimum=True)
