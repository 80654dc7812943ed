"""The command ``monitord``. Everything heavy is imported where it is needed."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diagnostics.contract.errors import BlobwatchError
from monitord.options import build_compare_parser, build_doctor_parser, build_parser

if TYPE_CHECKING:
    from monitord.fleet import Fleet
    from monitord.reading.runs import Run
    from monitord.states import Limits
    from monitord.terminal.listing import Selection


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, 1 (doctor found something), 2 (bad input)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments and arguments[0] == "compare":
            return _compare(arguments[1:])
        if arguments and arguments[0] == "doctor":
            return _doctor(arguments[1:])
        if arguments == ["--version"]:
            from importlib.metadata import version

            print(f"monitord, blobwatch {version('blobwatch')}")
            return 0
        parser = build_parser()
        options = parser.parse_args(_with_descending_sort(arguments))
        _check(parser, options)
        return _run(options)
    except BlobwatchError as error:
        _complain(str(error))
        return 2
    except BrokenPipeError:
        # The reader of the pipe has seen enough; Python would complain again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _with_descending_sort(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with ``--sort -best``, which argparse takes for an option, as one."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--sort" and argument.startswith("-"):
            joined[-1] = f"--sort={argument}"
        else:
            joined.append(argument)
    return joined


def _complain(message: str) -> None:
    from monitord.terminal.lettering import plain_text

    for line in message.split("\n"):
        print(f"monitord: {plain_text(line, 1000)}", file=sys.stderr)


def _compare(arguments: Sequence[str]) -> int:
    options = build_compare_parser().parse_args(_with_descending_sort(arguments))
    from monitord.terminal.comparison import run_comparison

    return run_comparison(options.paths, options.filter, options.sort, as_json=options.json)


def _doctor(arguments: Sequence[str]) -> int:
    options = build_doctor_parser().parse_args(arguments)
    from monitord.terminal.doctor import run_doctor

    return run_doctor(options.paths)


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    drawing = options.static or options.overlay
    if options.output is not None and not drawing:
        parser.error("--output: goes with --static or --overlay")
    if options.once and (drawing or options.live):
        parser.error("--once: prints the table; not with --static, --overlay or --live")
    if drawing and (options.json or options.live):
        parser.error("--overlay: draws a picture; not with --json or --live")
    if options.plot_dir is not None and options.no_plots:
        parser.error("--plot-dir: not with --no-plots")
    if options.serve and (drawing or options.once or options.json or options.live):
        parser.error("--serve: goes with watching; not with --once, --json, --static or --live")
    if options.token is not None and options.token_file is not None:
        parser.error("--token: not with --token-file")
    for name in ("host", "port", "token", "token_file"):
        if getattr(options, name) is not None and not options.serve:
            parser.error(f"--{name.replace('_', '-')}: goes with --serve")


def _run(options: argparse.Namespace) -> int:
    if options.live:
        return _live(options)
    from monitord.terminal.listing import Selection, look_once, print_json, print_table

    selection = Selection.parse(options.filter, options.sort, options.columns)
    if not (options.once or options.json or options.static or options.overlay):
        from monitord.service import watch

        return watch(options, selection, _limits(options))
    fleet = look_once([*options.paths], _limits(options))
    selection.check(fleet.runs)
    now_s = time.monotonic()
    if options.static or options.overlay:
        return _draw(options, fleet, selection)
    if options.json:
        print_json(fleet, selection, now_s)
    else:
        print_table(fleet, selection, " ".join(options.paths), now_s)
    return 0


def _limits(options: argparse.Namespace) -> Limits:
    from monitord.states import Limits

    return Limits(stalled_s=options.stalled_after)


def _draw(options: argparse.Namespace, fleet: Fleet, selection: Selection) -> int:
    from monitord.static import write_static

    runs = _runs_to_draw(options, fleet, selection)
    output = options.output or _default_output(options, runs)
    try:
        write_static(
            [run.series() for run in runs],
            output,
            overlay=options.overlay is not None,
            log_y=options.log_y,
            smooth=options.smooth,
            metrics=options.metric,
        )
    except ValueError as error:
        raise BlobwatchError(str(error)) from None
    except OSError as error:
        raise BlobwatchError(
            f"{output}: cannot write the picture: {error.strerror}; give another --output FILE"
        ) from None
    print(f"wrote {_shown(output)}")
    return 0


def _shown(path: Path) -> Path:
    """Return a path as it is typed from here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _runs_to_draw(options: argparse.Namespace, fleet: Fleet, selection: Selection) -> list[Run]:
    from monitord.terminal.filters import FilterError, check_names

    runs = [run for run, _ in selection.rows(fleet, time.monotonic())[1]]
    if options.overlay is not None:
        runs = [_named(fleet.runs, name) for name in options.overlay]
    if not runs:
        shown = " ".join(options.paths)
        raise BlobwatchError(f"{shown}: no experiment there (a folder with results.json)")
    runs = _readable(runs)
    known = {name for run in runs for name in run.series().names()}
    for name in options.metric:
        if name not in known:
            check_names([name], runs, "--metric")
            raise FilterError(f"--metric: no run has a series {name!r}")
    return runs


def _readable(runs: Sequence[Run]) -> list[Run]:
    """Return the runs that were read at least once; what the others lack is said."""
    broken = [run for run in runs if run.trouble is not None and not run.columns.n_epochs]
    reasons = [f"{run.folder}: {run.trouble.reason}" for run in broken if run.trouble is not None]
    if len(broken) == len(runs):
        raise BlobwatchError("\n".join(reasons[:5]))
    for reason in reasons:
        _complain(f"left out: {reason}")
    return [run for run in runs if run not in broken]


def _named(runs: Sequence[Run], given: str) -> Run:
    """Return the run that ``given`` names: a name in the table, a folder, or a unique part."""
    from diagnostics.contract.errors import nearest

    folder = Path(os.path.abspath(given))
    exact = [run for run in runs if run.name == given or run.folder == folder]
    found = exact or [run for run in runs if given in run.name]
    if len(found) == 1:
        return found[0]
    names = [run.name for run in runs]
    if found:
        raise BlobwatchError(f"--overlay: {given!r} fits {len(found)} runs; name one fully")
    raise BlobwatchError(f"--overlay: no run {given!r} there{nearest(given, names)}")


def _default_output(options: argparse.Namespace, runs: Sequence[Run]) -> Path:
    from monitord.finding.roots import parse_root

    if len(runs) == 1:
        return runs[0].folder / "training_metrics.png"
    name = "overlay.png" if options.overlay is not None else "training_metrics.png"
    return parse_root(options.paths[0]).base / name


def _live(options: argparse.Namespace) -> int:
    from monitord.draw.request import DrawOptions
    from monitord.monitor import TrainingMonitor

    if len(options.paths) != 1:
        raise BlobwatchError(f"--live: shows one run, got {len(options.paths)} paths; name one")
    logging.basicConfig(level=logging.WARNING, format="monitord: %(message)s")
    drawing = DrawOptions(log_y=options.log_y, smooth=options.smooth, metrics=tuple(options.metric))
    try:
        TrainingMonitor(options.paths[0]).start_live_plot(
            refresh_interval=options.interval or 5.0, options=drawing
        )
    except TimeoutError as error:
        raise BlobwatchError(str(error)) from None
    return 0
