from __future__ import annotations

import http.server
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitord.alerting.alerts import Alerts, holds
from monitord.alerting.delivery import Courier
from monitord.alerting.rules import (
    Delivery,
    Rule,
    RulesError,
    parse_command,
    parse_option,
    parse_webhook,
    read_rules,
)
from monitord.terminal.rows import make_row
from tests.conftest import start
from tests.journal_records import ended_epoch, journal_of, started
from tests.monitord_trees import again, entry, look, only, wait_for, write_results

ROOT = Path(__file__).parent.parent


def told_by(root: Path, memory: Path | None, *rules: str | Rule) -> tuple[Alerts, list[str]]:
    told: list[str] = []
    parsed = [parse_option(rule) if isinstance(rule, str) else rule for rule in rules]
    alerts = Alerts(lambda: parsed, memory, announce=lambda sentence, bell: told.append(sentence))
    return alerts, told


def blobs(*counts: int, born: int | None = None) -> list[dict[str, Any]]:
    return [
        entry(epoch, diagnostics={"n_blobs": count, "blob_born_epoch": born})
        for epoch, count in enumerate(counts, 1)
    ]


@pytest.mark.parametrize(
    ("condition", "entries", "status", "expected"),
    [
        ("finished", [entry(1)], "completed", True),
        ("finished", [entry(1)], "running", False),
        ("failed", [entry(1)], "failed", True),
        ("interrupted", [entry(1)], "interrupted", True),
        ("diverged", [entry(1, 5.0), entry(2, 500.0)], "running", True),
        ("nonfinite", [entry(1), {"epoch": 2, "x": {"y": "NaN"}}], "running", True),
        ("nonfinite", [entry(1), entry(2)], "running", False),
        ("blobs_born", blobs(1, 3, 3, born=2), "running", True),
        ("blobs_born", blobs(1, 1, 1), "running", False),
        ("blobs_lost", blobs(1, 3, 1), "running", True),
        ("blobs_lost", blobs(1, 3, 3), "running", False),
        ("plateau", [entry(e, 8.0) for e in range(1, 14)], "running", True),
        ("plateau", [entry(e) for e in range(1, 14)], "running", False),
        ("test.scaled_loss<9", [entry(1, 8.5)], "running", True),
        ("test.scaled_loss<9 epoch>5", [entry(1, 8.5)], "running", False),
    ],
)
def test_each_condition_holds_when_it_should(
    tmp_path: Path, condition: str, entries: list[Any], status: str, expected: bool
) -> None:
    write_results(tmp_path / "run", entries, status=status)
    run = only(look(tmp_path))
    assert holds(parse_option(condition), run, make_row(run, 0.0)) is expected


def test_an_alert_is_told_once_and_again_only_after_a_restart_of_the_run(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "run", [entry(1, 50.0)])
    fleet = look(tmp_path)
    alerts, told = told_by(tmp_path, None, "test.scaled_loss<9")
    for entries in (
        [entry(1, 50.0), entry(2, 8.0)],
        [entry(1, 50.0), entry(2, 8.0), entry(3, 7.0)],
    ):
        write_results(folder, entries)
        again(fleet)
        alerts.follow(fleet, [], 0.0)
    assert len(told) == 1
    assert "run: test.scaled_loss<9 (epoch 2" in told[0]
    write_results(folder, [entry(1, 6.0)])
    again(fleet)
    alerts.follow(fleet, [], 0.0)
    assert len(told) == 2


