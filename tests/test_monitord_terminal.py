"""The live table, on real terminals of a given size."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.cells import cell_len

from monitord.terminal.figures import number, sparkline
from monitord.terminal.lettering import plain_text
from monitord.terminal.names import shortened
from tests.monitord_trees import entry, wait_for, write_results

ROOT = Path(__file__).parent.parent


class Terminal:
    """A monitord on a terminal of a given size."""

    def __init__(self, *arguments: object, columns: int = 120, lines: int = 20) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        # the size is the terminal's, not that of the one in which the tests run
        inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "monitord", *map(str, arguments)],
            cwd=ROOT, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**inherited, "TERM": "xterm-256color"},
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(slave)
        self.raw = ""
        self._closing = False
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while not self._closing:
            try:
                if not select.select([self.master], [], [], 0.1)[0]:
                    continue
                found = os.read(self.master, 65536)
            except OSError:
                return
            if not found:
                return
            self.raw += found.decode("utf-8", "replace")

    @property
    def text(self) -> str:
        """What was written, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.raw)

    def hang_up(self) -> None:
        """Close the terminal, as a lost connection does."""
        self._closing = True
        self._thread.join(10)
        os.close(self.master)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            self._thread.join(10)
            os.close(self.master)


def test_on_a_terminal_a_live_table_follows_the_runs_and_gives_the_terminal_back(
    tmp_path: Path,
) -> None:
    folder = write_results(tmp_path / "my_run", 1, status="running", epochs=5)
    terminal = Terminal(tmp_path, "--no-plots")
    try:
        wait_for(lambda: "my_run" in terminal.text and "1/5" in terminal.text, "the table")
        write_results(folder, 4, status="running", epochs=5)
        wait_for(lambda: "4/5" in terminal.text, "the new epoch")
        terminal.process.terminate()
        assert terminal.process.wait(10) == 0
        wait_for(lambda: "\x1b[?1049l" in terminal.raw, "the first screen of the terminal")
        assert "\x1b[?25h" in terminal.raw
    finally:
        terminal.close()


def test_an_alert_rings_the_bell_of_the_terminal_once_and_stands_at_the_foot(
    tmp_path: Path,
) -> None:
    folder = write_results(tmp_path / "my_run", 1, status="running", epochs=5)
    terminal = Terminal(tmp_path, "--no-plots", "--alert", "epoch>1")
    try:
        wait_for(lambda: "1/5" in terminal.text, "the table")
        assert "\a" not in terminal.raw
        for n_epochs in (2, 3):
            write_results(folder, n_epochs, status="running", epochs=5)
            wait_for(lambda n=n_epochs: f"{n}/5" in terminal.text, "the new epoch")
        wait_for(lambda: "my_run: epoch>1 (epoch 2;" in terminal.text, "the alert at the foot")
        assert terminal.raw.count("\a") == 1
    finally:
        terminal.close()


def test_a_closed_terminal_ends_the_monitor_that_showed_its_table_there(tmp_path: Path) -> None:
    write_results(tmp_path / "my_run", 1)
    terminal = Terminal(tmp_path, "--no-plots")
    wait_for(lambda: "my_run" in terminal.text, "the table")
    wait_for((tmp_path / ".blobwatch" / "monitor-status.json").exists, "the loop")
    terminal.hang_up()
    terminal.process.wait(10)
    assert not (tmp_path / ".blobwatch" / "monitor-status.json").exists()


def test_names_from_files_are_never_markup_or_control_codes(tmp_path: Path) -> None:
    names = ["[red]red[/red]", "esc\x1b]0;title\x07", "line\nend", "🚀" * 30, "x" * 200, "日本語"]
    for name in names:
        write_results(tmp_path / name, 1, status="failed", status_reason="[bold]\x1b[2J")
    for columns in (80, 160):
        terminal = Terminal(tmp_path, "--no-plots", columns=columns, lines=30)
        try:
            wait_for(lambda t=terminal: "6 failed" in t.text and "日本語" in t.text, "the table")
            assert "[red]red[/red]" in terminal.text
            assert "\x1b]0;title" not in terminal.text
            assert "line?end" in terminal.text
        finally:
            terminal.close()


@pytest.fixture
def paged(tmp_path: Path) -> Iterator[Terminal]:
    """Show fifty runs on four pages, when the loop that takes keys is there."""
    for index in range(50):
        write_results(tmp_path / f"run_{index:02d}", 1, status="completed")
    terminal = Terminal(tmp_path, "--no-plots", lines=20)
    try:
        wait_for(lambda: "page 1 of 4" in terminal.text, "the first page")
        wait_for((tmp_path / ".blobwatch" / "monitor-status.json").exists, "the loop")
        yield terminal
    finally:
        terminal.close()


