"""What travels to a page: each point once, and again only if it changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitord.fleet import Fleet
from monitord.page import points
from monitord.page.answers import SeriesPart
from monitord.page.board import BoardKeeper, Entry
from monitord.page.events import events_since, start_of
from monitord.page.points import Cursor, new_points
from monitord.reading.tabulation import tabulate
from tests.monitord_trees import again, entry, look, write_results

LOSS = "test.scaled_loss"


class Holder:
    """Keeps what a page keeps: points by epoch, and a cursor."""

    def __init__(self) -> None:
        self.cursor: str | None = None
        self.held: dict[float, float | None] = {}
        self.n_received: dict[float, int] = {}
        self.n_resets = 0

    def take(self, part: SeriesPart) -> None:
        if part.reset:
            self.held.clear()
            self.n_resets += 1
        for epoch, value in zip(part.epochs, part.values.get(LOSS, []), strict=True):
            self.held[epoch] = None if value is None or np.isnan(value) else value
            self.n_received[epoch] = self.n_received.get(epoch, 0) + 1
        self.cursor = part.cursor

    def catch_up(self, keeper: BoardKeeper) -> None:
        more = True
        while more:
            cursor = Cursor.decode(self.cursor) if self.cursor else None
            part = new_points(entry_of(keeper), [LOSS], cursor, keeper.boot)
            self.take(part)
            more = part.more


def entry_of(keeper: BoardKeeper) -> Entry:
    (found,) = keeper.board.entries.values()
    return found


def step(keeper: BoardKeeper, fleet: Fleet) -> None:
    again(fleet)
    keeper.follow(fleet, [], 0.0)


def truth(fleet: Fleet) -> dict[float, float]:
    series = fleet.runs[0].series()
    return dict(zip(series.epochs.tolist(), series.get(LOSS).tolist(), strict=True))


def put(keeper: BoardKeeper, fleet: Fleet, entries: list[dict[str, Any]]) -> None:
    """Add epochs, or complete known ones, as a journal and then ``results.json`` do."""
    run = fleet.runs[0]
    run.columns.put(tabulate(entries))
    run.version, run.data_version = run.version + 1, run.data_version + 1
    fleet.version += 1
    keeper.follow(fleet, [], 0.0)


@pytest.fixture
def keeper() -> BoardKeeper:
    return BoardKeeper()


def test_only_new_epochs_travel_and_each_once(tmp_path: Path, keeper: BoardKeeper) -> None:
    fleet, holder = look(write_results(tmp_path / "run", 3)), Holder()
    step(keeper, fleet)
    holder.catch_up(keeper)
    for n in (4, 5, 9):
        write_results(tmp_path / "run", n)
        step(keeper, fleet)
        holder.catch_up(keeper)
        holder.catch_up(keeper)
    assert holder.held == truth(fleet)
    assert set(holder.n_received.values()) == {1} and holder.n_resets == 1


def test_an_epoch_whose_diagnostics_come_late_travels_again_alone(
    tmp_path: Path, keeper: BoardKeeper
) -> None:
    fleet, holder = look(write_results(tmp_path / "run", 5)), Holder()
    step(keeper, fleet)
    holder.catch_up(keeper)
    put(keeper, fleet, [entry(5, diagnostics={"n_blobs": 3})])
    part = new_points(entry_of(keeper), None, Cursor.decode(str(holder.cursor)), keeper.boot)
    assert part.epochs == [5.0] and part.values["diagnostics.n_blobs"] == [3.0]


def test_times_of_epochs_travel_like_series_and_only_when_they_are_new(
    tmp_path: Path, keeper: BoardKeeper
) -> None:
    entries = [entry(i, at=f"2026-01-01T00:00:0{i}Z") for i in (1, 2, 3)]
    fleet = look(write_results(tmp_path / "run", entries[:2], started_at="2026-01-01T00:00:00Z"))
    step(keeper, fleet)
    first = new_points(entry_of(keeper), ["at"], None, keeper.boot)
    began = first.began
    assert began is not None and first.values == {"at": [began + 1, began + 2]}
    write_results(tmp_path / "run", entries, started_at="2026-01-01T00:00:00Z")
    step(keeper, fleet)
    second = new_points(entry_of(keeper), None, Cursor.decode(first.cursor), keeper.boot)
    assert second.epochs == [3.0] and second.values["at"] == [began + 3]
    assert second.values[LOSS] == [100 / 3]


def test_a_run_that_starts_over_is_sent_anew(tmp_path: Path, keeper: BoardKeeper) -> None:
    fleet, holder = look(write_results(tmp_path / "run", 5)), Holder()
    step(keeper, fleet)
    holder.catch_up(keeper)
    write_results(tmp_path / "run", [entry(1, 7.0), entry(2, 6.0)])
    step(keeper, fleet)
    holder.catch_up(keeper)
    assert holder.held == {1.0: 7.0, 2.0: 6.0} and holder.n_resets == 2


def test_the_cursor_of_another_server_begins_anew(tmp_path: Path, keeper: BoardKeeper) -> None:
    fleet, holder = look(write_results(tmp_path / "run", 5)), Holder()
    step(keeper, fleet)
    holder.catch_up(keeper)
    restarted = BoardKeeper()
    restarted.follow(fleet, [], 0.0)
    holder.catch_up(restarted)
    assert holder.n_resets == 2 and holder.held == truth(fleet)


def test_pages_of_a_long_history_lose_nothing_while_it_grows_and_changes(
    tmp_path: Path, keeper: BoardKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(points, "MAX_NUMBERS", 7)
    random = np.random.default_rng(1)
    n_epochs = 40
    fleet, holder = look(write_results(tmp_path / "run", n_epochs)), Holder()
    step(keeper, fleet)
    for _ in range(60):
        cursor = Cursor.decode(holder.cursor) if holder.cursor else None
        holder.take(new_points(entry_of(keeper), [LOSS], cursor, keeper.boot))
        if random.random() < 0.5:
            n_epochs += 1
            put(keeper, fleet, [entry(n_epochs)])
        if random.random() < 0.5:
            place = int(random.integers(n_epochs - 5, n_epochs))
            put(keeper, fleet, [entry(place, loss=float(random.random()))])
    holder.catch_up(keeper)
    assert holder.held == truth(fleet) and holder.n_resets == 1


def test_nonsense_as_a_cursor_is_no_cursor() -> None:
    for text in ("", "1", "x" * 500, "../../etc/passwd", "1234abcd~1~2~3~nan", "1234abcd~-1~0~0~1"):
        assert Cursor.decode(text) is None
    cursor = Cursor(boot="1234abcd", generation=3, had=4, until=9, epoch=1.5)
    assert Cursor.decode(cursor.encode()) == cursor


def test_a_page_that_was_away_gets_each_changed_row_once_and_the_gone_ones(
    tmp_path: Path, keeper: BoardKeeper
) -> None:
    for name in ("a", "b", "c"):
        write_results(tmp_path / name, 2)
    fleet = look(tmp_path)
    step(keeper, fleet)
    seen = keeper.board.sequence
    for n in (3, 4, 5):
        write_results(tmp_path / "b", n)
        step(keeper, fleet)
    (tmp_path / "c" / "results.json").unlink()
    (tmp_path / "c").rmdir()
    step(keeper, fleet)
    (event,) = events_since(keeper, keeper.board, seen)
    assert event.count(b'"name":"b"') == 1 and b'"epoch":5' in event
    assert b'"name":"a"' not in event and b'"gone":["' in event
    assert events_since(keeper, keeper.board, keeper.board.sequence)[0].count(b'"rows":[]') == 1


def test_a_stream_goes_on_only_from_a_change_of_this_server(
    tmp_path: Path, keeper: BoardKeeper
) -> None:
    step(keeper, look(write_results(tmp_path / "run", 2)))
    assert start_of(keeper, f"{keeper.boot}.1") == 1
    for cursor in (None, "", "1", f"{keeper.boot}.99", "00000000.1", f"{keeper.boot}.1x"):
        assert start_of(keeper, cursor) is None
