"""``spectrum``: how many directions encoder and decoder use."""

from __future__ import annotations

import numpy as np

from diagnostics.contract.protocol import Epoch, Value


class Spectrum:
    """Leading singular values and participation ratio of encoder and decoder."""

    name = "spectrum"
    needs = frozenset({"weights"})

    def __init__(self, k: int = 5) -> None:
        """Take the number of singular values to keep."""
        self.k = k

    def compute(self, epoch: Epoch) -> dict[str, Value]:
        """Return the k largest singular values and (sum s^2)^2 / sum s^4; None without either."""
        fields: dict[str, Value] = {}
        snapshot = epoch.snapshot
        for side, weights in (("encoder", snapshot.encoder), ("decoder", snapshot.decoder)):
            values, ratio = None, None
            if np.isfinite(weights).all():
                s = np.linalg.svd(weights.astype(np.float64), compute_uv=False)
                values = s[: self.k].tolist()
                p = (s / s[0]) ** 2 if s[0] > 0 else s
                ratio = float(p.sum() ** 2 / (p**2).sum()) if s[0] > 0 else None
            fields[f"spectrum_{side}_values"] = values
            fields[f"spectrum_{side}_participation"] = ratio
        return fields