def test_many_runs_are_paged_to_the_height_of_the_terminal_and_keys_turn_pages(
    paged: Terminal,
) -> None:
    assert "run_49" not in paged.text
    os.write(paged.master, b"G")
    wait_for(lambda: "page 4 of 4" in paged.text and "run_49" in paged.text, "the last")
    os.write(paged.master, b"q")
    assert paged.process.wait(10) == 0


def test_keys_that_arrive_together_all_count_and_terminals_may_differ_in_what_end_sends(
    paged: Terminal,
) -> None:
    for keys, page in ((b"\x1b[B\x1bOBj", 4), (b"\x1b[1~", 1), (b"\x1b[4~\x1b[A", 3)):
        paged.raw = ""
        os.write(paged.master, keys)
        wait_for(lambda n=page: f"page {n} of 4" in paged.text, f"page {page}")


def test_a_filter_can_be_typed_at_the_live_table_and_a_wrong_one_is_explained(
    tmp_path: Path,
) -> None:
    for index in range(3):
        write_results(tmp_path / f"run_{index}", index + 1, status="completed")
    terminal = Terminal(tmp_path, "--no-plots")
    try:
        wait_for(lambda: "3 runs" in terminal.text, "the table")
        wait_for((tmp_path / ".blobwatch" / "monitor-status.json").exists, "the loop")
        os.write(terminal.master, b"/epch>1\r")
        wait_for(lambda: "no run has 'epch'; did you mean epoch?" in terminal.text, "the reason")
        os.write(terminal.master, b"\x7f" * 4 + b"och>1\r")
        wait_for(lambda: "2 of 3 runs" in terminal.text, "those that pass")
        terminal.raw = ""
        os.write(terminal.master, b"r")
        wait_for(lambda: "by -state" in terminal.text, "the order reversed")
        os.write(terminal.master, b"/\x15\r")
        wait_for(lambda: "3 runs" in terminal.text.rpartition("2 of 3 runs")[2], "all again")
    finally:
        terminal.close()


def test_an_empty_root_waits_and_shows_the_first_run_when_it_comes(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "--no-plots")
    try:
        wait_for(lambda: "no experiment yet" in terminal.text, "the empty table")
        write_results(tmp_path / "first", 2)
        wait_for(lambda: "first" in terminal.text, "the run")
    finally:
        terminal.close()


def test_numbers_are_short_and_missing_ones_a_dash() -> None:
    assert [number(v) for v in (8.25, 81.034, 1234.5, 0.0, 1e-7, None, float("nan"))] == [
        "8.250", "81.03", "1234", "0.000", "1.00e-07", "-", "-",
    ]  # fmt: skip
    assert len(number(-123456.789)) <= 9


def test_a_sparkline_marks_what_is_not_finite() -> None:
    import numpy as np

    assert sparkline(np.array([1.0, np.nan, 2.0])) == "▁\N{MULTIPLICATION SIGN}█"
    assert sparkline(np.array([np.nan])) == "\N{MULTIPLICATION SIGN}"
    assert sparkline(np.array([3.0, 3.0])) == "▁▁"


def test_long_names_are_shortened_where_they_do_not_differ() -> None:
    stamped = [f"quick_3blob_lr0.1_seed{seed}_20260101_00000{seed}" for seed in (1, 2)]
    assert shortened(stamped, 24) == ["quick_3blob_lr0.1_seed1", "quick_3blob_lr0.1_seed2"]
    assert shortened([*stamped, "other"], 16) == ["…seed1", "…seed2", "other"]
    twins = ["a_long_name_20260101_000001", "a_long_name_20260101_000002"]
    assert shortened(twins, 20) == ["…000001", "…000002"]
    alone = shortened(["x" * 30 + "日本語"], 14)[0]
    assert alone.endswith("…" + "x" * 3 + "日本語")
    assert cell_len(alone) <= 14


def test_a_narrow_table_counts_states_by_their_marks_and_tells_reasons_below(
    tmp_path: Path,
) -> None:
    for index, status in enumerate(("failed", "interrupted", "completed", "running", "running")):
        write_results(tmp_path / f"run_{index}", 1, status=status, status_reason=f"why {index}")
    write_results(tmp_path / "nan", [entry(1, float("nan"))])
    terminal = Terminal(tmp_path, "--no-plots", columns=60, lines=24)
    try:
        wait_for(lambda: "✗ 1  ■ 1  ✓ 1" in terminal.text, "the counts without words")
        for words in ("run_0: why 0", "run_1: why 1", "nan: train.loss is not finite"):
            wait_for(lambda w=words: w in terminal.text, words)
    finally:
        terminal.close()


def test_plain_text_keeps_nothing_that_a_terminal_obeys() -> None:
    assert plain_text("a\x1b[31m\u202eb\r\n\x9bc\udcff") == "a?[31mb???c?"
