"""The registry: which diagnostics are installed, and which of them a run wants.

Diagnostics are found by entry point (group ``blobwatch.diagnostics``): a class, called with the
options of the configuration, or a function of an epoch that carries ``needs``. A name with a colon
is taken as ``module:object``, so that a diagnostic can be tried before it is packaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from diagnostics.contract.errors import UnknownNameError, nearest
from diagnostics.contract.protocol import ENTRY_POINT_GROUP, Diagnostic, Epoch, Value
from diagnostics.contract.snapshot import PARTS, Part

DEFAULT = "default"
DEFAULT_NAMES = ("sampled_clusters", "blob_structure", "density_archive", "pairs_picture")
"""What runs unless the configuration says otherwise; pictures only with ``save_plots``."""
DEFAULT_TIME_LIMIT_S = 30.0
BUILT_IN = {
    "sampled_clusters": "diagnostics.builtin.sampled_clusters:SampledClusters",
    "blob_structure": "diagnostics.builtin.blob_structure:BlobStructure",
    "tensorboard": "diagnostics.builtin.tensorboard:TensorBoard",
    "pairs_picture": "diagnostics.builtin.pairs_picture:PairsPicture",
    "density_archive": "diagnostics.builtin.density_archive:DensityArchive",
}


@dataclass(slots=True)
class Loaded:
    """The diagnostics of a run.

    Attributes:
        diagnostics: Name to diagnostic, in the configured order.
        limits: Name to time limit in seconds.
        errors: Name to reason, for those that could not be loaded.
    """

    diagnostics: dict[str, Diagnostic] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


class FunctionDiagnostic:
    """A function of an epoch as a diagnostic."""

    def __init__(self, function: Callable[[Epoch], Mapping[str, Value]], name: str) -> None:
        """Wrap ``function``, which has an attribute ``needs``."""
        self._function = function
        self.name = name
        self.needs: Set[Part] = frozenset(getattr(function, "needs", ()))

    def compute(self, epoch: Epoch) -> Mapping[str, Value]:
        """Call the function."""
        return self._function(epoch)


def installed() -> dict[str, EntryPoint]:
    """Return the entry points of all installed diagnostics by name, the built-in ones first."""
    found = {name: EntryPoint(name, target, ENTRY_POINT_GROUP) for name, target in BUILT_IN.items()}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        found.setdefault(point.name, point)
    return found


def wanted(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the names and options that a configuration asks for.

    ``default`` stands for `DEFAULT_NAMES`; its options go to each of them.
    """
    chosen = config.get("diagnostics")
    if not isinstance(chosen, Mapping):
        chosen = {key: {} for key in ([DEFAULT] if chosen is None else chosen)}
    plots = bool(config.get("save_plots", True))
    found: dict[str, dict[str, Any]] = {}
    for name, options in chosen.items():
        if name == DEFAULT:
            names = [each for each in DEFAULT_NAMES if plots or not each.endswith("_picture")]
            found |= {each: dict(options) for each in names if each not in chosen}
        else:
            found[name] = dict(options)
    return found


def load_configured(
    config: Mapping[str, Any],
    left_out: Set[str] = frozenset(),
    before: Callable[[str], None] = lambda name: None,
) -> Loaded:
    """Load what a configuration asks for; what cannot be loaded is reported, not raised.

    Args:
        config: The configuration.
        left_out: Names that are not loaded.
        before: Called with each name before it is loaded: importing it may be the end of us.
    """
    loaded = Loaded()
    found: dict[str, Diagnostic] = {}
    for name, options in wanted(config).items():
        if name in left_out:
            continue
        before(name)
        try:
            loaded.limits[name] = time_limit(options.pop("time_limit_s", DEFAULT_TIME_LIMIT_S))
            found[name] = load(name, options)
        except Exception as error:
            loaded.errors[name] = f"cannot be loaded: {type(error).__name__}: {error}"[:300]
    last = {name for name in found if getattr(found[name], "runs_last", False)}
    loaded.diagnostics = dict(sorted(found.items(), key=lambda item: item[0] in last))
    return loaded


def time_limit(value: Any) -> float:
    """Return a time limit in seconds.

    Raises:
        ValueError: It is no positive, finite number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"time_limit_s must be a positive number of seconds, got {value!r}")
    return float(value)


def load(name: str, options: Mapping[str, Any] | None = None) -> Diagnostic:
    """Load one diagnostic.

    Raises:
        UnknownNameError: Nothing of that name is installed.
        TypeError: What the entry point names is no diagnostic, or refuses the options.
    """
    points = installed()
    if ":" in name:
        points[name] = EntryPoint(name, name, ENTRY_POINT_GROUP)
    if name not in points:
        raise UnknownNameError(
            f"diagnostic {name} is not installed{nearest(name, points) or '.'} Install the package"
            f" that brings it, or take it out of the configuration (installed: {', '.join(points)})"
        )
    target = points[name].load()
    if isinstance(target, type):
        made: Diagnostic = target(**(options or {}))
    elif callable(target):
        made = FunctionDiagnostic(target, name)
    else:
        made = target
    if not isinstance(made, Diagnostic):
        raise TypeError(f"{points[name].value} has no name, needs and compute(epoch)")
    if unknown := set(made.needs) - set(PARTS):
        raise TypeError(f"needs {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return made
