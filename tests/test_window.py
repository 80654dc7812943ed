"""The live window, on a real X server (Xvfb): its pixels, its manners, its end."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from monitord import series
from monitord.draw import style
from monitord.series import RunSeries
from monitord.window import LiveWindow, NoDisplayError

TESTS = Path(__file__).parent
SCREEN = (1400, 1000)
PATIENCE_S = 20.0


def has_tk() -> bool:
    try:
        import tkinter  # noqa: F401
    except ImportError:
        return False
    return True


needs_display = pytest.mark.skipif(
    shutil.which("Xvfb") is None or not has_tk(),
    reason="needs Xvfb (Debian package xvfb) and a Python with tkinter",
)


def run(n: int = 20, name: str = "live") -> RunSeries:
    epochs = np.arange(1.0, n + 1)
    return RunSeries(name=name, epochs=epochs, values={series.TEST_LOSS: 170.0 / epochs})


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Free Tk's images in the thread that made them: another one could only complain."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start an X server and point DISPLAY at it; its pixels lie in the returned folder."""
    folder = tmp_path_factory.mktemp("screen")
    read, write = os.pipe()
    arguments = ["-displayfd", str(write), "-fbdir", str(folder), "-nolisten", "tcp", "-noreset"]
    geometry = ["-screen", "0", f"{SCREEN[0]}x{SCREEN[1]}x24"]
    with subprocess.Popen(
        ["Xvfb", *arguments, *geometry], pass_fds=[write], stderr=subprocess.DEVNULL
    ) as server:
        os.close(write)
        with os.fdopen(read) as numbers:
            number = numbers.readline().strip()
        before = os.environ.get("DISPLAY")
        os.environ["DISPLAY"] = f":{number}"
        yield folder / "Xvfb_screen0"
        os.environ.pop("DISPLAY")
        if before is not None:
            os.environ["DISPLAY"] = before
        server.terminate()


