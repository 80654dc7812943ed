"""The table of installed diagnostics."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from diagnostics import registry


def print_installed() -> None:
    """Print every installed diagnostic: name, what it needs, where it comes from."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("diagnostic", "default", "needs", "from"):
        table.add_column(title)
    for name, point in registry.installed().items():
        try:
            needs = ", ".join(sorted(registry.load(name).needs)) or "losses alone"
        except Exception as error:
            needs = f"cannot be loaded: {error}"
        package = f"{point.dist.name} {point.dist.version}" if point.dist else "blobwatch"
        default = "yes" if name in registry.DEFAULT_NAMES else ""
        table.add_row(name, default, needs, f"{package} ({point.value})")
    Console().print(table)
