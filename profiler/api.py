"""Profiling from Python."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import SupportsIndex

from diagnostics.contract.atomic import write_atomic
from diagnostics.contract.errors import BlobwatchError
from profiler.analysis import Analysis, analyse
from profiler.backend import Backend, ProcessBackend
from profiler.outputs import check_outputs, report_path
from profiler.plan import Rule, check_epochs, check_sizes, default_sizes, learning_rate
from profiler.profiles import BatchProfile
from profiler.progress import NoProgress, Progress
from profiler.recommendation import Recommendation, recommend
from profiler.record import (
    Record,
    TrialRecord,
    differences,
    identify,
    read_record,
    write_record,
)
from profiler.report import render
from profiler.session import Session
from profiler.settings import Settings
from trainer.config import ConfigLike, ExperimentConfig, load_config, to_nested

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Findings:
    """A profile and what follows from it."""

    record: Record
    analysis: Analysis
    advice: Recommendation


def profile_batch_sizes(
    config: ConfigLike,
    batch_sizes: Iterable[SupportsIndex] | None = None,
    test_epochs: int = 5,
    output_path: str | Path | None = None,
    *,
    settings: Settings | None = None,
    resume: bool = False,
) -> list[BatchProfile]:
    """Measure batch sizes in processes of their own, and write the report.

    Args:
        config: A nested dict, a typed configuration, a path or a preset's name; not changed.
        batch_sizes: Sizes in samples, a list or an array; None for sizes around the configured one.
        test_epochs: Full epochs of each size, for the losses.
        output_path: The Markdown report; JSON and pictures go beside it. None for
            ``batch_profile_d{d}_h{hidden}.md`` in the working directory.
        settings: Everything else; its ``test_epochs`` is replaced by the argument.
        resume: Use completed trials of the JSON file again where nothing has changed.

    Returns:
        A profile for each size, ascending, those that failed among them.

    Raises:
        BlobwatchError: The configuration, a size or the path cannot be used; nothing was started.
    """
    typed = load_config(config)
    asked = _with_epochs(settings or Settings(), check_epochs(test_epochs))
    profile = Profile(typed, batch_sizes, asked, output_path, resume=resume, source=config)
    return profile.run(ProcessBackend(asked.threads), NoProgress()).analysis.profiles


def _with_epochs(settings: Settings, epochs: int) -> Settings:
    return replace(settings, test_epochs=epochs)


class Profile:
    """A profile about to be made: checked, and what it writes."""

    def __init__(
        self,
        config: ExperimentConfig,
        sizes: Iterable[SupportsIndex] | None,
        settings: Settings,
        output_path: str | Path | None = None,
        *,
        resume: bool = False,
        source: ConfigLike | None = None,
        chosen_path: Path | None = None,
    ) -> None:
        """Check everything that can be checked without starting a process.

        Args:
            config: The configuration.
            sizes: See `profile_batch_sizes`, as are ``output_path`` and ``resume``.
            settings: Everything else.
            output_path: The Markdown report.
            resume: Use completed trials again.
            source: What the configuration was read from; no file of the profile replaces it.
            chosen_path: Where the caller is going to write the chosen configuration.

        Raises:
            BlobwatchError: See `profile_batch_sizes`.
        """
        self.config = config
        self.settings = settings
        self.sizes = default_sizes(config) if sizes is None else check_sizes(sizes, config)
        self.path = report_path(output_path, config)
        self.json_path = self.path.with_suffix(".json")
        check_outputs(self._outputs(), source, chosen_path)
        self._picture: str | None = None
        self._started = time.monotonic()
        identity = identify(
            config,
            {
                "test_epochs": settings.test_epochs,
                "to_loss": settings.to_loss,
                "threads": settings.threads,
                "device": settings.device,
                "memory_budget_bytes": settings.memory_budget_bytes,
            },
        )
        self.record = Record(
            identity=identity,
            config=to_nested(config),
            test_epochs=settings.test_epochs,
            to_loss=settings.to_loss,
            optimize=settings.optimize,
        )
        if resume:
            self._take_over(read_record(self.json_path))

    def _outputs(self) -> list[Path]:
        """Return the files that the profile writes."""
        pictures = [self.path.with_suffix(suffix) for suffix in (".png", ".svg")]
        return [self.path, self.json_path, *(pictures if self.settings.pictures else [])]

    def run(self, backend: Backend, progress: Progress) -> Findings:
        """Measure, and write report and JSON after every trial and at the end.

        Raises:
            KeyboardInterrupt: Passed on, after what is known was written.
        """
        session = Session(
            self.config,
            self.sizes,
            self.settings,
            backend,
            self.record,
            progress,
            lambda: self._write("running"),
        )
        try:
            session.run()
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            self._write("interrupted" if stopped else "failed")
            raise
        if self.settings.pictures:
            self._draw()
        self._write("completed")
        return self.findings()

    def findings(self) -> Findings:
        """Return what is known so far."""
        analysis = analyse(self.record, self.config)
        goal = self.settings.optimize
        return Findings(self.record, analysis, recommend(self.record, analysis, self.config, goal))

    def _take_over(self, earlier: Record | None) -> None:
        if earlier is None:
            logger.warning("%s: nothing to resume; starting anew", self.json_path)
            return
        if changed := differences(earlier.identity, self.record.identity):
            logger.warning(
                "%s: made with other %s; every trial is made again",
                self.json_path,
                ", ".join(changed),
            )
            return
        done = [t for t in earlier.trials if t.status == "completed"]
        _refuse_loss(self.json_path, done, self.sizes, self.settings.rules)
        self.record.trials = [
            t
            for t in done
            if t.rule in self.settings.rules
            and t.learning_rate == learning_rate(self.config, t.batch_size, t.rule)
        ]

    def _write(self, status: str) -> None:
        self.record.status = status
        self.record.elapsed_s = time.monotonic() - self._started
        found = self.findings()
        text = render(self.record, found.analysis, found.advice, self.config, self._picture)
        write_atomic(self.path, text.encode(), sync=False)
        result = {"figures": found.analysis, "recommendation": found.advice}
        write_record(self.json_path, self.record, result)

    def _draw(self) -> None:
        from profiler.pictures import draw

        found = self.findings()
        try:
            written = draw(self.path, found.record, found.analysis, found.advice, self.config)
            self._picture = written[0].name
        except Exception:
            # The figures were paid for with minutes; a picture is not worth losing them.
            logger.exception("%s: the picture could not be drawn", self.path)


def _refuse_loss(
    path: Path, done: list[TrialRecord], sizes: list[int], rules: tuple[Rule, ...]
) -> None:
    """Raise if trials that are completed are not among those that are asked for."""
    lost_sizes = sorted({t.batch_size for t in done} - set(sizes))
    lost_rules = sorted({t.rule for t in done} - set(rules))
    for lost, what, option in (
        (lost_sizes, "batch size", "--batch-sizes"),
        (lost_rules, "the learning-rate rule", "--lr-rule"),
    ):
        if lost:
            raise BlobwatchError(
                f"{path}: has trials of {what} {', '.join(map(str, lost))} that would be lost;"
                f" name these in {option} too, or take another --output"
            )
