"""Training on a CUDA GPU; without one there is nothing to measure, and what was measured stays.

Samples per second of whole epochs against the textbook loop and the limit of matrix products,
what diagnostics cost, and the waits of the host for the GPU as PyTorch's profiler records them.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import bench_overhead
from benchmarks.bench_training import ours, row
from benchmarks.peers import alone
from benchmarks.table import Row, in_turn
from trainer.config import ExperimentConfig, create_config, load_config
from trainer.hooks import Hooks
from trainer.interruption import Interruption
from trainer.loop import train_epoch
from trainer.objective import step_operations
from trainer.trial.subject import Subject

SHAPES = {(1024, 512): 3_000_000, (8192, 4096): 600_000}
"""Samples of a run by d and hidden: seconds of work, beside which starting the GPU's libraries, in
the first step of ours and of the peer, hardly counts."""
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")
"""Calls of the CUDA runtime in which the host waits; asynchronous copies have another name."""


def settings(d: int, hidden: int, n_train: int, device: str) -> ExperimentConfig:
    """Return the reference preset with another shape, for one epoch."""
    return load_config(
        create_config(
            "reference_3blob",
            d=d,
            hidden_size=hidden,
            n_train=n_train,
            epochs=1,
            device=device,
            save_plots=False,
        )
    )


def product_rate(device: torch.device, n: int = 8192, seconds: float = 2.0) -> float:
    """Return the rate of float32 matrix products, operations/s."""
    left, right = torch.randn(2, n, n, device=device)
    out = torch.mm(left, right)
    wait(device)
    n_products, started = 0, time.perf_counter()
    while time.perf_counter() < started + seconds:
        torch.mm(left, right, out=out)
        wait(device)
        n_products += 1
    return 2 * n**3 * n_products / (time.perf_counter() - started)


def wait(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def limit(config: ExperimentConfig) -> float:
    """Return the samples per second if a step were its matrix products alone."""
    rate = product_rate(torch.device(config.data.device))
    return config.training.batch_size * rate / step_operations(config)


def throughput(config: ExperimentConfig) -> list[Row]:
    """Compare whole epochs with the textbook loop and with the limit."""
    found = in_turn(
        {
            "ours": partial(ours, config),
            "plain loop": partial(alone, "plain_loop", config),
            "limit": partial(limit, config),
        },
        3,
    )
    name = f"GPU, d={config.data.d} hidden={config.model.hidden_size}: whole epochs"
    return [
        row(f"{name} against the plain autograd loop", found["ours"], found["plain loop"], 1),
        row(f"{name} against the matrix-product limit", found["ours"], found["limit"], None),
    ]


def n_waits(config: ExperimentConfig, n_steps: int) -> int:
    """Return how often the host waited for the GPU in an epoch of ``n_steps`` steps."""
    subject = Subject(config)
    source = subject.source()
    with Interruption() as stop, profile(activities=[ProfilerActivity.CPU, *on_gpu()]) as record:
        subject.run.position.step = source.n_batches - n_steps
        train_epoch(subject.run, source, subject.objective, Hooks([]), stop)
    return sum(event.count for event in record.key_averages() if event.key in WAITS)


def on_gpu() -> list[ProfilerActivity]:
    """Return what the profiler records of a GPU, where there is one."""
    return [ProfilerActivity.CUDA] if torch.cuda.is_available() else []


def waits(config: ExperimentConfig) -> Row:
    """Count the waits of 28 more steps: the epoch's end, where the losses are read, has its own."""
    few, many = n_waits(config, 2), n_waits(config, 30)
    return Row(
        "GPU, reference_3blob: waits of the host in 28 steps of an epoch",
        str(many - few),
        f"{few} in an epoch of two steps, where its losses are read",
        None,
        "0",
        many == few,
    )


def measure(device: str = "cuda") -> list[Row]:
    """Measure all rows of this file; none without a GPU."""
    if device == "cuda" and not torch.cuda.is_available():
        return []
    rows = []
    for (d, hidden), n_train in SHAPES.items():
        rows += throughput(settings(d, hidden, n_train, device))
    whole, emit = bench_overhead.measure_preset("reference_3blob", 1.01, 300_000, 16, device)
    rows += [replace(each, name=f"GPU, {each.name}") for each in (whole, emit)]
    return [*rows, waits(settings(1024, 512, 300_000, device))]
