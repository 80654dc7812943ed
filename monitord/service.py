"""``monitord PATH``: puts the daemon together from its parts and runs it until a signal."""

from __future__ import annotations

import argparse
import contextlib
import logging
import logging.handlers
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diagnostics.contract.errors import BlobwatchError
from monitord.alerting.alerts import Alerts
from monitord.alerting.rules import Rule, parse_command, parse_option, parse_webhook, read_rules
from monitord.daemon import Daemon
from monitord.finding.roots import parse_roots
from monitord.fleet import Fleet
from monitord.reading.runs import Run
from monitord.signals import obey_signals
from monitord.statekeeping import LockKeeper, Locks, StatusFile
from monitord.states import Limits
from monitord.terminal.lines import Lines
from monitord.terminal.listing import Selection

if TYPE_CHECKING:
    from monitord.pictures import Pictures
    from monitord.terminal.screen import Screen

logger = logging.getLogger(__name__)

N_LOGS_KEPT = 3


def watch(options: argparse.Namespace, selection: Selection, limits: Limits) -> int:
    """Watch until SIGTERM, Ctrl+C or ``q``; return the exit status."""
    roots = parse_roots(options.paths)
    rules = _rules_of(options)
    plot_dir = _made(options.plot_dir)
    locks = Locks(roots)
    locks.acquire()
    with contextlib.ExitStack() as at_the_end:
        at_the_end.callback(locks.release)
        daemon = Daemon(roots, limits=limits, interval_s=options.interval)
        at_the_end.callback(daemon.close)
        page = _Page(options, locks, daemon) if options.serve else None
        _set_up_log(options)
        at_the_end.callback(obey_signals(daemon))
        at_the_end.callback(daemon.close)  # signals are heard until all is closed
        keeper = LockKeeper(locks, daemon.stop)
        daemon.add(keeper)
        _add_followers(daemon, options, selection, rules, plot_dir, locks, page)
        daemon.run()
    if keeper.refusal is not None:
        raise keeper.refusal
    return 0


def _add_followers(
    daemon: Daemon,
    options: argparse.Namespace,
    selection: Selection,
    rules: list[Rule],
    plot_dir: Path | None,
    locks: Locks,
    page: _Page | None,
) -> None:
    pictures = None if options.no_plots else _LatePictures(daemon, options, plot_dir)
    lines = page.address.lines() if page is not None else []
    shower = _make_shower(daemon, options, selection, pictures, lines)
    memory = locks.files[0].alerts
    if rules or options.rules:
        hear = page.keeper.hear if page is not None else None
        alerts = Alerts(lambda: _rules_of(options), memory, announce=shower.announce, hear=hear)
        alerts.reload_requested = lambda: daemon.reload_requested
        daemon.add(alerts)
    if page is not None:
        daemon.add(page.keeper)
        daemon.add(page.server)
        page.server.start()
    daemon.add(_NameCheck(selection))
    daemon.add(shower)
    if pictures is not None:
        daemon.add(pictures)
    for files in locks.files:
        daemon.add(StatusFile(daemon, files.status))


def _make_shower(
    daemon: Daemon,
    options: argparse.Namespace,
    selection: Selection,
    pictures: _LatePictures | None,
    lines: Sequence[str],
) -> Lines | Screen:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()  # they are under the live table, and there again when it ends
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return Lines(selection)
    from monitord.terminal.screen import Screen

    def notes() -> list[str]:
        troubles = (daemon.watch_trouble(), pictures.trouble if pictures is not None else None)
        return [trouble for trouble in troubles if trouble]

    title = " ".join(options.paths)
    return Screen(title, selection, stop=daemon.stop, wake=daemon.wake, notes=notes, address=lines)


class _Page:
    """The page's parts; all of it is imported here, so that nothing else pays for it."""

    def __init__(self, options: argparse.Namespace, locks: Locks, daemon: Daemon) -> None:
        from monitord.page.address import listen

        bound, self.address = listen(options, locks.files[0].token)
        try:
            from monitord.page.board import BoardKeeper
            from monitord.page.server import PageServer
        except ModuleNotFoundError as error:
            raise BlobwatchError(
                f"--serve: the package {error.name} is missing; install blobwatch again"
            ) from None
        self.keeper = BoardKeeper(daemon.watch_trouble)
        self.server = PageServer(self.keeper, bound, self.address)


class _NameCheck:
    """Says, once there are runs, that a filter names something that none of them has."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._checked = False
        self.due_at = float("inf")

    def follow(self, fleet: Fleet, changed: Sequence[Run], now_s: float) -> None:
        if not self._checked and fleet.runs:
            self._checked = True
            try:
                self._selection.check(fleet.runs)
            except BlobwatchError as error:
                logger.warning("%s", error)

    def close(self) -> None:
        """Nothing to end."""


class _LatePictures:
    """Starts drawing after the first table is on the screen."""

    def __init__(self, daemon: Daemon, options: argparse.Namespace, plot_dir: Path | None) -> None:
        self._daemon, self._options, self._plot_dir = daemon, options, plot_dir
        self._pictures: Pictures | None = None
        self.due_at = float("inf")

    @property
    def trouble(self) -> str | None:
        """Why pictures cannot be written, or None."""
        return self._pictures.trouble if self._pictures is not None else None

    def follow(self, fleet: Fleet, changed: Sequence[Run], now_s: float) -> None:
        if self._pictures is None:
            if self._daemon.health.n_steps < 2:
                self.due_at = now_s
                return
            self._pictures = self._make()
        self._pictures.follow(fleet, changed, now_s)
        self.due_at = self._pictures.due_at

    def _make(self) -> Pictures:
        from monitord.draw.request import DrawOptions
        from monitord.pictures import Pictures

        options = self._options
        drawing = DrawOptions(
            log_y=options.log_y, smooth=options.smooth, metrics=tuple(options.metric)
        )
        roots = self._daemon.fleet.roots
        every_s = options.interval or 2.0
        return Pictures(roots, plot_dir=self._plot_dir, options=drawing, every_s=every_s)

    def close(self) -> None:
        if self._pictures is not None:
            self._pictures.close()


def _rules_of(options: argparse.Namespace) -> list[Rule]:
    """Return the rules of the file and of the options; read again on SIGHUP."""
    extra = []
    if options.alert_command:
        extra.append(parse_command(options.alert_command))
    if options.alert_webhook:
        extra.append(parse_webhook(options.alert_webhook))
    if extra and not options.alert:
        raise BlobwatchError(
            "--alert-command and --alert-webhook get the alerts of --alert; name one, such as"
            " --alert failed (a rules file has its own deliveries)"
        )
    rules = [parse_option(text, extra) for text in options.alert]
    return [*rules, *(read_rules(options.rules) if options.rules else [])]


def _made(folder: Path | None) -> Path | None:
    if folder is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BlobwatchError(f"--plot-dir {folder}: cannot be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise BlobwatchError(f"--plot-dir {folder}: cannot be written; give another folder")
    return folder.resolve()


def _set_up_log(options: argparse.Namespace) -> None:
    """Log to the file, to standard error beside plain lines, and nowhere under the live table."""
    handler: logging.Handler
    if options.log_file is not None:
        try:
            handler = logging.handlers.RotatingFileHandler(
                options.log_file, maxBytes=options.log_size, backupCount=N_LOGS_KEPT
            )
        except OSError as error:
            raise BlobwatchError(
                f"--log-file {options.log_file}: cannot be written: {error.strerror}"
            ) from None
    elif sys.stdout.isatty():
        handler = logging.NullHandler()
    else:
        handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO if options.log_file is not None else logging.WARNING)
