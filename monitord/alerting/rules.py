"""The rules of alerts: a small JSON file or ``--alert`` options, checked completely before use."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from diagnostics.contract import strictjson
from diagnostics.contract.errors import BlobwatchError, nearest
from monitord.series import TEST_LOSS
from monitord.terminal.filters import Condition, FilterError, parse_filter

CONDITIONS = (
    "nonfinite",
    "diverged",
    "stalled",
    "finished",
    "failed",
    "interrupted",
    "unreadable",
    "blobs_born",
    "blobs_lost",
    "plateau",
    "threshold",
)
_KEYS = ("on", "when", "runs", "deliver", "metric", "epochs", "change")
Kind = Literal["log", "bell", "command", "webhook"]


class RulesError(BlobwatchError):
    """A rules file or ``--alert`` option that cannot be understood."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where an alert goes.

    Attributes:
        kind: ``log``, ``bell``, ``command`` or ``webhook``.
        command: Program and arguments, for ``command``; never given to a shell.
        url: For ``webhook``.
    """

    kind: Kind
    command: tuple[str, ...] = ()
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One condition and where to tell of it.

    Attributes:
        on: One of `CONDITIONS`.
        when: Comparisons, for ``threshold``.
        runs: Only runs that satisfy these comparisons.
        deliver: Where to.
        metric: Series of a plateau.
        epochs: Number of epochs without progress that make a plateau.
        change: Relative improvement that counts as progress.
    """

    on: str
    when: tuple[Condition, ...] = ()
    runs: tuple[Condition, ...] = ()
    deliver: tuple[Delivery, ...] = (Delivery("log"), Delivery("bell"))
    metric: str = TEST_LOSS
    epochs: int = 10
    change: float = 0.01
    text: str = field(default="")

    @property
    def key(self) -> str:
        """What tells this rule from others, also after a restart and with other deliveries."""
        when = " ".join(f"{c.name}{c.operator}{c.value}" for c in self.when)
        plateau = f"{self.metric} {self.epochs} {self.change}" if self.on == "plateau" else ""
        return " ".join(part for part in (self.on, when, plateau) if part)

    @property
    def follows_clock(self) -> bool:
        """Whether it can become true without news of a run."""
        return any(condition.follows_clock for condition in (*self.when, *self.runs))


def read_rules(path: Path) -> list[Rule]:
    """Return the rules in a file.

    Raises:
        RulesError: It cannot be read, or is wrong; the message lists every fault.
    """
    try:
        found = strictjson.decode(path.read_bytes(), path)
    except OSError as error:
        raise RulesError(f"{path}: cannot read the alert rules: {error.strerror}") from None
    except BlobwatchError as error:
        raise RulesError(str(error)) from None
    items = found.get("rules") if isinstance(found, dict) else found
    if not isinstance(items, list):
        raise RulesError(f'{path}: expected {{"rules": [...]}}')
    rules, faults = [], []
    for place, item in enumerate(items):
        try:
            rules.append(_parse_rule(item))
        except (RulesError, FilterError) as error:
            faults.append(f"{path}: rules[{place}]: {error}")
    if faults:
        raise RulesError("\n".join(faults))
    return rules


def parse_option(text: str, deliver: Sequence[Delivery] = ()) -> Rule:
    """Return the rule of an ``--alert`` option: a condition's name, or a comparison.

    Raises:
        RulesError: It is neither.
    """
    to = (Delivery("log"), Delivery("bell"), *deliver)
    name = text.strip().replace("-", "_")
    if name in CONDITIONS and name != "threshold":
        return Rule(on=name, text=text, deliver=to)
    try:
        return Rule(on="threshold", when=tuple(parse_filter(text)), text=text, deliver=to)
    except FilterError:
        raise RulesError(
            f"--alert {text!r}: neither a comparison such as 'test.scaled_loss<9' nor one of"
            f" {', '.join(CONDITIONS[:-1])}{nearest(name, CONDITIONS)}"
        ) from None


def parse_command(text: str) -> Delivery:
    """Return the delivery of an ``--alert-command`` option."""
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise RulesError(f"--alert-command {text!r}: {error}") from None
    if not words:
        raise RulesError("--alert-command: empty; give a program and its arguments")
    return _to_command(words)


def _to_command(words: tuple[str, ...]) -> Delivery:
    if shutil.which(words[0]) is None:
        raise RulesError(f"command: {words[0]!r} is no program that can be run; give its full path")
    return Delivery("command", command=words)


def parse_webhook(url: Any) -> Delivery:
    """Return the delivery of an ``--alert-webhook`` option."""
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise RulesError(f"webhook: {url!r} is not an http:// or https:// address")
    return Delivery("webhook", url=url)


def _parse_rule(item: Any) -> Rule:
    if not isinstance(item, dict):
        raise RulesError(f"expected an object, got {item!r}")
    for key in item:
        if key not in _KEYS:
            raise RulesError(f"{key}: unknown key{nearest(key, _KEYS)}")
    on = item.get("on", "threshold" if "when" in item else None)
    if on not in CONDITIONS:
        hint = nearest(str(on), CONDITIONS)
        raise RulesError(f"on: {on!r} is none of {', '.join(CONDITIONS)}{hint}")
    when = tuple(parse_filter(_text(item, "when")))
    if (on == "threshold") != bool(when):
        raise RulesError(f"when: goes with on=threshold, such as 'test.scaled_loss<9'; on={on}")
    epochs, change = item.get("epochs", 10), item.get("change", 0.01)
    if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 1:
        raise RulesError(f"epochs: {epochs!r} is not a whole number of at least 1")
    if isinstance(change, bool) or not isinstance(change, int | float) or not 0 <= change < 1:
        raise RulesError(f"change: {change!r} is not a number in [0, 1)")
    return Rule(
        on=on,
        when=when,
        runs=tuple(parse_filter(_text(item, "runs"))),
        deliver=_parse_deliveries(item.get("deliver", ["log", "bell"])),
        metric=_text(item, "metric") or TEST_LOSS,
        epochs=epochs,
        change=float(change),
        text=_text(item, "when") or on,
    )


def _text(item: dict[str, Any], key: str) -> str:
    value = item.get(key, "")
    if not isinstance(value, str):
        raise RulesError(f"{key}: {value!r} is not a text")
    return value


def _parse_deliveries(found: Any) -> tuple[Delivery, ...]:
    deliveries: list[Delivery] = []
    for item in found if isinstance(found, list) else [found]:
        match item:
            case "log" | "bell":
                deliveries.append(Delivery(item))
            case {"command": [str(), *_] as words} if all(isinstance(w, str) for w in words):
                deliveries.append(_to_command(tuple(words)))
            case {"webhook": url}:
                deliveries.append(parse_webhook(url))
            case _:
                raise RulesError(
                    f'deliver: {item!r} is none of "log", "bell", {{"command": ["PROGRAM", ...]}},'
                    ' {"webhook": "https://..."}'
                )
    return tuple(deliveries)
