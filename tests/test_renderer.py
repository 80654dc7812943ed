"""The render process: a real child, real files, real kills."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from matplotlib.image import imread

from monitord import series
from monitord.draw.messages import FRAME_LENGTH, decode_job, encode_job
from monitord.draw.renderer import Renderer, RenderLimits
from monitord.draw.request import DrawOptions, RenderJob
from monitord.series import RunSeries

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 60.0


def run(name: str = "quick", n: int = 20) -> RunSeries:
    epochs = np.arange(1.0, n + 1)
    return RunSeries(
        name=name,
        epochs=epochs,
        values={series.TEST_LOSS: 170.0 / epochs, "theirs.secret": epochs},
        nonfinite={series.TEST_LOSS: epochs == 3},
        restarts=(4,),
        born=7,
        n_planned=20,
        diagnostics_missing="off",
    )


@pytest.fixture
def renderer() -> Iterator[Renderer]:
    with Renderer(limits=RenderLimits(max_rate_s=0.0, hang_limit_s=PATIENCE_S)) as made:
        yield made


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_job_comes_back_from_its_message_as_it_was(tmp_path: Path) -> None:
    name = "r\u00e9\U0001f680\n$x$"
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    options = DrawOptions(log_y=True, smooth=0.5, metrics=("theirs.secret",))
    frame = b"".join(encode_job(RenderJob(output=path, runs=[run(name)], options=options)))
    assert FRAME_LENGTH.unpack_from(frame) == (len(frame) - FRAME_LENGTH.size,)
    back = decode_job(frame[FRAME_LENGTH.size :])
    assert (back.output, back.options) == (path, options)
    (got,) = back.runs
    assert (got.name, got.restarts, got.born, got.n_planned) == (name, (4,), 7, 20)
    assert got.diagnostics_missing == "off"
    assert set(got.values) == {"theirs.secret", series.TEST_LOSS}
    np.testing.assert_array_equal(got.values[series.TEST_LOSS], 170.0 / got.epochs)
    assert np.flatnonzero(got.nonfinite[series.TEST_LOSS]).tolist() == [2]


def test_only_the_series_that_are_shown_travel(tmp_path: Path) -> None:
    frame = b"".join(encode_job(RenderJob(output=tmp_path / "a.png", runs=[run()])))
    assert b"theirs.secret" not in frame


def test_pictures_are_made_in_another_process_of_lower_priority(
    renderer: Renderer, tmp_path: Path
) -> None:
    for name in ("a.png", "b.svg", "c.pdf"):
        renderer.submit(RenderJob(output=tmp_path / name, runs=[run()]))
    assert renderer.wait_idle(PATIENCE_S)
    reports = renderer.poll()
    assert [(report.output.name, report.reason) for report in reports] == [
        ("a.png", None),
        ("b.svg", None),
        ("c.pdf", None),
    ]
    assert renderer.poll() == []
    assert imread(tmp_path / "a.png").shape == (806, 1300, 4)
    assert renderer.worker_pid is not None
    child = psutil.Process(renderer.worker_pid)
    assert child.ppid() == os.getpid()
    assert child.nice() == min(os.nice(0) + 5, 19)


def test_the_newest_job_of_a_file_replaces_the_waiting_one(tmp_path: Path) -> None:
    limits = RenderLimits(max_rate_s=0.3)
    with Renderer(limits=limits) as renderer:
        for n in range(1, 40):
            renderer.submit(RenderJob(output=tmp_path / "a.png", runs=[run(n=n)]))
            renderer.submit(RenderJob(output=tmp_path / "b.svg", runs=[run(n=n)]))
        assert renderer.wait_idle(PATIENCE_S)
        reports = renderer.poll()
        assert 2 <= len(reports) <= 4
        twin = tmp_path / "twin.png"
        renderer.submit(RenderJob(output=twin, runs=[run(n=39)]))
        assert renderer.wait_idle(PATIENCE_S)
    assert (tmp_path / "a.png").read_bytes() == twin.read_bytes()


def test_a_file_is_not_drawn_more_often_than_its_rate(tmp_path: Path) -> None:
    with Renderer(max_rate_s=0.5) as renderer:
        renderer.submit(RenderJob(output=tmp_path / "warm.png", runs=[run()]))
        renderer.wait_idle(PATIENCE_S)
        renderer.poll()
        started = time.monotonic()
        while time.monotonic() < started + 1.3:
            renderer.submit(RenderJob(output=tmp_path / "a.png", runs=[run()]))
            time.sleep(0.01)
        assert 2 <= len(renderer.poll()) <= 3


def test_a_failing_job_is_named_and_the_next_ones_are_drawn(
    renderer: Renderer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    crooked = RunSeries(
        name="crooked", epochs=np.arange(5.0), values={series.TEST_LOSS: np.arange(5.0)},
        nonfinite={series.TEST_LOSS: np.ones(5, dtype=bool)}, restarts=(1,),
    )  # fmt: skip
    with caplog.at_level(logging.WARNING, "monitord.draw.renderer"):
        renderer.submit(RenderJob(output=tmp_path / "no" / "folder.png", runs=[crooked]))
        renderer.submit(RenderJob(output=tmp_path / "plot.bmp", runs=[crooked]))
        renderer.submit(RenderJob(output=tmp_path / "good.png", runs=[crooked]))
        assert renderer.wait_idle(PATIENCE_S)
    folder, bmp, good = renderer.poll()
    assert folder.reason is not None and "FileNotFoundError" in folder.reason
    assert bmp.reason is not None and "'.bmp'" in bmp.reason
    assert good.reason is None and (tmp_path / "good.png").exists()
    assert [str(tmp_path / "no" / "folder.png") in r.getMessage() for r in caplog.records] == [
        True,
        False,
    ]


def test_a_killed_process_is_started_again_and_no_picture_is_lost(
    renderer: Renderer, tmp_path: Path
) -> None:
    renderer.submit(RenderJob(output=tmp_path / "warm.png", runs=[run()]))
    assert renderer.wait_idle(PATIENCE_S)
    pids = set()
    for round_ in range(3):
        assert renderer.worker_pid is not None
        pids.add(renderer.worker_pid)
        os.kill(renderer.worker_pid, signal.SIGKILL)
        renderer.submit(RenderJob(output=tmp_path / f"{round_}.png", runs=[run()]))
        assert renderer.wait_idle(PATIENCE_S)
        assert (tmp_path / f"{round_}.png").exists()
    assert len(pids) == 3
    assert all(report.reason is None for report in renderer.poll())


def test_a_hanging_process_is_killed_and_the_job_reported(tmp_path: Path) -> None:
    with Renderer(limits=RenderLimits(max_rate_s=0.0, hang_limit_s=PATIENCE_S)) as renderer:
        renderer.submit(RenderJob(output=tmp_path / "warm.png", runs=[run()]))
        assert renderer.wait_idle(PATIENCE_S)
        renderer.poll()
        renderer._limits = RenderLimits(max_rate_s=0.0, hang_limit_s=0.3)
        hung = renderer.worker_pid
        assert hung is not None
        os.kill(hung, signal.SIGSTOP)
        # More than a pipe holds, so that writing to the stopped process blocks as well.
        renderer.submit(RenderJob(output=tmp_path / "a.png", runs=[run(n=100_000)]))
        assert renderer.wait_idle(10.0)
        (report,) = renderer.poll()
        assert report.reason is not None and "not ready after 0.3 s" in report.reason
        assert not is_alive(hung)
        renderer._limits = RenderLimits(max_rate_s=0.0)
        renderer.submit(RenderJob(output=tmp_path / "a.png", runs=[run()]))
        assert renderer.wait_idle(PATIENCE_S)
        assert renderer.poll()[0].reason is None


def test_closing_in_the_middle_of_a_picture_takes_under_a_second_and_leaves_no_traces(
    tmp_path: Path,
) -> None:
    renderer = Renderer(max_rate_s=0.0)
    renderer.submit(RenderJob(output=tmp_path / "warm.png", runs=[run()]))
    renderer.wait_idle(PATIENCE_S)
    many = [run(str(index), 5000) for index in range(20)]
    renderer.submit(RenderJob(output=tmp_path / "slow.png", runs=many))
    renderer.submit(RenderJob(output=tmp_path / "never.png", runs=[run()]))
    time.sleep(0.1)
    pid = renderer.worker_pid
    assert pid is not None
    started = time.monotonic()
    renderer.close()
    assert time.monotonic() - started < 1.0
    assert not is_alive(pid)
    assert not [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")]
    assert not (tmp_path / "never.png").exists()
    renderer.close()
    with pytest.raises(ValueError, match="closed"):
        renderer.submit(RenderJob(output=tmp_path / "a.png", runs=[run()]))


def test_a_stopped_process_does_not_delay_closing(tmp_path: Path) -> None:
    renderer = Renderer(max_rate_s=0.0)
    renderer.submit(RenderJob(output=tmp_path / "warm.png", runs=[run()]))
    renderer.wait_idle(PATIENCE_S)
    pid = renderer.worker_pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    renderer.submit(RenderJob(output=tmp_path / "a.png", runs=[run(n=100_000)]))
    started = time.monotonic()
    renderer.close()
    assert time.monotonic() - started < 1.0
    assert not is_alive(pid)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_the_process_ends_with_its_parent_also_when_that_is_killed(
    tmp_path: Path, busy: bool
) -> None:
    code = (
        "import sys, time, pathlib, test_renderer as t;"
        "folder = pathlib.Path(sys.argv[1]);"
        "r = t.Renderer(max_rate_s=0.0);"
        "r.submit(t.RenderJob(output=folder / 'warm.png', runs=[t.run()])); r.wait_idle(60);"
        "busy = [t.run(str(i), 5000) for i in range(20)] if sys.argv[2] == 'True' else [];"
        "[r.submit(t.RenderJob(output=folder / f'{i}.png', runs=busy)) for i in range(9) if busy];"
        "print(r.worker_pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), str(busy)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{ROOT}"},
    )
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.15)
        assert is_alive(child)
        parent.kill()
    started = time.monotonic()
    wait_for(lambda: not is_alive(child))
    assert time.monotonic() - started < 2.0
    assert not [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")]


def test_an_idle_process_is_let_go_and_comes_back_when_needed(tmp_path: Path) -> None:
    with Renderer(limits=RenderLimits(max_rate_s=0.0, idle_limit_s=0.1)) as renderer:
        assert renderer.worker_pid is None
        for name in ("a.png", "b.png"):
            renderer.submit(RenderJob(output=tmp_path / name, runs=[run()]))
            assert renderer.wait_idle(PATIENCE_S)
            wait_for(lambda: renderer.worker_pid is None)
            assert (tmp_path / name).exists()


def test_a_process_that_cannot_start_is_reported_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'no interpreter today' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with Renderer(max_rate_s=0.0) as renderer:
        renderer.submit(RenderJob(output=tmp_path / "a.png", runs=[run()]))
        assert renderer.wait_idle(PATIENCE_S)
        (report,) = renderer.poll()
    assert report.reason == "render process: ended with status 3: no interpreter today"


def test_submitting_never_waits_for_a_picture(renderer: Renderer, tmp_path: Path) -> None:
    slow = [run(str(index), 2000) for index in range(20)]
    renderer.submit(RenderJob(output=tmp_path / "slow.png", runs=slow))
    started = time.monotonic()
    for index in range(1000):
        renderer.submit(RenderJob(output=tmp_path / f"{index % 5}.svg", runs=slow))
    assert time.monotonic() - started < 0.5


def test_a_process_is_replaced_after_its_number_of_pictures(tmp_path: Path) -> None:
    pids = []
    with Renderer(limits=RenderLimits(max_rate_s=0.0, n_pictures=2)) as renderer:
        for name in ("a.png", "b.png", "c.png"):
            renderer.submit(RenderJob(output=tmp_path / name, runs=[run()]))
            assert renderer.wait_idle(PATIENCE_S)
            pids.append(renderer._process.last_pid)
        assert all(report.reason is None for report in renderer.poll())
    assert pids[0] == pids[1] != pids[2]


def test_an_overview_goes_before_the_pictures_of_runs_that_wait(tmp_path: Path) -> None:
    with Renderer(max_rate_s=0.0) as renderer:
        for number in range(6):
            renderer.submit(RenderJob(output=tmp_path / f"{number}.png", runs=[run()]))
        options = DrawOptions(overview=True)
        overview = RenderJob(output=tmp_path / "overview.png", runs=[run()], options=options)
        renderer.submit(overview)
        assert renderer.wait_idle(120.0)
        order = [report.output.name for report in renderer.poll()]
    assert len(order) == 7 and order.index("overview.png") <= 1
