"""A diagnostic that costs nothing to load or compute, for tests that start hundreds of workers."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from diagnostics.contract.protocol import Epoch, Value

NAME = "tests.cheap:Norm"


class Norm:
    name = "norm"
    needs = frozenset({"weights"})

    def compute(self, epoch: Epoch) -> Mapping[str, Value]:
        return {"norm": float(np.abs(epoch.snapshot.encoder).sum()), "of_epoch": epoch.event.epoch}


class Slow(Norm):
    def compute(self, epoch: Epoch) -> Mapping[str, Value]:
        time.sleep(0.05)
        return super().compute(epoch)
