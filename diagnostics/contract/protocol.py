"""What a diagnostic is: a name, what it needs of the snapshot, and a function of an epoch.

A complete diagnostic:

    class EncoderNorm:
        name = "encoder_norm"
        needs = frozenset({"weights"})

        def compute(self, epoch: Epoch) -> dict[str, Value]:
            return {"encoder_norm": float((epoch.snapshot.encoder ** 2).sum() ** 0.5)}

with one line in the package's metadata under ``[project.entry-points."blobwatch.diagnostics"]``:
``encoder_norm = "my_package:EncoderNorm"``.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from diagnostics.contract.events import EpochEnded
from diagnostics.contract.snapshot import Part, Snapshot

Value = float | int | str | bool | None | list[Any]
"""What a field of a diagnostic may be; NumPy scalars and arrays are converted."""

ENTRY_POINT_GROUP = "blobwatch.diagnostics"


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """An epoch as a diagnostic sees it.

    Attributes:
        event: Number, losses and timing of the epoch.
        snapshot: The weights, in the parts that the diagnostic needs.
        folder: The run's folder, for diagnostics that draw or keep files.
        config: The run's configuration, as in its ``config.json``; read only.
        previous: The fields of all diagnostics at the epoch before; empty at the first. What
            failed there has the values of the last epoch at which it did not.
        fields: The fields of this epoch so far: those of the diagnostics that ran before this
            one (in the configured order; see `Diagnostic`). Read only; numbers may be NaN.
        last: Whether this is the last epoch of the run as planned.
    """

    event: EpochEnded
    snapshot: Snapshot
    folder: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    previous: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    last: bool = False


@runtime_checkable
class Diagnostic(Protocol):
    """The protocol; any object with these three members is a diagnostic.

    A class found by entry point is called with the options of the configuration as keywords.
    Diagnostics run in the configured order, but one with an attribute ``runs_last = True`` runs
    after all others, so that `Epoch.fields` has everything.
    """

    @property
    def name(self) -> str:
        """Name in messages and in ``diagnostic_errors``."""
        ...

    @property
    def needs(self) -> Set[Part]:
        """Parts of the snapshot: ``pairs``, ``density``, ``weights``; empty for losses alone."""
        ...

    def compute(self, epoch: Epoch) -> Mapping[str, Value]:
        """Return the fields of one epoch, flat; names should begin with the diagnostic's own.

        Whatever is raised costs only these fields of this epoch.
        """
        ...
