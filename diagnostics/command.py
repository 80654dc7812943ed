"""The command ``python -m diagnostics``: attach to a run, and everything after training."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from diagnostics.contract.errors import BlobwatchError, FolderInUseError
from diagnostics.contract.folder import RunFolder

EXIT_USAGE, EXIT_IN_USE = 2, 3
COMMANDS = ("attach", "list")


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
    attach.add_argument("--supervised", action="store_true", help=argparse.SUPPRESS)
    commands.add_parser("list", help="show the installed diagnostics and what they need")
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
        else:
            _attach(arguments.run, supervised=arguments.supervised)
    except FolderInUseError as error:
        print(error, file=sys.stderr)
        return EXIT_IN_USE
    except BlobwatchError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return os.EX_OK


def _attach(root: Path, *, supervised: bool) -> None:
    from diagnostics.consumer.consumer import attach

    if supervised:
        # Training has the machine first, and Ctrl+C in its terminal is not meant for us.
        os.nice(10)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    n_epochs = attach(RunFolder(root))
    if not supervised:
        print(f"{root}/results.json is up to date ({n_epochs} epochs added)")
