"""diagnostics: finds blobs in the cloud of encoder-decoder weight pairs.

Public names are loaded at first use: importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diagnostics.analysis.experiment import analyze_experiment as analyze_experiment
    from diagnostics.blobs import blob_structure as blob_structure
    from diagnostics.sampled import (
        compute_lightweight_blob_metrics as compute_lightweight_blob_metrics,
    )
    from diagnostics.sampled import full_blob_analysis as full_blob_analysis

_HOMES = {
    "analyze_experiment": "diagnostics.analysis.experiment",
    "blob_structure": "diagnostics.blobs",
    "compute_lightweight_blob_metrics": "diagnostics.sampled",
    "full_blob_analysis": "diagnostics.sampled",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
