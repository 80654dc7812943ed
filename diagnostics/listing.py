"""What ``python -m diagnostics list`` and ``check`` print."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, PackageNotFoundError, version
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from diagnostics import registry
from diagnostics.examination import BESIDE_DEFAULTS, examine
from diagnostics.testing import CASES

MAX_WIDTH = 100
REQUIRED = "..."
CONFIGURE = '"diagnostics": {"NAME": {"OPTION": VALUE}}'


def print_installed() -> None:
    """Print every installed diagnostic: purpose, needs, options, where it comes from."""
    console = _console()
    for name, point in registry.installed().items():
        is_default = name in registry.DEFAULT_NAMES
        console.print(_line(name, "default" if is_default else "on request", point))
        console.print(_facts(name, point))
        console.print()
    console.print(Text("In a configuration: ") + Text(CONFIGURE, style="bold"))
    limit = f"time_limit_s = {registry.DEFAULT_TIME_LIMIT_S:g}"
    console.print(f"Every diagnostic has the option {limit} (seconds an epoch).")


def _line(name: str, when: str, point: EntryPoint) -> Table:
    line = Table.grid(expand=True)
    line.add_column(ratio=1)
    line.add_column(justify="right")
    line.add_row(Text(name, style="bold"), Text(f"{when} · {_package(point)}", style="dim"))
    return line


def _facts(name: str, point: EntryPoint) -> Table:
    facts = Table(box=None, show_header=False, padding=(0, 0, 0, 2))
    facts.add_column(style="dim", width=max(map(len, ("needs", "options", "problem"))))
    facts.add_column()
    problem, needs, purpose, options = None, None, "", dict[str, str]()
    try:
        target = point.load()
        purpose, options = first_line(target), options_of(target)
        needs = getattr(target, "needs", None)
        if REQUIRED not in options.values():
            needs = registry.load(name).needs
    except Exception as error:
        problem = f"cannot be loaded: {error}"
    if purpose:
        facts.add_row("", Text(purpose))
    if problem is not None:
        facts.add_row("problem", Text(problem, style="red"))
    if needs is not None:
        facts.add_row("needs", Text(", ".join(sorted(needs)) or "the losses alone"))
    if options:
        shown = ", ".join(f"{key}={default}" for key, default in options.items())
        facts.add_row("options", Text(shown))
    facts.add_row("from", Text(point.value, overflow="fold"))
    return facts


def _package(point: EntryPoint) -> str:
    if point.dist is not None:
        return f"{point.dist.name} {point.dist.version}"
    try:
        return f"blobwatch {version('blobwatch')}"
    except PackageNotFoundError:
        return "blobwatch"


def first_line(target: Any) -> str:
    """Return the first line of the documentation of a diagnostic, or of its module."""
    text = getattr(target, "__doc__", None) or ""
    return inspect.cleandoc(text).split("\n", 1)[0].replace("`", "")


def options_of(target: Any) -> dict[str, str]:
    """Return the options of a diagnostic's class and their defaults, as its signature has them.

    A class that takes ``**options`` for a function names it in backquotes in the documentation of
    ``__init__``: then the options are the keywords of that function.
    """
    if not isinstance(target, type):
        return {}
    options: dict[str, str] = {}
    for name, parameter in _parameters(target).items():
        if parameter.kind is parameter.VAR_KEYWORD:
            passed_to = _named_function(inspect.getattr_static(target, "__init__").__doc__ or "")
            taken = _parameters(passed_to) if passed_to is not None else {}
            options |= {
                key: repr(keyword.default)
                for key, keyword in taken.items()
                if keyword.kind is keyword.KEYWORD_ONLY
            }
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            options[name] = _default(parameter)
    return options


def _parameters(target: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError):
        return {}


def _default(parameter: inspect.Parameter) -> str:
    return REQUIRED if parameter.default is parameter.empty else repr(parameter.default)


def _named_function(text: str) -> Callable[..., Any] | None:
    for name in re.findall(r"`([\w.]+\.\w+)`", text):
        module, _, attribute = name.rpartition(".")
        try:
            found = getattr(import_module(module), attribute, None)
        except ImportError:
            continue
        if callable(found):
            return functools.partial(found)
    return None


def print_check(name: str, options: Mapping[str, Any], time_limit_s: float) -> bool:
    """Check a diagnostic on every case, print a line for each; return whether all is well."""
    console = _console()
    width = max(map(len, (*CASES, BESIDE_DEFAULTS)))
    seen: set[str] = set()
    n_problems = 0
    for result in examine(name, options=options, time_limit_s=time_limit_s):
        verdict = Text("failed", style="red") if result.problems else Text("ok    ", style="green")
        line = Text(f"{result.case:<{width}}  ") + verdict
        if not result.problems:
            line += Text(f"{result.n_fields:5d} fields{result.seconds * 1e3:9.1f} ms", "dim")
        console.print(line)
        for problem in result.problems:
            said = problem.removeprefix(f"case {result.case}: ")
            shown = "as above" if said in seen else said
            seen.add(said)
            console.print(Padding(Text(shown), (0, 0, 0, width + 2), expand=False))
        n_problems += len(result.problems)
    if n_problems:
        plural = "s" if n_problems > 1 else ""
        console.print(Text(f"{name}: {n_problems} problem{plural}", style="bold red"))
    else:
        console.print(Text(f"{name}: every case passed", style="bold"))
    return n_problems == 0


def _console() -> Console:
    console = Console(highlight=False, soft_wrap=False)
    console.width = min(console.width, MAX_WIDTH)
    return console
