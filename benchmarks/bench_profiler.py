"""How well the profiler's figures agree with real runs, and its choice with brute force.

    python benchmarks/bench_profiler.py [CONFIG] [--threads 1] [--repeats 2]

1. Throughput: a profile; then real runs (``python -m trainer``) at the fastest and the slowest
   size, alternating. Compared are the profile's median and the runs' epochs: the median of all,
   and of the fastest quarter, which on a shared machine are those that nobody disturbed.
2. Time to target: ``--to-loss`` over all sizes, at the profile's own target, against the choice.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", nargs="?", default=str(ROOT / "configs/quick_3blob.json"))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=5, help="of the profile")
    parser.add_argument("--run-epochs", type=int, default=20, help="of the real runs")
    parser.add_argument("--diagnostics", action="store_true", help="leave diagnostics on")
    parser.add_argument("--skip-brute-force", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        profile = run_profile(folder, arguments, "profile")
        compare_throughput(profile, folder, arguments)
        if not arguments.skip_brute_force:
            compare_targets(profile, folder, arguments)
    return 0


def environment(arguments: argparse.Namespace) -> dict[str, str]:
    result = {**os.environ, "PYTHONPATH": str(ROOT)}
    if arguments.threads:
        result["OMP_NUM_THREADS"] = str(arguments.threads)
    return result


def run_profile(
    folder: Path, arguments: argparse.Namespace, name: str, *more: str
) -> dict[str, Any]:
    command = [sys.executable, "-m", "profiler", arguments.config, "--output", f"{name}.md"]
    command += ["--epochs", str(arguments.epochs), "--quiet", *more]
    if arguments.threads:
        command += ["--threads", str(arguments.threads)]
    subprocess.run(command, cwd=folder, env=environment(arguments), check=True)
    loaded: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    print(f"{name}: took {loaded['elapsed_s']:.0f} s")
    return loaded


def compare_throughput(
    profile: dict[str, Any], folder: Path, arguments: argparse.Namespace
) -> None:
    speeds = profile["analysis"]["figures"]["speeds"]
    ordered = sorted(speeds, key=lambda size: speeds[size]["rate"]["value"])
    pair = ordered[0], ordered[-1]
    epochs: dict[str, list[float]] = {size: [] for size in pair}
    for repeat in range(arguments.repeats):
        for size in pair if repeat % 2 else pair[::-1]:
            epochs[size] += real_epochs(int(size), folder / f"run_{size}_{repeat}", arguments)
    for size in pair:
        speed = speeds[size]
        rate, rates = speed["rate"]["value"], sorted(epochs[size])
        top = statistics.median(rates[-max(1, len(rates) // 4) :])
        middle = statistics.median(rates)
        print(
            f"size {size:>6}: profile {rate:,.0f} samples/s"
            f" ({speed['rate']['low']:,.0f} to {speed['rate']['high']:,.0f},"
            f" {speed['n_used']} windows, {speed['n_rejected']} rejected, busy {speed['is_busy']});"
            f" real median {middle:,.0f} ({rate / middle - 1:+.1%}),"
            f" fastest quarter {top:,.0f} ({rate / top - 1:+.1%})"
        )


def real_epochs(size: int, folder: Path, arguments: argparse.Namespace) -> list[float]:
    settings = {
        "batch_size": size,
        "epochs": arguments.run_epochs,
        "enable_diagnostics": str(arguments.diagnostics).lower(),
        "save_plots": "false",
        "save_model": "false",
    }
    command = [sys.executable, "-m", "trainer", arguments.config, "--quiet"]
    command += ["--device", "cpu", "--output-dir", str(folder)]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    subprocess.run(command, cwd=folder.parent, env=environment(arguments), check=True)
    history = json.loads((folder / "results.json").read_text())["training_history"]
    return [epoch["timing"]["samples_per_second"] for epoch in history]


def compare_targets(profile: dict[str, Any], folder: Path, arguments: argparse.Namespace) -> None:
    analysis = profile["analysis"]
    target, choice = analysis["figures"]["target"], analysis["recommendation"]["time_to_target"]
    if target is None or choice is None:
        print("no target was reached")
        return
    brute = run_profile(folder, arguments, "brute", "--to-loss", str(target["loss"]))
    times = {
        t["batch_size"]: t["seconds"]["value"]
        for t in brute["analysis"]["figures"]["target_times"]
        if t["is_measured"]
    }
    best = min(times, key=times.__getitem__)
    print(f"target {target['loss']:g}; brute force, seconds by size: ", end="")
    print(", ".join(f"{size}: {seconds:.3f}" for size, seconds in sorted(times.items())))
    chosen = choice["batch_size"]
    print(f"chosen {chosen}, best {best}: {times[chosen] / times[best] - 1:+.1%}")


if __name__ == "__main__":
    sys.exit(main())
