"""profiler: finds the batch size to use, by isolated trials and honest statistics.

Public names are loaded at first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from profiler.api import profile_batch_sizes as profile_batch_sizes
    from profiler.profiles import BatchProfile as BatchProfile
    from profiler.recommendation import Recommendation as Recommendation
    from profiler.settings import Settings as Settings

_HOMES = {
    "profile_batch_sizes": "profiler.api",
    "BatchProfile": "profiler.profiles",
    "Recommendation": "profiler.recommendation",
    "Settings": "profiler.settings",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
