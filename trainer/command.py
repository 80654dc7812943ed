"""The command ``python -m trainer CONFIG``."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diagnostics.contract.endpoint import Endpoint, make_endpoint
from diagnostics.contract.errors import BlobwatchError
from diagnostics.contract.folder import RunFolder
from diagnostics.contract.naming import find_run
from diagnostics.contract.regular import open_for_appending
from trainer.config import load_config, preset_names

if TYPE_CHECKING:
    from rich.console import Console

    from trainer.config import ExperimentConfig
    from trainer.interruption import Interruption
    from trainer.opening import OpenRun
    from trainer.run import Outcome

logger = logging.getLogger("trainer")
EXIT_FAILED, EXIT_USAGE, EXIT_SIGNAL = 1, 2, 128


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    presets = ", ".join(preset_names())
    made = argparse.ArgumentParser(
        prog="python -m trainer",
        description="Train a two-layer denoising network and watch blobs form in its weights.",
        epilog=f"Presets: {presets}. Ctrl+C finishes the batch, writes everything and stops; the"
        " run goes on with --resume. Exit status: 0 completed, 1 failed, 2 bad input, 128 plus the"
        " signal's number when stopped by one.",
    )
    made.add_argument("config", nargs="?", help="configuration file (JSON), or a preset's name")
    made.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a value, such as training.epochs=5 or epochs=5; may be repeated",
    )
    made.add_argument("--device", help="cpu, cuda or cuda:N")
    made.add_argument("--output-dir", help="folder of the run (default: experiments/NAME_STAMP)")
    made.add_argument("--name", help="name of the experiment")
    made.add_argument("--resume", metavar="DIR", help="continue the run in DIR")
    made.add_argument(
        "--listen", metavar="tcp://HOST:PORT", help="serve diagnostics over TCP (with --keys)"
    )
    made.add_argument("--keys", type=Path, help="folder of keys for --listen")
    made.add_argument(
        "--plain", action="store_true", help="use the textbook form of the step, for comparison"
    )
    made.add_argument(
        "--precision",
        choices=("float32", "bf16"),
        help="of the network's matrix products; bf16 is for processors that have it in hardware",
    )
    made.add_argument("--quiet", action="store_true", help="print warnings and errors only")
    made.add_argument(
        "--allow-nonfinite", action="store_true", help="go on when the loss becomes NaN or infinite"
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = parser().parse_args(argv)
    try:
        return _run(arguments)
    except BlobwatchError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        # The second Ctrl+C: at once. The files are valid at any moment.
        return EXIT_SIGNAL + signal.SIGINT


def _run(arguments: argparse.Namespace) -> int:
    overrides = _overrides(arguments)
    endpoint = make_endpoint(arguments.listen, arguments.keys)
    if arguments.resume and arguments.config:
        raise BlobwatchError("--resume takes the configuration from DIR; leave CONFIG away")
    if not arguments.resume and not arguments.config:
        raise BlobwatchError(
            f"which configuration? Give a JSON file or a preset: {', '.join(preset_names())}"
        )
    resumed = find_run(arguments.resume) if arguments.resume else None
    if resumed is None:
        config = load_config(arguments.config, overrides)
    console = _set_up_terminal()
    # PyTorch takes a second to load; what can go wrong before has been said by now.
    from trainer.interruption import Interruption
    from trainer.opening import open_existing, open_new
    from trainer.ranks import is_under_torchrun

    with Interruption() as stop:
        if is_under_torchrun():
            if resumed:
                config = load_config(RunFolder(resumed).config, overrides)
            return _run_as_rank(config, resumed, endpoint, arguments, stop, console)
        if resumed:
            opened = open_existing(resumed, overrides, endpoint)
        else:
            opened = open_new(config, endpoint)
        try:
            outcome = _train(opened, stop, console, arguments)
        except KeyboardInterrupt:
            root = opened.run.folder.root
            print(f"stopped at once; to go on: python -m trainer --resume {root}", file=sys.stderr)
            raise
        finally:
            opened.close()
    return _exit_status(outcome, stop.signal_number)


def _run_as_rank(
    config: ExperimentConfig,
    resumed: Path | None,
    endpoint: Endpoint | None,
    arguments: argparse.Namespace,
    stop: Interruption,
    console: Console,
) -> int:
    """Train as one of the processes that ``torchrun`` started."""
    from trainer.following import follow, open_for_all
    from trainer.ranks import LostRankError, join

    ranks = join(config.data.device)
    try:
        if not ranks.is_writer:
            followed = follow(ranks, stop, allow_nonfinite=arguments.allow_nonfinite)
            return EXIT_USAGE if followed is None else _exit_status(followed, stop.signal_number)
        opened = open_for_all(ranks, config, resumed, _overrides(arguments), endpoint)
        try:
            outcome = _train(opened, stop, console, arguments)
        finally:
            opened.close()
    except LostRankError as error:
        if ranks.is_writer:
            print(f"failed: {error}", file=sys.stderr)
        return EXIT_FAILED
    finally:
        ranks.leave()
    return _exit_status(outcome, stop.signal_number)


def _train(opened: OpenRun, stop: Any, console: Console, arguments: argparse.Namespace) -> Outcome:
    from trainer.checkpoints import Checkpointer
    from trainer.hooks import Hook, Hooks, installed_hooks
    from trainer.progress import ProgressBar, ProgressLines
    from trainer.run import Outcome
    from trainer.stages import train_stages

    run = opened.run
    _log_to_file(run.folder.log)
    if opened.is_complete:
        done = run.config.training.epochs
        console.print(
            f"{run.folder.root}: complete with {done} epochs; for more, add --set"
            f" training.epochs={2 * done}",
            markup=False,
            soft_wrap=True,
        )
        return Outcome("completed")
    hooks: list[Hook] = [opened.emitter, Checkpointer(opened.emitter.secure), *installed_hooks()]
    if not arguments.quiet:
        hooks.append((ProgressBar if console.is_terminal else ProgressLines)(console))
        console.print(f"run folder: {run.folder.root}", markup=False, soft_wrap=True)
    outcome = train_stages(run, Hooks(hooks), stop, allow_nonfinite=arguments.allow_nonfinite)
    if n_lost := opened.emitter.n_unwritten:
        reason = f"{n_lost} events could not be written to {run.folder.journal}"
        outcome = Outcome("failed", f"{reason}; make room, then --resume {run.folder.root}")
    if outcome.status != "completed":
        console.print(f"{outcome.status}: {outcome.reason}", markup=False, soft_wrap=True)
    if outcome.status == "interrupted":
        resume = f"python -m trainer --resume {run.folder.root}"
        console.print(f"continue with: {resume}", markup=False, soft_wrap=True)
    if not arguments.quiet:
        from trainer.summary import print_summary

        print_summary(console, run.folder)
    return outcome


def _overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    for setting in arguments.set:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise BlobwatchError(f"--set {setting}: must be KEY=VALUE, such as training.epochs=5")
        try:
            overrides[key] = json.loads(text)
        except ValueError:
            overrides[key] = text
    for key, value in (
        ("data.device", arguments.device),
        ("output_dir", arguments.output_dir),
        ("experiment_name", arguments.name),
        ("training.precision", arguments.precision),
    ):
        if value is not None:
            overrides[key] = value
    if arguments.plain:
        overrides["training.plain"] = True
    return overrides


def _set_up_terminal() -> Console:
    from rich.console import Console

    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.INFO)
    return Console()


class LogFile(logging.FileHandler):
    """A log that is a file of ours, never what a link points at."""

    def _open(self) -> TextIOWrapper:
        return open_for_appending(Path(self.baseFilename))


def _log_to_file(path: Path) -> None:
    try:
        handler = LogFile(path)  # open from here on, even if the folder is removed
    except OSError as error:
        logger.warning("%s: no log is kept (%s)", path, error.strerror)
        return
    logging.raiseExceptions = False  # a full disk costs lines of the log, not the terminal's peace
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s: %(message)s"))
    logging.getLogger().addHandler(handler)


def _exit_status(outcome: Outcome, signal_number: int | None) -> int:
    if outcome.status == "completed":
        return os.EX_OK
    if outcome.status == "interrupted" and signal_number is not None:
        return EXIT_SIGNAL + signal_number
    return EXIT_FAILED
