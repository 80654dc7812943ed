"""Runs with blobs that are built in, for what analyses them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

SHAPE = (32, 512)
OUTER = 200  # pairs of each outer blob


def three_blobs(gap: float = 1.4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Encoder and decoder with two blobs of 200 pairs at (+-gap, +-gap / 10)."""
    rng = np.random.default_rng(seed)
    pairs = rng.normal(size=(SHAPE[0] * SHAPE[1], 2)) * (0.05, 0.005)
    pairs[:OUTER] += (gap, gap / 10)
    pairs[OUTER : 2 * OUTER] -= (gap, gap / 10)
    rng.shuffle(pairs)
    encoder, decoder = (pairs[:, k].reshape(SHAPE).astype(np.float32) for k in (0, 1))
    return encoder, decoder.T.copy()


def save(path: Path, gap: float = 1.4) -> Path:
    encoder, decoder = (torch.from_numpy(array) for array in three_blobs(gap))
    torch.save({"fc1.weight": encoder, "fc2.weight": decoder}, path)
    return path


def make_run(parent: Path) -> Path:
    folder = parent / "experiments" / "mine_20260118_143022"
    (folder / "checkpoints").mkdir(parents=True)
    save(folder / "model.pth")
    for epoch, gap in ((1, 0.0), (2, 0.1), (3, 1.4)):
        save(folder / "checkpoints" / f"epoch_{epoch:04d}.pth", gap)
    return folder
