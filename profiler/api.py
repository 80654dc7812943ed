"""Profiling from Python."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diagnostics.contract.atomic import write_atomic
from diagnostics.contract.errors import BlobwatchError
from profiler.analysis import Analysis, analyse
from profiler.backend import Backend, ProcessBackend
from profiler.plan import check_epochs, check_sizes, default_sizes, learning_rate
from profiler.profiles import BatchProfile
from profiler.progress import NoProgress, Progress
from profiler.recommendation import Recommendation, recommend
from profiler.record import (
    Record,
    check_folder,
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
    batch_sizes: Sequence[int] | None = None,
    test_epochs: int = 5,
    output_path: str | Path | None = None,
    *,
    settings: Settings | None = None,
    resume: bool = False,
) -> list[BatchProfile]:
    """Measure batch sizes in processes of their own, and write the report.

    Args:
        config: A nested dict, a typed configuration, a path or a preset's name; not changed.
        batch_sizes: Sizes in samples; None for sizes around the configured one.
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
    profile = Profile(typed, batch_sizes, asked, output_path, resume=resume)
    return profile.run(ProcessBackend(asked.threads), NoProgress()).analysis.profiles


def _with_epochs(settings: Settings, epochs: int) -> Settings:
    return replace(settings, test_epochs=epochs)


class Profile:
    """A profile about to be made: checked, and what it writes."""

    def __init__(
        self,
        config: ExperimentConfig,
        sizes: Sequence[int] | None,
        settings: Settings,
        output_path: str | Path | None = None,
        *,
        resume: bool = False,
    ) -> None:
        """Check everything that can be checked without starting a process.

        Raises:
            BlobwatchError: See `profile_batch_sizes`.
        """
        self.config = config
        self.settings = settings
        self.sizes = default_sizes(config) if sizes is None else check_sizes(sizes, config)
        self.path = _report_path(output_path, config)
        self.json_path = self.path.with_suffix(".json")
        for path in self.outputs():
            check_folder(path)
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

    def outputs(self) -> list[Path]:
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
        if dropped := sorted({t.batch_size for t in done} - set(self.sizes)):
            raise BlobwatchError(
                f"{self.json_path}: has trials of batch size {', '.join(map(str, dropped))} that"
                " would be lost; name these in --batch-sizes too, or take another --output"
            )
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


def _report_path(output_path: str | Path | None, config: ExperimentConfig) -> Path:
    if output_path is None:
        return Path(f"batch_profile_d{config.data.d}_h{config.model.hidden_size}.md")
    path = Path(output_path)
    if not path.name or path.suffix.lower() in (".json", ".png", ".svg"):
        raise BlobwatchError(
            f"{path}: the report is Markdown; give a name such as report.md (JSON and pictures"
            " go beside it)"
        )
    return path
