"""For authors of diagnostics: complete fake epochs, and a check in the real worker process.

Shapes: H hidden units, D inputs; the encoder is (H, D), the decoder (D, H).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diagnostics.contract.events import EpochEnded, Timing
from diagnostics.contract.protocol import Epoch
from diagnostics.contract.snapshot import PARTS, Snapshot, take_parts

HIDDEN, D = 48, 64
SMALL_SHAPES = {"few_pairs": (2, 3), "one_pair": (1, 1)}
CASES = {
    "normal": "independent normal weights",
    "three_blobs": "a large blob at the origin, two small ones at its sides",
    "constant": "every weight the same",
    "tiny_values": "weights of about 1e-30",
    "nan": "a NaN and an infinity among normal weights",
    "all_nan": "nothing but NaN",
    "few_pairs": "2 hidden units, 3 inputs",
    "one_pair": "1 hidden unit, 1 input",
}
"""Kind of generated weights to what they are; `check_diagnostic` goes through all of them."""


def fake_epoch(
    kind: str = "normal",
    *,
    encoder: Any = None,
    decoder: Any = None,
    parts: Collection[str] = PARTS,
    epoch: int = 1,
    folder: Path | str = ".",
    config: Mapping[str, Any] | None = None,
    previous: Mapping[str, Any] | None = None,
    fields: Mapping[str, Any] | None = None,
    last: bool = False,
    n_samples: int = 5000,
    seed: int = 0,
) -> Epoch:
    """Return a complete epoch as a diagnostic sees it, its arrays read-only as in a real run.

    Args:
        kind: What weights to generate, a key of `CASES`; ignored if weights are given.
        encoder: Array or tensor of shape (H, D), to be given together with ``decoder``.
        decoder: Array or tensor of shape (D, H).
        parts: Parts of the snapshot that are there; a diagnostic gets those of its ``needs``.
        epoch: Number of the epoch, from 1.
        folder: The run's folder.
        config: The run's configuration.
        previous: Fields of the epoch before.
        fields: Fields of this epoch so far.
        last: Whether it is the last epoch.
        n_samples: Number of pairs in ``snapshot.pairs``, if the weights have as many.
        seed: Seed of generated weights and of the sample.

    Raises:
        ValueError: There is no such kind.
    """
    if (encoder is None) != (decoder is None):
        raise ValueError("encoder and decoder: give both or none")
    if encoder is None:
        encoder, decoder = fake_weights(kind, seed)
    header, frames = take_parts(encoder, decoder, parts, n_samples=n_samples, seed=seed)
    return Epoch(
        event=fake_event(epoch),
        snapshot=Snapshot(header, [bytes(frame) for frame in frames]),
        folder=Path(folder),
        config=config or {},
        previous=previous or {},
        fields=fields or {},
        last=last,
    )


def fake_weights(
    kind: str = "normal", seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return an encoder of shape (H, D) and a decoder of shape (D, H) of a kind in `CASES`."""
    if kind not in CASES:
        raise ValueError(f"kind {kind!r}: there are {', '.join(CASES)}")
    generator = np.random.default_rng(seed)
    h, d = SMALL_SHAPES.get(kind, (HIDDEN, D))
    encoder, decoder = generator.normal(size=(h, d)), generator.normal(size=(d, h))
    if kind == "constant":
        encoder[:], decoder[:] = 0.5, 0.5
    elif kind == "tiny_values":
        encoder, decoder = encoder * 1e-30, decoder * 1e-30
    elif kind == "nan":
        encoder[0, 0], decoder[1, 1] = np.nan, np.inf
    elif kind == "all_nan":
        encoder[:], decoder[:] = np.nan, np.nan
    elif kind == "three_blobs":
        side = generator.choice([-1.0, 0.0, 1.0], p=[0.05, 0.9, 0.05], size=(h, d))
        encoder = 1.4 * side + 0.05 * encoder
        decoder = 0.08 * side.T + 0.005 * decoder
    return encoder.astype(np.float32), decoder.astype(np.float32)


def check_diagnostic(
    diagnostic: str | type | Callable[..., Any],
    *,
    options: Mapping[str, Any] | None = None,
    time_limit_s: float = 5.0,
) -> None:
    """Run a diagnostic on every case, in a worker process like that of a real run.

    It must compute every case within the time limit, from the parts that its ``needs`` name;
    return a flat mapping that strict JSON can hold; return the same when the epoch is replayed
    (but for fields with ``time`` in their names); leave the snapshot as it is; and give no field
    that a default diagnostic gives.

    Args:
        diagnostic: A class or function at the top level of a module, the name under which one
            is installed, or ``module:object``.
        options: Keywords for the class, as in a configuration.
        time_limit_s: Longest time for one epoch; enforced by ending the process.

    Raises:
        ValueError: A worker process could not find the diagnostic under its name.
        AssertionError: With one line for each problem: diagnostic, case, field and remedy.
    """
    from diagnostics.examination import examine, reference

    found = examine(diagnostic, options=options, time_limit_s=time_limit_s)
    problems = [f"{reference(diagnostic)}: {p}" for result in found for p in result.problems]
    if problems:
        raise AssertionError("\n".join(problems))


def fake_event(number: int = 1) -> EpochEnded:
    """Return the event of an epoch, with losses that fall as 1 / ``number``."""
    losses = {"scaled_loss": 2.0 / number, "loss_on": 1.5 / number, "loss_off": 0.5 / number}
    timing = Timing(
        train_seconds=1.0,
        test_seconds=0.1,
        emit_seconds=0.001,
        samples_per_second=1e5,
        peak_memory_bytes=1 << 29,
    )
    return EpochEnded(
        at=f"2026-01-18T14:{number % 60:02d}:00.000+00:00",
        epoch=number,
        train={"loss": 2.1 / number} | losses,
        test=losses,
        timing=timing,
    )
