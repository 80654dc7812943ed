"""From what changed on the disk to a run's new numbers: which file to read, and from where."""

from __future__ import annotations

from monitord.finding.sweeping import NO_FILE, Signature, Signatures
from monitord.reading import files
from monitord.reading.runs import Run


def read_changes(
    run: Run,
    before: Signatures,
    now: Signatures,
    *,
    all_again: bool = False,
) -> tuple[bool, str | None]:
    """Read what changed in a run's folder.

    Args:
        run: The run; it takes over what is read.
        before: Signatures of its files at the last reading.
        now: The same at present.
        all_again: Read also the files whose signature is the same: they may hide a change.

    Returns:
        Whether there are new numbers, and why a file tells nothing, or None.
    """
    changed = False
    trouble: str | None = None
    if now[0] == before[0] and not all_again:
        pending = run.trouble_pending
        trouble = pending.reason if pending is not None and now[0] != NO_FILE else None
    elif now[0] != NO_FILE or before[0] != NO_FILE:
        try:
            changed = _read_results(run)
        except FileNotFoundError:
            trouble = "results.json is gone"
        except files.Unreadable as error:
            trouble = f"results.json: {error}"
    over = run.standing.is_over and now[1][1] <= now[0][1]
    if now[1] != NO_FILE and not (over and before[1] in (NO_FILE, now[1])):
        try:
            changed = _read_journal(run, before[1], now[1]) or changed
        except files.Unreadable as error:
            trouble = trouble or (str(error) if now[0] == NO_FILE else None)
    if now[2] != before[2] or now[2] == NO_FILE or all_again or not run.config:
        _read_config(run)
    return changed, trouble


def _read_results(run: Run) -> bool:
    data = files.read_bytes(f"{run.folder}/results.json", files.MAX_RESULTS_BYTES)
    found = files.parse_results(data, run.checksums)
    if run.needs_whole_file(found):
        found = files.parse_results(data)
    return run.apply_results(found)


def _read_journal(run: Run, before: Signature, now: Signature) -> bool:
    if now[0] != before[0] or now[2] < run.journal_end:
        run.journal_end = 0  # another file, or a shorter one
    found = files.read_events(run.folder / "events.log", run.journal_end)
    run.journal_end = found.end
    return run.apply_events(found.events) if found.events else False


def _read_config(run: Run) -> None:
    """Take over ``config.json``, else what ``results.json`` holds of it; else nothing."""
    found = files.read_config(run.folder / "config.json")
    embedded = run.document.config
    run.take_config(found or (embedded if isinstance(embedded, dict) else {}) or run.config)
