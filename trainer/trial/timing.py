"""Windows of training, the parts of a step, and the machine's rate. Units: seconds."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Any

import torch

from diagnostics.contract.trials import PhasesTimed, WindowTaken
from trainer.loop import take_step
from trainer.objective import step_operations
from trainer.trial.subject import Subject

PRODUCT_SIZE, GPU_PRODUCT_SIZE = 1024, 8192
"""On a GPU a small product takes less time than its launch."""


def take_window(subject: Subject, n_steps: int, n_warm_up: int) -> WindowTaken:
    """Take ``n_steps`` steps after ``n_warm_up`` that are not counted."""
    for _ in range(n_warm_up):
        subject.take_one()
    subject.synchronize()
    before = resource.getrusage(resource.RUSAGE_SELF)
    cpu, started = time.process_time(), time.perf_counter()
    n_samples = sum(subject.take_one() for _ in range(n_steps))
    subject.synchronize()
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    return WindowTaken(
        n_steps=n_steps,
        n_samples=n_samples,
        wall_s=wall,
        cpu_s=time.process_time() - cpu,
        system_s=after.ru_stime - before.ru_stime,
        n_page_faults=after.ru_minflt - before.ru_minflt,
    )


def time_phases(subject: Subject, n_steps: int) -> PhasesTimed:
    """Time the parts of a step, by what every form of it has in common.

    Data, step and optimizer are timed in place (the optimizer by its hooks). What the losses alone
    cost is found by computing them once more without gradients, before the step and outside of it;
    the rest of the step up to the optimizer is what the gradients cost. So it does not matter
    whether a form computes gradients along with the losses or afterwards.
    """
    totals = dict.fromkeys(("data", "step", "forward", "backward", "optimizer"), 0.0)
    marks: dict[str, float] = {}

    def mark(name: str) -> Callable[..., None]:
        def note(*_: Any) -> None:
            subject.synchronize()
            marks[name] = time.perf_counter()

        return note

    optimizer = subject.run.optimizer
    handles = [
        optimizer.register_step_pre_hook(mark("gradients")),
        optimizer.register_step_post_hook(mark("updated")),
    ]
    try:
        for _ in range(n_steps):
            mark("start")()
            batch = subject.next_batch()
            mark("data")()
            with torch.no_grad():
                subject.objective(subject.run.model, batch)
            mark("losses")()
            take_step(subject.run, subject.objective, batch)
            mark("end")()
            losses = marks["losses"] - marks["data"]
            totals["data"] += marks["data"] - marks["start"]
            totals["step"] += marks["end"] - marks["losses"]
            totals["forward"] += losses
            totals["backward"] += marks["gradients"] - marks["losses"] - losses
            totals["optimizer"] += marks["updated"] - marks["gradients"]
    finally:
        for handle in handles:
            handle.remove()
    return PhasesTimed(
        n_steps=n_steps,
        data_s=totals["data"],
        step_s=totals["step"],
        forward_s=totals["forward"],
        backward_s=max(0.0, totals["backward"]),
        optimizer_s=totals["optimizer"],
        step_operations=step_operations(subject.config),
    )


def product_rate(subject: Subject, seconds: float) -> float:
    """Return the best rate of matrix products found within ``seconds``, in operations/s.

    Their precision is that of the configuration's products; all threads that a step may use share
    them.
    """
    dtype = torch.bfloat16 if subject.config.training.precision == "bf16" else torch.float32
    n = PRODUCT_SIZE if subject.device.type == "cpu" else GPU_PRODUCT_SIZE
    left = torch.ones(n, n, device=subject.device, dtype=dtype)
    out = torch.empty_like(left)
    best, ends = float("inf"), time.perf_counter() + seconds
    n_threads = torch.get_num_threads()
    torch.set_num_threads(subject.threads_allowed)
    while best == float("inf") or time.perf_counter() < ends:
        subject.synchronize()
        started = time.perf_counter()
        torch.mm(left, left, out=out)
        subject.synchronize()
        best = min(best, time.perf_counter() - started)
    torch.set_num_threads(n_threads)
    return 2 * n**3 / best
