"""From what changed on the disk to a run's new numbers: which file to read, and from where."""

from __future__ import annotations

from monitord.finding.sweeping import NO_FILE, RunFiles, Signature
from monitord.reading import files
from monitord.reading.runs import Run


def read_changes(
    run: Run,
    before: RunFiles,
    now: RunFiles,
    *,
    all_again: bool = False,
) -> tuple[bool, str | None]:
    """Read what changed in a run's folder.

    Args:
        run: The run; it takes over what is read.
        before: Signatures of its files at the last reading.
        now: The same at present.
        all_again: Read also the file whose signature is the same: it may hide a change.

    Returns:
        Whether there are new numbers, and why a file tells nothing, or None.
    """
    changed = False
    trouble: str | None = None
    if now.results == before.results and not all_again:
        pending = run.trouble_pending
        trouble = pending.reason if pending is not None and now.results != NO_FILE else None
    elif now.results != NO_FILE or before.results != NO_FILE:
        try:
            changed = _read_results(run)
        except FileNotFoundError:
            trouble = "results.json is gone"
        except files.Unreadable as error:
            trouble = f"results.json: {error}"
    ended_before = run.status not in (None, "running")
    is_older = now.journal[1] <= now.results[1]
    settled = ended_before and is_older and before.journal == NO_FILE
    if now.journal != NO_FILE and not settled:
        try:
            changed = _read_journal(run, before.journal, now.journal) or changed
        except files.Unreadable as error:
            trouble = trouble or (str(error) if now.results == NO_FILE else None)
    if now.config != before.config or (changed and now.config == NO_FILE):
        _read_config(run, now.config)
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


def _read_config(run: Run, now: Signature) -> None:
    """Read ``config.json``; what was known stays while the file is broken."""
    found = files.read_config(run.folder / "config.json") or run.config if now != NO_FILE else {}
    embedded = run.document.config
    run.put_config(found or (embedded if isinstance(embedded, dict) else {}))
