"""``monitord doctor PATH``: what watches what, and what it costs."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from diagnostics.contract.locks import is_held
from monitord.durations import in_words
from monitord.finding.roots import Root, parse_roots
from monitord.finding.watches import watches_allowed
from monitord.finding.watching import Watcher
from monitord.fleet import Fleet
from monitord.statekeeping import OwnFiles
from monitord.terminal.lettering import plain_text

N_NAMED = 5
"""Of what is wrong in the same way."""


def run_doctor(paths: Sequence[str], stream: TextIO | None = None) -> int:
    """Print the report for ``paths``; return 0 if all is well, 1 if something is not."""
    out = stream or sys.stdout
    roots = parse_roots(paths)
    fleet = Fleet(roots, grace_s=0.0)
    fleet.sweep()
    first = fleet.last_sweep
    fleet.sweep()
    fleet.judge()
    lines: list[tuple[str, str]] = []
    ok = True
    for root in roots:
        mount = fleet.sweeper.mounts[root]
        events = "no events from there: swept" if mount.is_remote else "events"
        lines.append((f"root {root.given}", f"{mount.kind} on {mount.point}; {events}"))
    sweep = fleet.last_sweep
    assert first is not None and sweep is not None
    states: dict[str, int] = {}
    for run in fleet.runs:
        states[run.verdict.state.value] = states.get(run.verdict.state.value, 0) + 1
    counts = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    lines.append(("runs", f"{len(fleet.runs)} in {len(sweep.folders)} folders; {counts or 'none'}"))
    if sweep.n_hidden_by_bounds:
        ok = False
        text = f"{sweep.n_hidden_by_bounds} folders are left out: too deep or too many"
        lines.append(("PROBLEM", f"{text}. Remedy: watch folders further down"))
    ok = _unreadable_lines(fleet, sweep.unreadable, lines) and ok
    lines.append(("first reading", f"{in_words(first.wall_s)} sweep, then all files"))
    lines.append(("sweep", f"{sweep.wall_s * 1e3:.1f} ms, {sweep.cpu_s * 1e3:.1f} ms processor"))
    slowest = plain_text(fleet.tally.slowest)
    lines.append(("slowest read", f"{fleet.tally.slowest_s * 1e3:.1f} ms  {slowest}"))
    ok = _watch_lines(roots, len(sweep.folders), lines) and ok
    for root in roots:
        ok = _daemon_lines(root, lines) and ok
    width = max(len(label) for label, _ in lines)
    for label, text in lines:
        out.write(f"{plain_text(label):<{width}}  {text}\n")
    return 0 if ok else 1


def _unreadable_lines(
    fleet: Fleet, folders: Sequence[tuple[str, str]], lines: list[tuple[str, str]]
) -> bool:
    """Name the folders and runs that cannot be read: some of each, and how many there are."""
    closed = [f"{path}: cannot be read ({reason})" for path, reason in folders]
    broken = [f"{run.name}: {run.trouble.reason}" for run in fleet.runs if run.trouble is not None]
    for found, what, remedy in (
        (closed, "folders", "give this user the right to read them"),
        (broken, "runs", "python -m diagnostics RUN writes the results anew from the journal"),
    ):
        lines.extend(("PROBLEM", plain_text(text, 400)) for text in found[:N_NAMED])
        if found:
            more = f"and {len(found) - N_NAMED} {what} more. " if len(found) > N_NAMED else ""
            lines.append(("", f"{more}Remedy: {remedy}"))
    return not (closed or broken)


def _watch_lines(roots: list[Root], n_folders: int, lines: list[tuple[str, str]]) -> bool:
    """Try to watch everything, as the daemon would, and say what became of it."""
    watcher = Watcher(roots, threading.Event().set)
    watcher.start()
    report = watcher.report()
    n_watched = watcher.n_watches() or 0
    watcher.stop()
    allowed = watches_allowed()
    lines.append(("back-end", f"watchdog {report.back_end}"))
    lines.append(("watches", f"{report.n_used or 0} used by this check, {allowed or '?'} allowed"))
    queue = Path("/proc/sys/fs/inotify/max_queued_events")
    if queue.exists():
        lines.append(("event queue", f"{queue.read_text().strip()} events before it overflows"))
    if report.trouble:
        lines.append(("PROBLEM", f"{report.trouble}; the sweep finds all changes"))
        return False
    if n_watched < n_folders:
        n_missing = n_folders - n_watched
        text = f"{n_missing} of {n_folders} folders get no watch; the sweep finds their changes"
        lines.append(("PROBLEM", f"{text}. Remedy: raise fs.inotify.max_user_watches"))
        return False
    return True


def _daemon_lines(root: Root, lines: list[tuple[str, str]]) -> bool:
    files = OwnFiles(root)
    if not is_held(files.lock):
        lines.append(("daemon", f"none watches {plain_text(root.given)}"))
        return True
    try:
        status: dict[str, Any] = json.loads(files.status.read_bytes())
        lines.extend(_status_lines(status))
    except (OSError, ValueError, KeyError, TypeError):
        lines.append(("daemon", "at work, but has not written its status yet"))
        return True
    return not status["trouble"] and not status["n_faults"]


def _status_lines(status: dict[str, Any]) -> list[tuple[str, str]]:
    age_s = time.time() - status["written_at_s"]
    pid, every = status["pid"], in_words(status["sweep_every_s"])
    cost_ms = 1e3 * (status["sweep_cpu_s"] or 0.0)
    lines = [
        ("daemon", f"process {pid}, status {in_words(age_s)} old"),
        ("  back-end", plain_text(status["back_end"])),
        ("  watches", f"{status['watches_used']} used, {status['watches_allowed']} allowed"),
        ("  not watched", f"{status['n_unwatched']} folders"),
        ("  events", f"{status['n_events']}; {status['n_overflows']} overflows"),
        ("  restarts", f"{status['n_restarts']} of the observer"),
        ("  sweeps", f"{status['n_sweeps']}, every {every}, the last took {cost_ms:.1f} ms"),
        ("  readings", f"{status['n_readings']}, slowest {1e3 * status['slowest_read_s']:.1f} ms"),
        ("  failures", f"{status['n_faults']} caught; last: {status['last_fault'] or 'none'}"),
    ]
    if status["trouble"]:
        lines.append(("  PROBLEM", plain_text(status["trouble"], 400)))
    return [(label, plain_text(text, 400)) for label, text in lines]
