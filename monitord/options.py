"""The options of ``monitord``; only argparse, so that ``--help`` is there at once."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from diagnostics.contract.errors import nearest

DESCRIPTION = """Watch experiments: their state, losses and blobs, in the terminal and in pictures.

PATH is a folder of runs (any depth), a run's folder, or a pattern in quotes. Other commands:

  monitord compare RUN RUN ...    what differs in configuration, and how the runs ended
  monitord doctor PATH ...        what watches what, and what it costs
  monitord --version
"""
EXAMPLES = """examples:
  monitord experiments/                               live table and pictures, for weeks
  monitord experiments/ --filter 'lr=0.02 state=running' --sort best
  monitord experiments/ --serve                       also a page for the browser
  monitord experiments/ --once                        the table, once
  monitord experiments/ --json | jq .state            one JSON object a line
  monitord experiments/my_run --static --output run.pdf
  monitord experiments/ --overlay run_a run_b --log-y --smooth 0.6
  monitord experiments/ --alert diverged --alert 'test.scaled_loss<9'
"""


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, with the nearest option, instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        """End with status 2."""
        wrong = next((word for word in message.split() if word.startswith("--")), "")
        known = [option for option in self._option_string_actions if option.startswith("--")]
        near = nearest(wrong, known) if wrong and wrong.rstrip(":") not in known else ""
        self.exit(2, f"{self.prog}: {message}{near or f' ({self.prog} --help tells all)'}\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the main command."""
    parser = OneLineParser(
        prog="monitord",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="what to watch")
    _add_what_to_do(parser.add_argument_group("what to do (default: watch)"))
    _add_table(parser.add_argument_group("table"))
    _add_pictures(parser.add_argument_group("pictures"))
    _add_alerts(parser.add_argument_group("alerts"))
    _add_page(parser.add_argument_group("page"))
    _add_daemon(parser.add_argument_group("daemon"))
    return parser


def build_compare_parser() -> argparse.ArgumentParser:
    """Return the parser of ``monitord compare``."""
    parser = OneLineParser(
        prog="monitord compare",
        description="What differs between runs, and how they ended: side by side where the"
        " terminal has room for that, else a line each.",
    )
    parser.add_argument("paths", nargs="+", metavar="RUN", help="runs, or folders of runs")
    _add_choice(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")
    return parser


def build_doctor_parser() -> argparse.ArgumentParser:
    """Return the parser of ``monitord doctor``."""
    parser = OneLineParser(
        prog="monitord doctor", description="What watches what, and what it costs."
    )
    parser.add_argument("paths", nargs="+", metavar="PATH")
    return parser


def _add_what_to_do(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--once", action="store_true", help="print the table and end")
    modes = group.add_mutually_exclusive_group()
    modes.add_argument(
        "--json", action="store_true", help="print strict JSON, a run a line, and end"
    )
    modes.add_argument("--static", action="store_true", help="draw a picture and end")
    modes.add_argument("--live", action="store_true", help="show one run in a window")


def _add_table(group: argparse._ArgumentGroup) -> None:
    _add_choice(group)
    group.add_argument(
        "--columns", metavar="NAMES", default="", help="also show these, such as lr,hidden"
    )


def _add_choice(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="CONDITIONS",
        help="such as 'lr=0.02 state=running test.scaled_loss<9'; all must hold",
    )
    group.add_argument("--sort", metavar="NAMES", help="such as best or state,-epoch")


def _add_pictures(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--output", type=Path, metavar="FILE", help="with --static: .png .svg .pdf")
    group.add_argument(
        "--overlay", nargs="+", metavar="RUN", help="draw these runs into the same panels"
    )
    group.add_argument("--log-y", action="store_true", help="logarithmic losses and metrics")
    group.add_argument(
        "--smooth", type=_share, default=0.0, metavar="W", help="moving average, 0 <= W < 1"
    )
    group.add_argument(
        "--metric", nargs="+", action="extend", default=[], metavar="NAME",
        help="series to draw instead of the four panels, such as test.loss_on",
    )  # fmt: skip
    group.add_argument("--no-plots", action="store_true", help="table only")
    group.add_argument("--plot-dir", type=Path, metavar="DIR", help="put all pictures there")


def _add_alerts(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--rules", type=Path, metavar="FILE", help="alert rules (JSON)")
    group.add_argument(
        "--alert", action="append", default=[], metavar="CONDITION",
        help="diverged, stalled, finished, failed, nonfinite, blobs_born, blobs_lost, plateau,"
        " or a comparison such as 'test.scaled_loss<9'",
    )  # fmt: skip
    group.add_argument("--alert-command", metavar="COMMAND", help="gets the alert as JSON on stdin")
    group.add_argument("--alert-webhook", metavar="URL", help="gets the alert as JSON by POST")


def _add_page(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--serve", action="store_true", help="also serve all of it to a browser on this machine"
    )
    group.add_argument("--host", metavar="HOST", help="where to serve (default 127.0.0.1)")
    group.add_argument(
        "--port", type=_port, metavar="PORT", help="where to serve (default 8765; 0: any)"
    )
    group.add_argument(
        "--token-file", type=Path, metavar="FILE", help="holds the token that opens the page"
    )
    group.add_argument(
        "--token", metavar="TEXT", help="the token itself; other users can see it in ps"
    )


def _add_daemon(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--interval", type=_seconds, metavar="S",
        help="seconds between sweeps and pictures (default: by what they cost, 2 to 15)",
    )  # fmt: skip
    group.add_argument(
        "--stalled-after", type=_seconds, default=60.0, metavar="S",
        help="least silence that is called stalled (default 60, and 5 usual epochs)",
    )  # fmt: skip
    group.add_argument("--log-file", type=Path, metavar="FILE", help="log there, rotated")
    group.add_argument(
        "--log-size", type=_megabytes, default=5_000_000, metavar="MB",
        help="rotate the log at this size (default 5)",
    )  # fmt: skip


def _positive(unit: str) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of {unit} above zero")
        return value

    return parse


def _seconds(text: str) -> float:
    return _positive("seconds")(text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def _megabytes(text: str) -> int:
    return max(1, round(_positive("megabytes")(text) * 1_000_000))


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number in [0, 1), such as 0.6")
    return value
