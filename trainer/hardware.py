"""What the machine gives a configuration: its device, its arithmetic, room for the network."""

from __future__ import annotations

import logging

import psutil
import torch

from trainer.config import ConfigError, ExperimentConfig
from trainer.model import TwoLayerNet, new_model

logger = logging.getLogger(__name__)


def choose_device(name: str) -> torch.device:
    """Return the device; where there is no such GPU, the CPU, with one clear line."""
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        logger.warning("no GPU for device %r: training on the CPU", name)
        return torch.device("cpu")
    if device.type == "cuda" and device.index is not None:
        # Much of PyTorch asks the current GPU, and would begin to use the first one.
        torch.cuda.set_device(device)
    return device


def check_precision(config: ExperimentConfig, device: torch.device) -> None:
    """Warn where bf16 has no units of its own: there it is many times slower, not faster."""
    if config.training.precision == "bf16" and not has_bf16_units(device):
        logger.warning(
            "training.precision 'bf16': this processor has no bf16 units: 'float32' is much faster"
        )


def has_bf16_units(device: torch.device) -> bool:
    """Return whether the device multiplies bf16 numbers in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    known = torch.cpu.get_capabilities()
    return any(known.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def build_model(config: ExperimentConfig, device: torch.device) -> TwoLayerNet:
    """Return a new network, or say that it cannot fit.

    Raises:
        ConfigError: Weights, gradients and Adam's two moments exceed the machine's memory.
    """
    n_bytes = 4 * 4 * 2 * config.model.hidden_size * config.data.d
    message = (
        f"model.hidden_size {config.model.hidden_size} times data.d {config.data.d}: training needs"
        f" {n_bytes / 2**30:,.1f} GiB for the weights alone, more than there is; make one smaller"
    )
    if n_bytes > _memory_bytes(device):
        raise ConfigError(message)
    try:
        return new_model(config, device)
    except (RuntimeError, MemoryError) as error:
        if device.type == "cpu" or isinstance(error, torch.OutOfMemoryError):
            raise ConfigError(message) from None
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"data.device {str(device)!r}: {line}") from None


def _memory_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return int(psutil.virtual_memory().total)
