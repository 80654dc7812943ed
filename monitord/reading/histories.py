"""Histories of one run compared: does the new one go on where the old one was, or start over?"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from diagnostics.contract.events import EpochEnded
from monitord.reading.columns import Block, Columns
from monitord.series import TEST_LOSS, TRAIN_LOSS

LOSS_NAMES = (TEST_LOSS, "test.loss", "val.loss", "val.scaled_loss", "test_loss", "val_loss")
TRAIN_NAMES = (TRAIN_LOSS, "train.loss", "train_loss", "loss")


def agrees(previous: Columns, fresh: Columns) -> bool:
    """Return whether two histories tell the same losses for the epochs that both have."""
    _, rows, places = np.intersect1d(
        previous.epochs, fresh.epochs, assume_unique=True, return_indices=True
    )
    if not rows.size:
        return False
    for name in (*LOSS_NAMES, *TRAIN_NAMES):
        one, other = previous.get(name), fresh.get(name)
        if one is not None and other is not None:
            return bool(np.allclose(one[rows], other[places], rtol=1e-12, equal_nan=True))
    return True


def first_difference(previous: Columns, fresh: Columns) -> int:
    """Return the epoch at which a history that was started over begins to differ."""
    shared, rows, places = np.intersect1d(
        previous.epochs, fresh.epochs, assume_unique=True, return_indices=True
    )
    for name in (*LOSS_NAMES, *TRAIN_NAMES):
        one, other = previous.get(name), fresh.get(name)
        if one is not None and other is not None:
            differs = ~np.isclose(one[rows], other[places], rtol=1e-12, equal_nan=True)
            if differs.any():
                return int(shared[np.argmax(differs)])
    return fresh.last_epoch() + 1


def in_order(block: Block) -> list[Block]:
    """Return the parts of a block in each of which the epochs increase."""
    drops = np.flatnonzero(np.diff(block.epochs) <= 0) + 1
    if not drops.size:
        return [block]
    bounds = [0, *drops.tolist(), len(block.epochs)]
    return [_part_of(block, start, end) for start, end in itertools.pairwise(bounds)]


def _part_of(block: Block, start: int, end: int) -> Block:
    """Return the rows from ``start`` up to ``end`` of a block."""
    part = slice(start, end)
    values = {name: column[part] for name, column in block.values.items()}
    marks = {name: column[part] for name, column in block.nonfinite.items()}
    return Block(block.epochs[part], values, marks)


def entry_of(event: EpochEnded) -> dict[str, Any]:
    """Return what ``results.json`` will tell of an epoch that the journal told."""
    timing = {name: getattr(event.timing, name) for name in event.timing.__struct_fields__}
    entry = {"epoch": event.epoch, "train": event.train, "test": event.test}
    return {**entry, "timing": timing, "at": event.at}


def block_of(columns: Columns) -> Block:
    """Return all rows as one block."""
    return Block(columns.epochs, columns.values(), columns.nonfinite())
