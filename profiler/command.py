"""The command ``python -m profiler CONFIG``."""

from __future__ import annotations

import argparse
import logging
import math
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diagnostics.contract.errors import BlobwatchError
from profiler.interruption import interruptible
from profiler.plan import RULES, Rule, check_epochs, chosen_config
from profiler.settings import DEFAULT_TIMEOUT_S, Settings
from trainer.config import ExperimentConfig, load_config, preset_names

if TYPE_CHECKING:
    from profiler.api import Findings, Profile

EXIT_FAILED, EXIT_USAGE, EXIT_SIGNAL = 1, 2, 128


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    made = argparse.ArgumentParser(
        prog="python -m profiler",
        description="Find the batch size to use: throughput, memory, and time to a loss, each size"
        " in a process of its own.",
        epilog=f"Presets: {', '.join(preset_names())}. Ctrl+C stops at once and reports what is"
        " known. Exit status: 0 done, 1 no trial completed, 2 bad input, 130 interrupted.",
    )
    made.add_argument("config", help="configuration file (JSON), or a preset's name")
    made.add_argument(
        "--batch-sizes",
        nargs="+",
        metavar="N",
        help="sizes to try (default: from an eighth to four times the configured one)",
    )
    made.add_argument("--epochs", default="5", metavar="N", help="full epochs a size (default: 5)")
    made.add_argument(
        "--output", help="Markdown report (default: batch_profile_d{d}_h{hidden}.md here)"
    )
    made.add_argument(
        "--optimize",
        choices=("auto", "throughput", "time-to-loss"),
        default="auto",
        help="what the recommended size is best at (default: time-to-loss where it is known)",
    )
    made.add_argument(
        "--to-loss",
        metavar="X",
        help="train every size to this training loss, and compare the time",
    )
    made.add_argument(
        "--lr-rule",
        nargs="+",
        choices=RULES,
        default=[],
        metavar="RULE",
        help="also train with the learning rate scaled: sqrt, linear",
    )
    made.add_argument("--find-limit", action="store_true", help="find the largest size that fits")
    made.add_argument("--memory-budget", metavar="GB", help="instead of 75%% of what is free")
    made.add_argument(
        "--try-oversized",
        action="store_true",
        help="on the CPU, also try sizes predicted to exceed the budget (under a limit)",
    )
    made.add_argument(
        "--timeout",
        default=str(DEFAULT_TIMEOUT_S),
        metavar="S",
        help="end a trial whose answers take more than S seconds in all (default: 900)",
    )
    made.add_argument("--device", help="cpu, cuda or cuda:N")
    made.add_argument("--threads", metavar="N", help="CPU threads of each trial")
    made.add_argument(
        "--resume", action="store_true", help="use completed trials of the JSON again"
    )
    made.add_argument("--write-config", metavar="FILE", help="write the chosen configuration")
    made.add_argument("--quiet", action="store_true", help="print the result alone")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = parser().parse_args(argv)
    _log_warnings()
    try:
        return _run(arguments)
    except BlobwatchError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE


def _run(arguments: argparse.Namespace) -> int:
    overrides = {} if arguments.device is None else {"data.device": arguments.device}
    config = load_config(arguments.config, overrides)
    settings = _settings(arguments)
    sizes = None
    if arguments.batch_sizes is not None:
        sizes = [_whole("--batch-sizes", text) for text in arguments.batch_sizes]
    from profiler.api import Profile

    output = Path(arguments.write_config) if arguments.write_config else None
    profile = Profile(
        config,
        sizes,
        settings,
        arguments.output,
        resume=arguments.resume,
        source=arguments.config,
        chosen_path=output,
    )
    with interruptible() as caught:
        try:
            found = _measure(profile, settings, quiet=arguments.quiet)
        except KeyboardInterrupt:
            _print(profile.findings())
            print(f"interrupted; what is known: {profile.path}")
            return EXIT_SIGNAL + (caught[0] if caught else signal.SIGINT)
    _print(found)
    print(f"report: {profile.path}")
    if found.advice.chosen is None:
        print("no trial was completed; see the report", file=sys.stderr)
        return EXIT_FAILED
    if output is not None:
        _write_config(output, found, config)
    return os.EX_OK


def _measure(profile: Profile, settings: Settings, *, quiet: bool) -> Findings:
    from rich.console import Console

    from profiler.backend import ProcessBackend
    from profiler.progress import NoProgress, ProgressBar, ProgressLines

    backend = ProcessBackend(settings.threads)
    console = Console(stderr=True)
    if quiet:
        return profile.run(backend, NoProgress())
    if not console.is_terminal:
        return profile.run(backend, ProgressLines(console))
    with ProgressBar(console) as bar:
        return profile.run(backend, bar)


def _settings(arguments: argparse.Namespace) -> Settings:
    rules: tuple[Rule, ...] = ("constant", *(r for r in RULES[1:] if r in arguments.lr_rule))
    budget = arguments.memory_budget
    threads = arguments.threads
    to_loss = arguments.to_loss
    return Settings(
        test_epochs=check_epochs(_whole("--epochs", arguments.epochs)),
        rules=rules,
        timeout_s=_positive("--timeout", arguments.timeout),
        to_loss=None if to_loss is None else _positive("--to-loss", to_loss),
        find_limit=arguments.find_limit,
        try_oversized=arguments.try_oversized,
        optimize=arguments.optimize,
        memory_budget_bytes=None
        if budget is None
        else int(1e9 * _positive("--memory-budget", budget)),
        device=arguments.device,
        threads=None if threads is None else _threads(threads),
    )


def _threads(text: str) -> int:
    found = _whole("--threads", text)
    if found < 1:
        raise BlobwatchError(f"--threads {text}: must be a whole number >= 1")
    return found


def _whole(option: str, text: str) -> int:
    try:
        return int(text.replace(",", "").replace("_", ""))
    except ValueError:
        raise BlobwatchError(f"{option} {text}: must be a whole number") from None


def _positive(option: str, text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not (math.isfinite(found) and found > 0):
        raise BlobwatchError(f"{option} {text}: must be a number above 0")
    return found


def _print(found: Findings) -> None:
    from profiler.report import console_lines

    for line in console_lines(found.record, found.analysis, found.advice):
        print(line)


def _write_config(path: Path, found: Findings, config: ExperimentConfig) -> None:
    from diagnostics.contract import strictjson
    from diagnostics.contract.atomic import write_atomic

    chosen = found.advice.chosen
    assert chosen is not None
    nested = chosen_config(config, chosen.batch_size, chosen.rule)
    write_atomic(path, strictjson.encode_indented(nested))
    rate = nested["training"]["learning_rate"]
    print(f"configuration: {path} (batch_size {chosen.batch_size}, learning_rate {rate:g})")


def _log_warnings() -> None:
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger = logging.getLogger("profiler")
    logger.handlers[:] = [handler]
    logger.propagate = False
