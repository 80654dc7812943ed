"""What a step's time is spent on, and what helps. Pure."""

from __future__ import annotations

from profiler.analysis import Analysis
from profiler.record import Record
from trainer.config import ExperimentConfig

MMAP_THRESHOLD_BYTES = 32 << 20
"""glibc maps allocations above this anew every time (mallopt(3), M_MMAP_THRESHOLD)."""
HIGH_SYSTEM = 0.10
HIGH_DATA = 0.25
HIGH_OPTIMIZER = 0.20
LOW_PRODUCTS = 0.30
LOW_CPU = 0.80


def product_share(record: Record, analysis: Analysis, size: int) -> float | None:
    """Return the matrix products of a step as a share of what the machine could do in its time."""
    trial, speed = record.trial(size), analysis.speeds.get(size)
    if trial is None or trial.phases is None or speed is None or not record.flops_per_s:
        return None
    return trial.phases.step_operations / speed.step_s.value / record.flops_per_s


def remedies(record: Record, analysis: Analysis, config: ExperimentConfig) -> list[str]:
    """Return one line for each thing that costs more than it should, or one that nothing does."""
    found = [
        *_system(record, analysis, config),
        *_phases(record),
        *_products(record, analysis),
        *_threads(record, analysis),
    ]
    return found or ["Nothing stands out: the matrix products take most of the time."]


def _system(record: Record, analysis: Analysis, config: ExperimentConfig) -> list[str]:
    if record.device != "cpu":
        return []
    slow = [s for s, v in sorted(analysis.speeds.items()) if v.system_share > HIGH_SYSTEM]
    if not slow:
        return []
    row_bytes = 4 * max(config.data.d, config.model.hidden_size)
    largest = MMAP_THRESHOLD_BYTES // row_bytes
    text = f"{_sizes(slow)}: over {HIGH_SYSTEM:.0%} of the CPU time is the kernel's."
    if max(slow) > largest:
        return [
            f"{text} On glibc, tensors over 32 MiB (above batch size {largest:,} here) are mapped"
            " anew at every step; stay below, or run with"
            " GLIBC_TUNABLES=glibc.malloc.mmap_max=0:"
            "glibc.malloc.trim_threshold=17179869184."
        ]
    return [
        f"{text} Page faults of freshly allocated memory are the usual cause; run with"
        " GLIBC_TUNABLES=glibc.malloc.trim_threshold=4294967296."
    ]


def _phases(record: Record) -> list[str]:
    data, optimizer = [], []
    for trial in record.trials:
        phases = trial.phases
        if phases is None:
            continue
        whole = phases.data_s + phases.step_s
        if phases.data_s > HIGH_DATA * whole:
            data.append(trial.batch_size)
        if phases.optimizer_s > HIGH_OPTIMIZER * whole:
            optimizer.append(trial.batch_size)
    found = []
    if data:
        found.append(
            f"{_sizes(data)}: making the data takes over {HIGH_DATA:.0%} of a step;"
            " a larger batch does not help, a GPU or more threads do."
        )
    if optimizer:
        found.append(
            f"{_sizes(optimizer)}: the optimizer takes over {HIGH_OPTIMIZER:.0%} of a"
            " step; its cost is the same at every size, so a larger batch helps."
        )
    return found


def _products(record: Record, analysis: Analysis) -> list[str]:
    low = [
        size
        for size in sorted(analysis.speeds)
        if (share := product_share(record, analysis, size)) is not None and share < LOW_PRODUCTS
    ]
    if not low:
        return []
    return [
        f"{_sizes(low)}: under {LOW_PRODUCTS:.0%} of the machine's rate of matrix"
        " products; the rest is the cost of each call and memory traffic of tanh, noise and loss."
        " Larger d or hidden use the machine better, and so does a larger batch where the step"
        " time hardly grows with it."
    ]


def _threads(record: Record, analysis: Analysis) -> list[str]:
    if record.device != "cpu":
        return []
    idle = []
    for size, speed in sorted(analysis.speeds.items()):
        trial = record.trial(size)
        if trial is not None and trial.threads > 1 and speed.cpu_share < LOW_CPU * trial.threads:
            idle.append(size)
    if not idle:
        return []
    return [
        f"{_sizes(idle)}: the threads are idle or waiting for over"
        f" {1 - LOW_CPU:.0%} of the time; compare with --threads 1."
    ]


def _sizes(sizes: list[int]) -> str:
    return f"Batch size{'s' * (len(sizes) > 1)} {', '.join(f'{size:,}' for size in sizes)}"
