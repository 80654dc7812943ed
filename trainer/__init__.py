"""trainer: trains two-layer denoising networks and reports every epoch as an event.

Public names are loaded at first use: importing the package does not import PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.config import ConfigError as ConfigError
    from trainer.config import create_config as create_config
    from trainer.config import load_config as load_config
    from trainer.hooks import Hook as Hook
    from trainer.model import TwoLayerNet as TwoLayerNet
    from trainer.runner import compare_experiments as compare_experiments
    from trainer.runner import load_results as load_results
    from trainer.runner import quick_run as quick_run
    from trainer.runner import run_experiment as run_experiment

_HOMES = {
    "ConfigError": "trainer.config",
    "create_config": "trainer.config",
    "load_config": "trainer.config",
    "Hook": "trainer.hooks",
    "TwoLayerNet": "trainer.model",
    "compare_experiments": "trainer.runner",
    "load_results": "trainer.runner",
    "quick_run": "trainer.runner",
    "run_experiment": "trainer.runner",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