def test_an_alert_that_the_journal_gave_is_not_told_again_when_the_results_are_there(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    journal = journal_of(folder, started(), ended_epoch(1, 50.0))
    fleet = look(tmp_path)
    alerts, told = told_by(tmp_path, None, "test.scaled_loss<9")
    alerts.follow(fleet, [], 0.0)
    journal.append(ended_epoch(2, 8.0))
    again(fleet)
    alerts.follow(fleet, [], 0.0)
    assert len(told) == 1
    at = "2026-01-01T00:00:00Z"
    write_results(folder, [entry(1, 50.0), entry(2, 8.0)], run_id="r", started_at=at)
    again(fleet)
    alerts.follow(fleet, [], 0.0)
    assert len(told) == 1
    journal.close()


def test_a_condition_on_silence_becomes_true_without_news_and_is_told_once(
    tmp_path: Path,
) -> None:
    write_results(tmp_path / "run", [entry(1, 50.0)], status="running")
    fleet = look(tmp_path)
    news_s = only(fleet).last_news_s
    alerts, told = told_by(tmp_path, None, "silent>5")
    for silent_s in (1, 4, 6, 8):
        alerts.follow(fleet, [], news_s + silent_s)
        assert bool(told) == (silent_s > 5)
    assert len(told) == 1


def test_what_was_told_is_remembered_across_restarts_and_what_is_new_is_told(
    tmp_path: Path,
) -> None:
    root, memory = tmp_path / "root", tmp_path / "memory.json"
    folder = write_results(root / "a", [entry(1, 5.0)], status="running")
    alerts, told = told_by(root, memory, "test.scaled_loss<9", "finished")
    alerts.follow(look(root), [], 0.0)
    assert len(told) == 1
    write_results(folder, [entry(1, 5.0)], status="completed")
    later, told_later = told_by(root, memory, "test.scaled_loss<9", "finished")
    later.follow(look(root), [], 0.0)
    assert [sentence.split(" (")[0] for sentence in told_later] == ["a: finished"]


def test_at_the_very_first_start_runs_that_are_long_over_are_no_news(tmp_path: Path) -> None:
    write_results(tmp_path / "old", 3, status="completed")
    write_results(tmp_path / "live", [entry(1, 5.0), entry(2, 900.0)], status="running")
    alerts, told = told_by(tmp_path, None, "finished", "diverged")
    alerts.follow(look(tmp_path), [], 0.0)
    assert [sentence.split(" (")[0] for sentence in told] == ["live: diverged"]


def test_to_a_rule_that_is_new_runs_that_are_over_are_no_news(tmp_path: Path) -> None:
    root, memory = tmp_path / "root", tmp_path / "memory.json"
    write_results(root / "old", 3, status="completed")
    told_by(root, memory, "failed")[0].follow(look(root), [], 0.0)
    alerts, told = told_by(root, memory, "failed", "finished")
    alerts.follow(look(root), [], 0.0)
    assert told == []
    write_results(root / "next", 3, status="completed")
    later, told_later = told_by(root, memory, "failed", "finished")
    later.follow(look(root), [], 0.0)
    assert [sentence.split(" (")[0] for sentence in told_later] == ["next: finished"]


def test_a_rule_with_a_name_that_no_run_has_is_told_once(tmp_path: Path) -> None:
    write_results(tmp_path / "a", [entry(1, 5.0)], status="running")
    alerts, told = told_by(tmp_path, None, "blbs<3")
    fleet = look(tmp_path)
    alerts.follow(fleet, [], 0.0)
    again(fleet)
    alerts.follow(fleet, [], 9.0)
    assert len(told) == 1
    assert "no run has 'blbs'" in told[0] and "blobs" in told[0]


def test_a_command_that_cannot_be_run_is_refused_at_once() -> None:
    with pytest.raises(RulesError, match="no program that can be run; give its full path"):
        parse_command("/nonexistent/notify --loud")


def test_a_rule_can_be_limited_to_some_runs(tmp_path: Path) -> None:
    for name, lr in (("a", 0.1), ("b", 0.2)):
        folder = write_results(tmp_path / name, 1, status="running")
        (folder / "config.json").write_text(json.dumps({"training": {"learning_rate": lr}}))
    path = tmp_path / "rules.json"
    path.write_text('{"rules": [{"when": "epoch>0", "runs": "lr=0.2", "deliver": "log"}]}')
    alerts, told = told_by(tmp_path, None, *read_rules(path))
    alerts.follow(look(tmp_path), [], 0.0)
    assert [sentence.split(":")[0] for sentence in told] == ["b"]


def test_all_faults_of_a_rules_file_are_named_together_with_the_nearest_names(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rules.json"
    rules = [
        {"on": "divrged"}, {"on": "plateau", "epochs": 0}, {"on": "failed", "deliver": ["mail"]},
        {"on": "stalled", "wen": "x"}, {"on": "threshold"}, {"when": "test<<9"},
    ]  # fmt: skip
    path.write_text(json.dumps({"rules": rules}))
    with pytest.raises(RulesError) as caught:
        read_rules(path)
    message = str(caught.value)
    for words in ("rules[0]: on: 'divrged'", "did you mean diverged?", "epochs: 0", "'mail'",
                  "wen: unknown key; did you mean when?", "rules[4]", "rules[5]"):  # fmt: skip
        assert words in message


def test_a_command_gets_the_alert_as_json_and_no_shell_sees_it(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    script = f"import sys; open({str(out)!r}, 'w').write(sys.stdin.read())"
    courier = Courier()
    courier.send(Delivery("command", command=(sys.executable, "-c", script)), {"run": "$(x); `y`"})
    courier.wait_idle()
    courier.close()
    assert json.loads(out.read_text()) == {"run": "$(x); `y`"}


def test_a_command_that_fails_or_is_missing_does_not_stop_the_next(tmp_path: Path) -> None:
    courier = Courier()
    courier.send(Delivery("command", command=("/does/not/exist",)), {})
    courier.send(Delivery("command", command=("false",)), {})
    courier.send(Delivery("command", command=("touch", str(tmp_path / "done"))), {})
    courier.wait_idle()
    courier.close()
    assert (tmp_path / "done").exists()


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[bytes], list[int]]]:
    received: list[bytes] = []
    answers: list[int] = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(answers.pop(0) if answers else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", received, answers
        server.shutdown()
        thread.join()


def test_a_webhook_gets_the_alert_and_is_tried_again_a_bounded_number_of_times(
    webhook: tuple[str, list[bytes], list[int]],
) -> None:
    url, received, answers = webhook
    answers[:] = [500, 503]
    courier = Courier(retry_after_s=(0.01, 0.01))
    courier.send(parse_webhook(url), {"condition": "diverged"})
    courier.wait_idle()
    assert [json.loads(data) for data in received] == [{"condition": "diverged"}] * 3
    received.clear()
    answers[:] = [500] * 9
    courier.send(parse_webhook(url), {})
    courier.wait_idle()
    assert len(received) == 3
    received.clear()
    answers[:] = [404]
    courier.send(parse_webhook(url), {})
    courier.wait_idle()
    assert len(received) == 1
    courier.close()


def test_the_daemon_tells_an_alert_by_command_and_rereads_its_rules_on_sighup(
    tmp_path: Path,
) -> None:
    root, rules, out = tmp_path / "root", tmp_path / "rules.json", tmp_path / "told"
    folder = write_results(root / "run", [entry(1, 50.0)], status="running")
    script = f"import sys; open({str(out)!r}, 'a').write(sys.stdin.read())"
    deliver = [{"command": [sys.executable, "-c", script]}]
    rules.write_text(json.dumps({"rules": [{"when": "test.scaled_loss<9", "deliver": deliver}]}))
    process = start("monitord", root, "--no-plots", "--rules", rules, cwd=ROOT)
    try:
        wait_for((root / ".blobwatch" / "monitor-status.json").exists, "the daemon")
        write_results(folder, [entry(1, 50.0), entry(2, 8.0)], status="running")
        wait_for(lambda: out.exists() and "\n" in out.read_text(), "the first alert")
        found = json.loads(out.read_text())
        assert (found["condition"], found["run"], found["epoch"]) == ("threshold", "run", 2)
        rules.write_text(json.dumps({"rules": [{"when": "epoch>1", "deliver": deliver}]}))
        os.kill(process.pid, signal.SIGHUP)
        wait_for(lambda: len(out.read_text().splitlines()) == 2, "the alert by the new rule")
        rules.write_text("{broken")
        os.kill(process.pid, signal.SIGHUP)
        write_results(folder, [entry(1, 50.0), entry(2, 8.0), entry(3)], status="running")
        assert process.stdout is not None
        wait_for(lambda: "epoch=3" in (process.stdout or [""]).readline(), "the next epoch")  # type: ignore[union-attr]
    finally:
        process.terminate()
        process.communicate()
