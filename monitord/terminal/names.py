"""Names of runs made short enough for a column, and still told apart."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence

from rich.cells import cell_len, chop_cells

_STAMP = re.compile(r"_\d{8}_\d{6}$")
_WORD = re.compile(r"[^_/ =,-]+[_/ =,-]*|[_/ =,-]+")


def shortened(names: Sequence[str], width: int) -> list[str]:
    """Return the names in at most ``width`` cells each, still told apart where that can be.

    From names that are too wide go, in this order: a stamp of date and time at the end, if the rest
    tells the names apart; the beginning that all too wide names share; the middle.
    """
    wide = {name for name in names if cell_len(name) > width}
    bare = {name: _STAMP.sub("", name) for name in names}
    uses = Counter(bare.values())
    shown = {name: bare[name] if uses[bare[name]] == 1 else name for name in wide}
    wide = {name for name in wide if cell_len(shown[name]) > width}
    shared = _shared_start([shown[name] for name in wide]) if len(wide) > 1 else ""
    n_shared = max(shared.rfind("_"), shared.rfind("/")) + 1
    for name in wide:
        text = f"…{shown[name][n_shared:]}" if n_shared > 3 else shown[name]
        shown[name] = text if cell_len(text) <= width else _without_middle(text, width)
    return [shown.get(name, name) for name in names]


def wrapped(name: str, width: int) -> str:
    """Return a name in lines of at most ``width`` cells that end where a word of it does."""
    lines = [""]
    for word in _WORD.findall(name):
        for piece in chop_cells(word, width):
            if cell_len(lines[-1] + piece) > width:
                lines.append("")
            lines[-1] += piece
    return "\n".join(lines)


def _shared_start(texts: Sequence[str]) -> str:
    pairs = zip(min(texts), max(texts), strict=False)
    return "".join(one for one, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _without_middle(text: str, width: int) -> str:
    """Return ``text`` in ``width`` cells: names differ most at their ends."""
    head = chop_cells(text, max(1, (width - 1) // 3))[0]
    tail = ""
    for character in reversed(text):
        if cell_len(head) + 1 + cell_len(character + tail) > width:
            break
        tail = character + tail
    return f"{head}…{tail}"
