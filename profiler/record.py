"""What a profile found, as it stands in the JSON file beside the report.

Units: seconds, bytes, samples.
"""

from __future__ import annotations

import hashlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from diagnostics.contract import strictjson
from diagnostics.contract.atomic import write_atomic
from diagnostics.contract.errors import UnreadableFileError
from diagnostics.contract.trials import MemoryUsed, PhasesTimed
from profiler.backend import project_root
from profiler.measure import Window
from profiler.plan import Rule
from profiler.status import Status
from trainer.config import ExperimentConfig, to_nested

SCHEMA_VERSION = 3
IRRELEVANT_TRAINING = (
    "batch_size",
    "epochs",
    "enable_diagnostics",
    "diagnostic_sample_size",
    "save_epoch_checkpoints",
    "stage2_epochs",
    "two_stage_training",
    "num_clusters",
    "num_traces",
)


class Epoch(msgspec.Struct, kw_only=True, frozen=True):
    """One epoch of a trial; ``noise``: samples, tr(S), |G|^2 of each batch after it."""

    n_steps: int
    n_samples: int
    wall_s: float
    train_loss: float | None
    test_loss: float | None
    noise: list[tuple[int, float, float]] = []
    reached: bool = False


class TrialRecord(msgspec.Struct, kw_only=True):
    """One batch size under one learning-rate rule.

    ``predicted_bytes`` is no prediction but a minimum where ``predicted_is_minimum``.
    """

    batch_size: int
    rule: Rule
    learning_rate: float
    status: Status
    error_message: str | None = None
    epochs: list[Epoch] = []
    curve: list[tuple[float, float]] = []
    base_bytes: int | None = None
    predicted_bytes: int | None = None
    predicted_is_minimum: bool = False
    memory: MemoryUsed | None = None
    threads: int = 1
    windows: list[Window] = []
    phases: PhasesTimed | None = None


class LimitRecord(msgspec.Struct, kw_only=True):
    """The largest size that fits: probed sizes with their peaks (null: did not fit).

    ``refused``: the smallest size that did not fit; null where nothing was refused.
    """

    largest: int | None
    refused: int | None
    probes: list[tuple[int, int | None]]
    predicted: int | None
    reason: str


class Identity(msgspec.Struct, kw_only=True, frozen=True):
    """What must be equal for a trial's result to be used again."""

    config_hash: str
    settings: dict[str, Any]
    versions: dict[str, str]
    machine: dict[str, Any]


class _Versioned(msgspec.Struct):
    """What every version of the file has."""

    schema_version: int


class Record(msgspec.Struct, kw_only=True):
    """A whole profile."""

    identity: Identity
    config: dict[str, Any]
    schema_version: int = SCHEMA_VERSION
    status: str = "running"
    device: str = "cpu"
    device_name: str = "CPU"
    budget_bytes: int | None = None
    budget_source: str = "unknown"
    test_epochs: int = 5
    to_loss: float | None = None
    optimize: str = "auto"
    flops_per_s: float | None = None
    trials: list[TrialRecord] = []
    limit: LimitRecord | None = None
    elapsed_s: float = 0.0

    def trial(self, size: int, rule: Rule = "constant") -> TrialRecord | None:
        """Return the trial of a size and rule."""
        return next((t for t in self.trials if (t.batch_size, t.rule) == (size, rule)), None)


def identify(config: ExperimentConfig, settings: dict[str, Any]) -> Identity:
    """Return the identity of results for this configuration, these settings and this machine."""
    nested = to_nested(config)
    parts = {key: nested[key] for key in ("model", "training", "loss", "data")}
    parts["training"] = {k: v for k, v in parts["training"].items() if k not in IRRELEVANT_TRAINING}
    return Identity(
        config_hash=hashlib.sha256(strictjson.encode(parts)).hexdigest()[:16],
        settings=settings,
        versions={
            "python": platform.python_version(),
            "torch": _version("torch"),
            "trainer": _trainer_hash(),
        },
        machine={
            "cpu": _cpu_model(),
            "n_cores": len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count(),
            "gpus": _gpu_models(),
            "kernel": platform.release(),
        },
    )


def write_record(path: Path, record: Record, analysis: Any = None) -> None:
    """Replace the file by the record, and what follows from it under ``analysis``."""
    plain: dict[str, Any] = strictjson.builtins(record)
    plain["analysis"] = strictjson.builtins(analysis)
    write_atomic(path, strictjson.encode_indented(plain))


def read_record(path: Path) -> Record | None:
    """Return the record in a file, None if there is no file.

    Raises:
        UnreadableFileError: It is not a record of this version.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnreadableFileError(f"{path}: cannot read ({error.strerror})") from None
    remedy = "delete it or leave --resume away"
    try:
        found = msgspec.json.decode(data, type=_Versioned).schema_version
        if found != SCHEMA_VERSION:
            raise UnreadableFileError(
                f"{path}: schema_version {found}, this program writes {SCHEMA_VERSION}; {remedy}"
            )
        return msgspec.json.decode(data, type=Record)
    except msgspec.DecodeError as error:
        raise UnreadableFileError(f"{path}: not a profile to resume ({error}); {remedy}") from None


def differences(old: Identity, new: Identity) -> list[str]:
    """Name what differs between two identities, such as ``settings (test_epochs 2, now 5)``."""
    before, after = msgspec.to_builtins(old), msgspec.to_builtins(new)
    found = []
    for part in (part for part in before if before[part] != after[part]):
        if not isinstance(before[part], dict):
            found.append(part)
            continue
        keys = [k for k in before[part] | after[part] if before[part].get(k) != after[part].get(k)]
        shown = [f"{k} {before[part].get(k)}, now {after[part].get(k)}" for k in keys]
        found.append(f"{part} ({'; '.join(shown)})")
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _trainer_hash() -> str:
    """Return a hash of the trainer's sources: a faster step is another trainer."""
    digest = hashlib.sha256()
    for path in sorted((project_root() / "trainer").rglob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _gpu_models() -> list[str]:
    models = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in path.read_text().splitlines():
            if line.startswith("Model:"):
                models.append(line.partition(":")[2].strip())
    return models
