"""What importing a package brings along: the import rule as Python sees it."""

from __future__ import annotations

import subprocess
import sys

import pytest

RULES = {
    "diagnostics.contract": {"torch", "sklearn", "scipy", "matplotlib", "zmq", "trainer"},
    "diagnostics.contract.protocol": {"torch", "sklearn", "scipy", "matplotlib", "zmq", "trainer"},
    "diagnostics": {"torch", "sklearn", "scipy", "matplotlib", "zmq", "numpy", "trainer"},
    "diagnostics.consumer.consumer": {"torch", "sklearn", "scipy", "matplotlib", "trainer"},
    "diagnostics.consumer.worker": {"torch", "sklearn", "matplotlib", "trainer"},
    "trainer": {"torch", "sklearn", "matplotlib", "numpy", "monitord"},
    "trainer.config": {"torch", "sklearn", "matplotlib", "monitord"},
    "trainer.command": {"torch", "sklearn", "matplotlib", "monitord", "rich"},
    "trainer.opening": {"sklearn", "scipy", "matplotlib", "monitord", "diagnostics.registry"},
    "monitord": {"torch", "sklearn", "scipy", "matplotlib", "trainer"},
    "monitord.command": {"torch", "sklearn", "scipy", "matplotlib", "trainer"},
    "profiler": {"torch", "sklearn", "scipy", "matplotlib", "trainer.model"},
    "profiler.command": {"torch", "sklearn", "scipy", "matplotlib", "trainer.model"},
}


@pytest.mark.parametrize("package", RULES)
def test_importing_a_package_loads_nothing_that_it_may_not(package: str) -> None:
    code = f"import sys, {package}; print(' '.join(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not RULES[package] & set(out.stdout.split())
