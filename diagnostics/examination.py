"""The examination of a diagnostic: every case of `diagnostics.testing`, in a worker process."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from diagnostics.consumer.host import Host
from diagnostics.consumer.worker_process import START_LIMIT_S
from diagnostics.contract import strictjson
from diagnostics.contract.folder import RunFolder
from diagnostics.contract.snapshot import take_parts
from diagnostics.registry import DEFAULT_NAMES
from diagnostics.testing import CASES, SMALL_SHAPES, fake_event, fake_weights

BESIDE_DEFAULTS = "beside_defaults"
"""The case that runs a diagnostic together with the default ones, whose fields it may not give."""

LEFT_OUT = "left out after"
NOT_LOADED = "cannot be loaded"
REMEDIES = {
    "is not installed": "while it has no package, name it as MODULE:OBJECT",
    "the snapshot has no": "name that part in needs",
    "read-only": "the snapshot belongs to all diagnostics: change a copy, np.array(x)",
    "time limit": "work on less (the sampled pairs, the density grid), or set time_limit_s",
    "return a mapping": "return a dict of field names to values",
    "is a mapping": "make each of its entries a field of its own",
    "no JSON form": "return numbers, texts, None, lists or NumPy arrays of them",
    NOT_LOADED: "see docs/plugins.md for what an entry point may name",
    "is given by": "begin the names of fields with the diagnostic's own name",
    "epoch takes at most": "return a summary; write what is large to a file in epoch.folder",
    "worker process died": "it ends the process: look for exit calls and faults in compiled code",
}
OTHERWISE = "catch this case in compute, and return None for what cannot be computed"


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What became of one case.

    Attributes:
        case: A key of `CASES`, or `BESIDE_DEFAULTS`.
        n_fields: Number of fields that the diagnostic gave.
        seconds: Wall time of an epoch, transport to the worker and back included.
        problems: One line for each thing that is wrong, with its remedy.
    """

    case: str
    n_fields: int
    seconds: float
    problems: tuple[str, ...]


def examine(
    diagnostic: str | type | Callable[..., Any],
    *,
    options: Mapping[str, Any] | None = None,
    time_limit_s: float = 5.0,
) -> Iterator[CaseResult]:
    """Yield what becomes of each case; see `diagnostics.testing.check_diagnostic`.

    Raises:
        ValueError: A worker process could not find the diagnostic under its name.
    """
    name = reference(diagnostic)
    chosen = {name: dict(options or {}) | {"time_limit_s": time_limit_s}}
    # Pictures give no fields to clash with, and drawing them takes longer than all the rest.
    others = [o for o in DEFAULT_NAMES if o != name and not o.endswith("_picture")]
    beside: dict[str, Any] = {other: {} for other in others}
    of_one_shape = [case for case in CASES if case not in SMALL_SHAPES]
    for configured, cases in (
        (chosen, of_one_shape),
        *((chosen, [case]) for case in SMALL_SHAPES),
        (beside | chosen, [BESIDE_DEFAULTS]),
    ):
        # A new run wherever the shapes change: within a run they never do.
        with tempfile.TemporaryDirectory(prefix="blobwatch-check-") as root:
            for result in _examine_run(Path(root), configured, name, cases):
                yield result
                if _says(result, NOT_LOADED):
                    return


def _says(result: CaseResult, sign: str) -> bool:
    return any(sign in problem for problem in result.problems)


def _examine_run(
    root: Path, configured: Mapping[str, Any], name: str, cases: list[str]
) -> Iterator[CaseResult]:
    folder = RunFolder(root)
    folder.config.write_bytes(strictjson.encode_indented({"diagnostics": configured}))
    # The worker finds what this process finds, such as a module beside a test.
    paths = os.pathsep.join(path for path in sys.path if path)
    host = Host(folder, {"PYTHONPATH": paths})
    try:
        for number, case in enumerate(cases, start=1):
            result = _examine_case(host, name, case, number)
            if _says(result, LEFT_OUT):
                return
            yield result
            if _says(result, NOT_LOADED):
                return
    finally:
        host.close()


def _examine_case(host: Host, name: str, case: str, number: int) -> CaseResult:
    encoder, decoder = fake_weights(case if case in CASES else "normal")
    header, frames = take_parts(encoder, decoder, _needs(host), n_samples=5000, seed=0)
    problems: list[str] = []
    given: list[dict[str, Any]] = []
    seconds = 0.0
    while len(given) < 2 and not problems:
        started = time.perf_counter()
        fields, errors = host.compute(fake_event(number), header, frames, {}, last=False)
        seconds = time.perf_counter() - started
        given.append(fields)
        # The neighbours' troubles are not this diagnostic's.
        problems += [_with_remedy(errors[key]) for key in (name, "worker") if key in errors]
    if not problems:
        problems = [*_unfit(given[0]), *_differences(*given)]
    return CaseResult(
        case, len(given[0]), seconds, tuple(f"case {case}: {problem}" for problem in problems)
    )


def _needs(host: Host) -> tuple[str, ...]:
    """Return what the diagnostics need; nothing if they cannot be loaded, which `compute` says."""
    deadline = time.monotonic() + START_LIMIT_S
    while host.is_alive and time.monotonic() < deadline:
        if (needs := host.poll_needs()) is not None:
            return needs
        time.sleep(0.005)
    return ()


def _with_remedy(reason: str) -> str:
    remedy = next((REMEDIES[sign] for sign in REMEDIES if sign in reason), OTHERWISE)
    return f"{reason}; {remedy}"


def _unfit(fields: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the worker lets pass but results.json or a plot cannot hold well."""
    for field, value in fields.items():
        try:
            strictjson.encode(value)
        except TypeError as error:
            yield f"field {field}: {error}; {REMEDIES['no JSON form']}"


def _differences(first: Mapping[str, Any], again: Mapping[str, Any]) -> Iterator[str]:
    for field in sorted(set(first) | set(again)):
        if "time" not in field and _packed(first, field) != _packed(again, field):
            yield (
                f"field {field} differs when the epoch is replayed ({first.get(field)!r}, then"
                f" {again.get(field)!r}); seed every generator in compute, and take what was"
                " before from epoch.previous alone"
            )


def _packed(fields: Mapping[str, Any], field: str) -> bytes:
    return msgspec.msgpack.encode(fields[field]) if field in fields else b""


def reference(diagnostic: str | type | Callable[..., Any]) -> str:
    """Return the name by which a worker process finds the diagnostic."""
    if isinstance(diagnostic, str):
        return diagnostic
    name = getattr(diagnostic, "__qualname__", None)
    if name is None or "<" in name or diagnostic.__module__ == "__main__":
        raise ValueError(
            f"{diagnostic!r}: a worker process cannot find it; give a class or function at the top"
            " level of an importable module (with options=... for the class), or module:object"
        )
    return f"{diagnostic.__module__}:{name}"