def pixels_of(screen: Path) -> NDArray[np.uint32]:
    """Return the screen as 0xRRGGBB values of shape (height, width), from its XWD file."""
    data = screen.read_bytes()
    head = struct.unpack(">25I", data[:100])
    header_size, width, height, line, n_colours = head[0], head[4], head[5], head[12], head[19]
    start = header_size + 12 * n_colours
    rows = np.frombuffer(data, "<u4", line // 4 * height, start).reshape(height, line // 4)
    return rows[:, :width] & 0xFFFFFF


def n_pixels(screen: Path, colour: str) -> int:
    return int((pixels_of(screen) == int(colour[1:], 16)).sum())


def wait_for(condition: Callable[[], Any], serve: Callable[[], object] = lambda: None) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited too long"
        serve()
        time.sleep(0.01)
    return value


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    return subprocess.Popen(
        [sys.executable, "-u", "-W", "error", "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )


@needs_display
def test_the_runs_are_on_the_screen_and_an_update_changes_it_in_place(screen: Path) -> None:
    with LiveWindow("live $x$ \udcff") as window:
        window.show([run(2)])
        window.pump(0.2)
        first = wait_for(lambda: n_pixels(screen, style.BLUE), lambda: window.pump(0.05))
        assert first > 200
        place = (window._root.winfo_rootx(), window._root.winfo_rooty())
        before = pixels_of(screen)
        window.show([run(20)])
        window.pump(0.2)
        wait_for(lambda: (pixels_of(screen) != before).sum() > 500, lambda: window.pump(0.05))
        assert (window._root.winfo_rootx(), window._root.winfo_rooty()) == place
    assert window.closed


@needs_display
def test_the_window_does_without_pyplot(screen: Path) -> None:
    code = (
        "import sys, test_window as t\n"
        "with t.LiveWindow('live') as window:\n"
        "    window.show([t.run()])\n"
        "print('matplotlib.figure' in sys.modules, 'matplotlib.pyplot' in sys.modules)\n"
    )
    with start(code) as process:
        assert process.communicate(timeout=PATIENCE_S) == ("True False\n", "")


@needs_display
def test_a_resized_window_is_filled_with_the_same_margins(screen: Path) -> None:
    with LiveWindow("live") as window:
        window.show([run()])
        lefts = []
        for geometry in ("800x500", "1200x800"):
            window._root.geometry(geometry)
            width, height = map(int, geometry.split("x"))
            wait_for(
                lambda w=width: window._sheet.size_in[0] * window._sheet.figure.dpi > w - 5,
                lambda: window.pump(0.05),
            )
            window.pump(0.2)
            pixels = np.multiply(window._sheet.size_in, window._sheet.figure.dpi)
            np.testing.assert_allclose(pixels, (width, height), atol=1.0)
            box = window._sheet.panels[1].axes.get_position()
            lefts.append(box.x0 * window._sheet.size_in[0])
        assert lefts[0] == pytest.approx(lefts[1]) == pytest.approx(style.MARGIN_LEFT)


HOLDER = """
import sys, tkinter
root = tkinter.Tk()
root.geometry("300x300+200+200")
root.configure(background="#ff00ff")
root.bind("<FocusIn>", lambda event: print("in"))
root.bind("<FocusOut>", lambda event: print("out"))
root.update()
root.lift()
root.focus_force()
root.mainloop()
"""


@needs_display
def test_updates_never_take_the_focus_nor_rise_above_another_window(screen: Path) -> None:
    with LiveWindow("live") as window:
        window._root.geometry("900x600+50+50")
        window.show([run(3)])
        window.pump(0.3)
        with start(HOLDER) as holder:
            assert holder.stdout is not None
            try:
                assert holder.stdout.readline() == "in\n"
                wait_for(
                    lambda: n_pixels(screen, "#ff00ff") == 300 * 300, lambda: window.pump(0.05)
                )
                for n in range(4, 16):
                    window.show([run(n)])
                    window.pump(0.05)
                assert n_pixels(screen, "#ff00ff") == 300 * 300
            finally:
                holder.terminate()
            assert "out" not in holder.stdout.read()


@needs_display
def test_it_ends_when_the_run_ends(screen: Path) -> None:
    remaining = [[run(n)] for n in range(1, 5)]
    window = LiveWindow("live")
    window.run(lambda: remaining.pop() if remaining else None, refresh_interval_s=0.02)
    assert window.closed and not remaining


@needs_display
def test_closing_the_window_ends_it_at_once(screen: Path) -> None:
    window = LiveWindow("live")
    # What a window manager sends when the user presses the close button.
    window._root.after(100, lambda: window._root.tk.eval(window._root.protocol("WM_DELETE_WINDOW")))
    started = time.monotonic()
    window.run(lambda: [run()], refresh_interval_s=600.0)
    assert window.closed and time.monotonic() - started < 5.0
    window.show([run()])
    window.close()


@needs_display
def test_ctrl_c_closes_the_window_and_reaches_the_caller(screen: Path) -> None:
    code = (
        "import test_window as t\n"
        "window = t.LiveWindow('live')\n"
        "def read():\n"
        "    print('shown'); return [t.run()]\n"
        "try:\n"
        "    window.run(read, refresh_interval_s=0.05)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted', window.closed)\n"
    )
    with start(code) as process:
        assert process.stdout is not None and process.stderr is not None
        for _ in range(3):
            assert process.stdout.readline() == "shown\n"
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=PATIENCE_S)
    assert out.endswith("interrupted True\n")
    assert (errors, process.returncode) == ("", 0)


@needs_display
def test_an_error_while_reading_closes_the_window_and_reaches_the_caller(screen: Path) -> None:
    window = LiveWindow("live")

    def read() -> list[RunSeries]:
        raise OSError("unreadable")

    with pytest.raises(OSError, match="unreadable"):
        window.run(read)
    assert window.closed


def test_without_a_display_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("DISPLAY is asked for on Linux only")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(NoDisplayError, match="no display: DISPLAY is not set"):
        LiveWindow("live")


@pytest.mark.skipif(not has_tk(), reason="needs a Python with tkinter")
def test_a_display_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":9999")
    with pytest.raises(NoDisplayError, match=r"no display: .*:9999"):
        LiveWindow("live")


def test_without_tk_one_line_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":9999")
    monkeypatch.setitem(sys.modules, "tkinter", None)
    with pytest.raises(NoDisplayError, match="no tkinter"):
        LiveWindow("live")
