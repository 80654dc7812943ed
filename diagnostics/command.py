"""The command ``python -m diagnostics``: attach to a run, and everything after training."""

from __future__ import annotations

import argparse
import logging
import math
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from diagnostics.contract.endpoint import Endpoint, make_endpoint
from diagnostics.contract.errors import BlobwatchError, FolderInUseError
from diagnostics.contract.folder import RunFolder

EXIT_FAILED, EXIT_USAGE, EXIT_IN_USE = 1, 2, 3
COMMANDS = ("attach", "analyze", "movie", "list", "check", "keygen")


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    made = argparse.ArgumentParser(
        prog="python -m diagnostics",
        description="Diagnostics of runs. A folder alone means: attach FOLDER.",
    )
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    attach = commands.add_parser(
        "attach",
        help="bring a run's results.json up to date, from its journal or its live trainer",
    )
    attach.add_argument("run", type=Path, help="folder of the run")
    attach.add_argument("--connect", metavar="tcp://HOST:PORT", help="where its trainer --listens")
    attach.add_argument("--keys", type=Path, help="folder of keys for --connect")
    attach.add_argument("--supervised", action="store_true", help=argparse.SUPPRESS)
    analyze = commands.add_parser("analyze", help="analyse saved weights; write a report")
    analyze.add_argument(
        "runs", nargs="+", metavar="RUN", help="a run's folder or name, or a file of weights"
    )
    analyze.add_argument(
        "--epochs", default="last", help="all, last (default), or saved epochs such as 3,10"
    )
    analyze.add_argument("--trace", type=int, help="a trace of stage two (default: stage one)")
    analyze.add_argument(
        "--threshold", type=float, help="least |weight| of an edge of the encoder graph"
    )
    movie = commands.add_parser("movie", help="make a movie of the weight pairs")
    movie.add_argument("run", help="the run's folder or name")
    movie.add_argument("--output", type=Path, help=".gif or .mp4 file (RUN/formation.gif)")
    movie.add_argument("--fps", type=float, default=4.0, help="epochs per second (4)")
    keygen = commands.add_parser("keygen", help="make the keys that TCP takes")
    keygen.add_argument("keys", type=Path, metavar="DIR", help="a folder, made for this user alone")
    commands.add_parser("list", help="show the installed diagnostics and what they need")
    check = commands.add_parser("check", help="try a diagnostic on good and bad weights")
    check.add_argument("name", help="name of an installed diagnostic, or MODULE:OBJECT")
    check.add_argument("--options", default="{}", help="its options, a JSON object")
    check.add_argument("--time-limit", type=float, default=5.0, help="seconds an epoch (5)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] not in COMMANDS and not words[0].startswith("-"):
        words.insert(0, "attach")
    arguments = parser().parse_args(words)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s: %(message)s"
    )
    try:
        if arguments.command == "list":
            from diagnostics.listing import print_installed

            print_installed()
        elif arguments.command == "check":
            return _check(arguments.name, arguments.options, arguments.time_limit)
        elif arguments.command == "analyze":
            return _analyze(arguments)
        elif arguments.command == "movie":
            _movie(arguments.run, arguments.output, arguments.fps)
        elif arguments.command == "keygen":
            _keygen(arguments.keys)
        else:
            endpoint = make_endpoint(arguments.connect, arguments.keys)
            _attach(arguments.run, endpoint, supervised=arguments.supervised)
    except FolderInUseError as error:
        if not getattr(arguments, "supervised", False):  # a supervisor waits and tries again
            print(error, file=sys.stderr)
        return EXIT_IN_USE
    except BlobwatchError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return os.EX_OK


def _attach(root: Path, endpoint: Endpoint | None, *, supervised: bool) -> None:
    from diagnostics.consumer.priority import low_priority

    if supervised:
        # Ctrl+C in the trainer's terminal is not meant for us.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    with low_priority() if supervised else nullcontext():
        from diagnostics.consumer.consumer import attach
    n_epochs, n_unseen = attach(RunFolder(root), endpoint, gives_way=supervised)
    if not supervised:
        print(f"{root}/results.json is up to date ({n_epochs} epochs added)")
        if n_unseen:
            print(
                f"{n_unseen} of them without diagnostics: their weights went with the training"
                " process; diagnostics analyze works on what is saved",
                file=sys.stderr,
            )


def _keygen(folder: Path) -> None:
    from diagnostics.keys import make_keys

    for line in make_keys(folder):
        print(line)


def _check(name: str, options: str, time_limit_s: float) -> int:
    import json

    from diagnostics.listing import print_check

    try:
        chosen = json.loads(options)
    except ValueError:
        chosen = None
    if not isinstance(chosen, dict):
        raise BlobwatchError(
            f"--options: must be a JSON object such as '{{\"k\": 3}}', got {options}"
        )
    if not 0 < time_limit_s < math.inf:
        raise BlobwatchError(f"--time-limit {time_limit_s}: must be a positive number of seconds")
    # What the host warns of stands in the printed lines.
    logging.getLogger("diagnostics.consumer.host").setLevel(logging.ERROR)
    # A module beside the terminal is tried out before it is packaged.
    sys.path.insert(0, os.getcwd())
    return os.EX_OK if print_check(name, chosen, time_limit_s) else EXIT_FAILED


def _analyze(arguments: argparse.Namespace) -> int:
    """Analyse what can be analysed; one bad name does not cost the others their analysis."""
    from diagnostics.analysis.experiment import analyze_experiment
    from diagnostics.analysis.table import print_analyses

    analyses, status = [], os.EX_OK
    for name in arguments.runs:
        try:
            analyses.append(
                analyze_experiment(
                    name,
                    epochs=arguments.epochs,
                    trace=arguments.trace,
                    threshold=arguments.threshold,
                )
            )
        except BlobwatchError as error:
            print(error, file=sys.stderr)
            status = EXIT_USAGE
    if analyses:
        print_analyses(analyses)
        for metrics in analyses:
            print(f"report: {metrics['report']}")
    return status


def _movie(name: str, output: Path | None, fps: float) -> None:
    from diagnostics.contract.naming import find_run
    from diagnostics.draw.movie import make_movie

    print(make_movie(find_run(name), output, fps))
