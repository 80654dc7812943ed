"""monitord: watches experiment folders and shows, live, what forms in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monitord.monitor import TrainingMonitor as TrainingMonitor

__all__ = ["TrainingMonitor"]


def __getattr__(name: str) -> Any:
    """Load the public names at first use, so that importing the package costs nothing."""
    if name == "TrainingMonitor":
        from monitord.monitor import TrainingMonitor

        return TrainingMonitor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
