"""``sampled_clusters``: the guide's metrics on a sample of pairs, exactly as specified there."""

from __future__ import annotations

from collections.abc import Mapping

from diagnostics.contract.protocol import Epoch, Value
from diagnostics.contract.snapshot import Part
from diagnostics.sampled import pair_metrics


class SampledClusters:
    """Statistics and DBSCAN of the sampled pairs (``training.diagnostic_sample_size`` of them)."""

    name = "sampled_clusters"
    needs: frozenset[Part] = frozenset({"pairs"})

    def __init__(self, eps: float = 0.1, min_samples: int = 50) -> None:
        """Set DBSCAN's radius and number of points."""
        self.eps = eps
        self.min_samples = min_samples

    def compute(self, epoch: Epoch) -> Mapping[str, Value]:
        """Return the guide's fields."""
        return pair_metrics(epoch.snapshot.pairs, eps=self.eps, min_samples=self.min_samples)
