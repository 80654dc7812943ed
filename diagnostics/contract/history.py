"""How the events of a run become its results.

Applying events is idempotent: a record that is already in the results changes nothing, so a replay
after a crash is harmless.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from diagnostics.contract import strictjson
from diagnostics.contract.events import AnyEvent, EpochEnded, RunEnded, RunStarted, TraceStarted
from diagnostics.contract.results import Fields, Results, Segment, Stage2, Stored, Trace


def epoch_entry(
    event: EpochEnded,
    diagnostics: Fields | None = None,
    diagnostic_errors: dict[str, str] | None = None,
) -> Fields:
    """Return the entry of an epoch in ``training_history``.

    Args:
        event: The epoch.
        diagnostics: The fields of its diagnostics; None where diagnostics are off.
        diagnostic_errors: Name of the diagnostic (or ``snapshot``) to the reason why its fields
            are missing.
    """
    nonfinite: dict[str, str] = {}
    entry: Fields = {
        "epoch": event.epoch,
        "train": strictjson.plain(event.train, "train", nonfinite),
        "test": strictjson.plain(event.test, "test", nonfinite),
        "timing": strictjson.plain(msgspec.to_builtins(event.timing), "timing", nonfinite),
        "at": event.at,
    }
    if diagnostics is not None:
        entry["diagnostics"] = strictjson.plain(diagnostics, "diagnostics", nonfinite)
    if diagnostic_errors:
        entry["diagnostic_errors"] = strictjson.plain(diagnostic_errors)
    if nonfinite:
        entry["nonfinite"] = nonfinite
    return entry


def new_results(event: RunStarted) -> Results:
    """Return the results of a run that has just begun."""
    return Results(
        run_id=event.run_id,
        experiment_name=event.experiment_name,
        output_dir=event.output_dir,
        device=event.device,
        epochs=event.epochs,
        started_at=event.at,
        updated_at=event.at,
        process=event.process,
        environment=event.environment,
        segments=[],
        training_history=[],
    )


def replay(events: Iterable[AnyEvent]) -> Results | None:
    """Return the results that a run's events make, without diagnostics; None before its start."""
    results: Results | None = None
    seen: set[tuple[int | None, int]] = set()
    for event in events:
        if isinstance(event, RunStarted):
            if results is None or results.run_id != event.run_id:
                results, seen = new_results(event), set()
            apply_start(results, event)
        elif results is None:
            continue
        elif isinstance(event, TraceStarted):
            apply_trace(results, event)
        elif isinstance(event, EpochEnded) and (event.trace, event.epoch) not in seen:
            apply_epoch(results, event, epoch_entry(event))
            seen.add((event.trace, event.epoch))
    return results


def apply_start(results: Results, event: RunStarted) -> None:
    """Record that a training process began to work on the run."""
    if any(known.segment == event.segment for known in results.segments):
        return
    if results.segments and results.segments[-1].status == "running":
        close_segment(results.segments[-1], "the training process died without a word")
    results.segments.append(
        Segment(
            segment=event.segment,
            started_at=event.at,
            first_epoch=event.first_epoch,
            process=event.process,
        )
    )
    results.status, results.status_reason, results.ended_at = "running", None, None
    results.final_metrics = None
    results.process, results.device = event.process, event.device
    results.environment, results.output_dir = event.environment, event.output_dir
    results.epochs = event.epochs
    results.stage2_epochs, results.num_traces = event.stage2_epochs, event.num_traces


def drop_unrecorded(results: Results, recorded: tuple[int, int]) -> bool:
    """Drop what is beyond the last recorded trace and epoch; return whether anything was.

    A trainer whose journal cannot be written still delivers its epochs. When it ends like that, the
    one that resumes trains them again, perhaps with other settings.
    """
    n_before = count_entries(results)
    results.training_history = _recorded(results.training_history, -1, recorded)
    if results.stage2 is not None:
        traces = [t for t in results.stage2.traces if (t.trace, 0) <= recorded]
        for trace in traces:
            trace.training_history = _recorded(trace.training_history, trace.trace, recorded)
        results.stage2.traces = traces
    return count_entries(results) != n_before


def count_entries(results: Results) -> int:
    """Return the number of epochs of all stages."""
    traces = results.stage2.traces if results.stage2 is not None else []
    return len(results.training_history) + sum(len(trace.training_history) for trace in traces)


def _recorded(
    entries: list[msgspec.Raw], trace: int, recorded: tuple[int, int]
) -> list[msgspec.Raw]:
    if trace < recorded[0]:
        return entries
    epochs = [msgspec.json.decode(entry, type=Stored).epoch for entry in entries]
    return [e for e, epoch in zip(entries, epochs, strict=True) if (trace, epoch) <= recorded]


def apply_trace(results: Results, event: TraceStarted) -> None:
    """Record that a trace of stage two began."""
    if results.stage2 is None:
        mixture = {"shares": event.shares, "means": event.means, "stds": event.stds}
        results.stage2 = Stage2(mixture=mixture, traces=[])
    if find_trace(results, event.trace) is None:
        results.stage2.traces.append(Trace(trace=event.trace, training_history=[]))


def find_trace(results: Results, number: int) -> Trace | None:
    """Return a trace of stage two, or None if it has not begun."""
    traces = results.stage2.traces if results.stage2 is not None else []
    return next((trace for trace in traces if trace.trace == number), None)


def apply_epoch(results: Results, event: EpochEnded, entry: Fields) -> None:
    """Append the entry of an epoch to the history of its stage.

    Raises:
        ValueError: It belongs to a trace that has not begun.
    """
    raw = msgspec.Raw(strictjson.encode(entry))
    if event.trace is None:
        results.training_history.append(raw)
        return
    trace = find_trace(results, event.trace)
    if trace is None:
        raise ValueError(f"epoch {event.epoch} of trace {event.trace}, which has not begun")
    trace.training_history.append(raw)
    own = entry["test"].get("scaled_loss")
    last = msgspec.json.decode(results.training_history[-1]) if results.training_history else {}
    stage1 = last.get("test", {}).get("scaled_loss")
    ratio = own / stage1 if own is not None and stage1 else None
    trace.comparison = {
        "test_scaled_loss": own,
        "stage1_test_scaled_loss": stage1,
        "ratio": ratio,
    }


def close_segment(segment: Segment, reason: str) -> None:
    """Mark a segment whose process is gone without an end event."""
    segment.status, segment.reason = "interrupted", reason


def apply_end(results: Results, event: RunEnded, final: Fields | None) -> None:
    """Record how a training process ended; ``final`` is the entry of the last epoch."""
    segment = next((s for s in results.segments if s.segment == event.segment), None)
    if segment is None or segment.ended_at is not None:
        return
    segment.status, segment.reason, segment.ended_at = event.status, event.reason, event.at
    results.status, results.status_reason = event.status, event.reason
    results.ended_at = event.at
    results.training_duration_seconds = event.training_duration_seconds
    if final is not None:
        results.final_metrics = {
            key: final[key] for key in ("epoch", "train", "test", "diagnostics") if key in final
        }
