"""What the profiler and a trial say to each other; the trial's half is `trainer.trial`.

One JSON object a line; the field ``type`` names the class. Units: seconds, bytes.
"""

from __future__ import annotations

from typing import Any

import msgspec

PROTOCOL_VERSION = 3


class Message(msgspec.Struct, tag=True, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Base of the messages; the field ``type`` holds the class's name."""


class Describe(Message, frozen=True):
    """Say where a trial for this device (``cpu``, ``cuda``, ``cuda:N``) would run."""

    device: str


class Prepare(Message, frozen=True):
    """Build network, optimizer and data; limit memory; take ``n_steps`` steps and evaluate once.

    ``growth_bytes``: how far the address space may grow from here; null for no limit.
    """

    config: dict[str, Any]
    threads: int | None = None
    growth_bytes: int | None = None
    n_steps: int = 3


class TakeWindow(Message, frozen=True):
    """Take ``n_steps`` steps after ``n_warm_up`` that are not counted: caches and threads wake."""

    n_steps: int
    n_warm_up: int


class TrainEpochs(Message, frozen=True):
    """Train a fresh network; one `EpochTrained` each, then `Finished`.

    ``to_loss``: end early once two looks in a row found the training loss that low.
    ``noise_samples``: samples a batch for the gradient noise after each epoch; 0 for none.
    """

    n_epochs: int
    learning_rate: float
    to_loss: float | None = None
    noise_samples: int = 0


class MeasurePhases(Message, frozen=True):
    """Time the parts of ``n_steps`` steps."""

    n_steps: int


class MeasureProducts(Message, frozen=True):
    """Measure the rate of float32 matrix products for about ``seconds``."""

    seconds: float


class MeasureMemory(Message, frozen=True):
    """Say how much memory training used at most, instruments excluded."""


class Park(Message, frozen=True):
    """Give buffers back until the next window, which makes them anew."""


class Described(Message, frozen=True):
    """The device, ``cpu`` where there is no such GPU, and a GPU's memory."""

    protocol: int
    device: str
    device_name: str
    torch_version: str
    free_bytes: int | None = None
    total_bytes: int | None = None


class Prepared(Message, frozen=True):
    """Ready. Memory before any batch was made and after the first steps; seconds of the last."""

    threads: int
    base_bytes: int
    step_s: float
    memory: MemoryUsed


class MemoryUsed(Message, frozen=True):
    """Peaks. ``peak_bytes``: VmHWM of this process, or of the GPU's allocator."""

    peak_bytes: int
    reserved_bytes: int | None = None
    device_used_bytes: int | None = None
    device_total_bytes: int | None = None
    n_allocator_retries: int | None = None


class WindowTaken(Message, frozen=True):
    """A stretch of training: data, steps, and what the operating system charged for it."""

    n_steps: int
    n_samples: int
    wall_s: float
    cpu_s: float
    system_s: float
    n_page_faults: int


class EpochTrained(Message, frozen=True):
    """An epoch, or its part until the target loss. ``curve``: steps so far, mean training loss."""

    epoch: int
    n_steps: int
    n_samples: int
    wall_s: float
    train_loss: float | None
    test_loss: float | None
    curve: list[tuple[float, float]]
    noise: list[tuple[int, float, float]]
    reached: bool = False


class Finished(Message, frozen=True):
    """The last reply to a request that has several."""


class PhasesTimed(Message, frozen=True):
    """Seconds over all steps.

    ``step_s`` is everything but the data. ``forward_s``: the losses alone, without gradients;
    ``backward_s``: what losses and gradients together take beyond that; ``optimizer_s``: the
    update. ``step_operations``: floating-point operations of the matrix products of one step.
    """

    n_steps: int
    data_s: float
    step_s: float
    forward_s: float
    backward_s: float
    optimizer_s: float
    step_operations: float


class ProductsMeasured(Message, frozen=True):
    """Floating-point operations in a second, two for each multiply-add."""

    flops_per_s: float


class Failed(Message, frozen=True):
    """The request failed: ``out_of_memory`` or ``error``; the process ends."""

    kind: str
    message: str


Request = (
    Describe
    | Prepare
    | TakeWindow
    | TrainEpochs
    | MeasurePhases
    | MeasureProducts
    | MeasureMemory
    | Park
)
Reply = (
    Described
    | Prepared
    | MemoryUsed
    | WindowTaken
    | EpochTrained
    | Finished
    | PhasesTimed
    | ProductsMeasured
    | Failed
)
