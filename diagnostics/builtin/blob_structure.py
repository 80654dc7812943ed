"""``blob_structure``: the blobs of all weight pairs, from the density grid."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from diagnostics.blobs import find_blobs
from diagnostics.blobs.structure import DEFAULT_RULE
from diagnostics.contract.protocol import Epoch, Value
from diagnostics.contract.snapshot import Part

LISTS = {
    "center": "blob_centers",
    "share": "blob_shares",
    "std": "blob_stds",
    "correlation": "blob_correlations",
    "depth": "blob_depths",
    "silhouette": "blob_silhouettes",
}
"""Key of a blob to the field that lists it over all blobs, largest first."""


class BlobStructure:
    """Number, separation and shape of the blobs, and when the present structure was born."""

    name = "blob_structure"
    needs: frozenset[Part] = frozenset({"density"})

    def __init__(
        self,
        min_depth: float = DEFAULT_RULE.min_depth,
        min_share: float = DEFAULT_RULE.min_share,
        confidence: float = DEFAULT_RULE.confidence,
    ) -> None:
        """Take the options of `diagnostics.blobs.find_blobs`.

        Raises:
            ValueError: One is out of its range.
        """
        self.options = {"min_depth": min_depth, "min_share": min_share, "confidence": confidence}
        for name, most in (("min_depth", 1.0), ("min_share", 1.0), ("confidence", math.inf)):
            if not 0 <= self.options[name] <= most:
                shown = "0 or more" if most == math.inf else "from 0 to 1"
                raise ValueError(f"{name} = {self.options[name]}: must be {shown}")

    def compute(self, epoch: Epoch) -> Mapping[str, Value]:
        """Return the fields, every name with ``blob`` in it."""
        started = time.perf_counter()
        found = dict(find_blobs(epoch.snapshot.density, **self.options))
        blobs = found.pop("blobs")
        fields: dict[str, Value] = {
            key if "blob" in key else f"blob_{key}": value for key, value in found.items()
        }
        for key, name in LISTS.items():
            fields[name] = [blob[key] for blob in blobs]
        fields["blob_born_epoch"] = born_epoch(epoch, found["n_blobs"])
        fields["blob_time_ms"] = (time.perf_counter() - started) * 1e3
        return fields


def born_epoch(epoch: Epoch, n_blobs: int) -> int:
    """Return the epoch at which the present number of blobs appeared and has held since."""
    born = epoch.previous.get("blob_born_epoch")
    # Each trace of stage two begins at epoch 1 again: what came before it was another network.
    if epoch.previous.get("n_blobs") == n_blobs and born is not None and born < epoch.event.epoch:
        return int(born)
    return epoch.event.epoch
