"""The page's server, as a real process: what it answers, and whom it refuses."""

from __future__ import annotations

import csv
import http.client
import io
import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from diagnostics.contract.density import build_density
from diagnostics.contract.density_archive import ArchiveWriter
from monitord.command import main
from monitord.page import answers
from tests.monitord_trees import entry, wait_for, write_results
from tests.page_server import PATIENCE_S, Served, served, strict

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "quote\"'run",
    "evil..",
    "new\nline\x1b[31m",
    "right\u202eleft",
    "\udcff bytes",
)


def make_run(root: Path, name: str, lr: float, n_epochs: int = 4, **fields: Any) -> Path:
    entries = [
        entry(e, loss=lr * 100 + 5 / e, diagnostics={"n_blobs": 1 + 2 * (e > 2)})
        for e in range(1, n_epochs + 1)
    ]
    fields = {"status": "completed", "epochs": n_epochs} | fields
    folder = write_results(root / name, entries, **fields)
    config = {"training": {"learning_rate": lr, "epochs": n_epochs}, "data": {"seed": 3}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page") / "experiments"
    for i, lr in enumerate((0.01, 0.02, 0.05)):
        make_run(root, f"run_{i}", lr)
    for name in HOSTILE:
        make_run(root, name, 0.5)
    writer = ArchiveWriter(root / "run_0")
    for epoch in (1, 2):
        random = np.random.default_rng(epoch)
        writer.add(epoch, build_density(random.normal(size=(8, 16)), random.normal(size=(16, 8))))
    writer.close()
    return root


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[Served]:
    with served(root) as running:
        wait_for(lambda: running.json("/api/runs")["n_all"] == 3 + len(HOSTILE), "the runs")
        yield running


def events(server: Served, cursor: str) -> tuple[http.client.HTTPConnection, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    headers = {"Authorization": f"Bearer {server.token}"}
    connection.request("GET", f"/api/events?cursor={cursor}", headers=headers)
    return connection, connection.getresponse()


def next_event(stream: Any) -> tuple[str, Any]:
    kind, data = "", None
    while True:
        line = stream.readline().decode().rstrip("\n")
        if line.startswith("event: "):
            kind = line[7:]
        elif line.startswith("data: "):
            data = strict(line[6:].encode())
        elif not line and kind:
            return kind, data


def test_it_prints_the_address_with_its_token_and_the_ssh_line(server: Served) -> None:
    assert re.fullmatch(
        rf"page: http://127\.0\.0\.1:{server.port}/\?token=\S{{40,}}", server.lines[0]
    )
    assert f"ssh -L {server.port}:127.0.0.1:{server.port} " in server.lines[1]
    assert server.lines[2] == f"then open: http://localhost:{server.port}/?token={server.token}"


def test_rows_and_filters_are_those_of_the_command(
    server: Served, root: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    for conditions in (
        "lr=0.02",
        "state=finished lr<0.03",
        "name~run_ test.scaled_loss>3",
        "blobs=3",
    ):
        assert main([str(root), "--json", "--filter", conditions]) == 0
        wanted = [strict(line) for line in capfdbinary.readouterr().out.splitlines()]
        found = server.json("/api/runs", ("filter", conditions))
        assert [row["id"] for row in found["runs"]] == [row["id"] for row in wanted]
        assert found["n_matching"] == len(wanted) > 0
        same = ("state", "epoch", "loss_last", "loss_best", "n_blobs", "separation", "reason")
        for row, other in zip(found["runs"], wanted, strict=True):
            assert {key: row[key] for key in same} == {key: other[key] for key in same}


def test_a_filter_with_a_misspelt_name_is_refused_with_the_nearest(server: Served) -> None:
    status, _, body = server.ask("/api/runs?filter=learning_rte%3D0.02")
    assert status == 400 and "did you mean learning_rate?" in strict(body)["error"]


def test_series_equal_the_file_bit_by_bit(server: Served, root: Path) -> None:
    run_id = server.id_of("run_1")
    history = json.loads((root / "run_1" / "results.json").read_text())["training_history"]
    part = server.json(f"/api/runs/{run_id}/series", ("name", "test.scaled_loss"))
    assert part["epochs"] == [e["epoch"] for e in history]
    assert part["values"] == {"test.scaled_loss": [e["test"]["scaled_loss"] for e in history]}
    again = server.json(
        f"/api/runs/{run_id}/series", ("name", "test.scaled_loss"), ("cursor", part["cursor"])
    )
    assert again["epochs"] == [] and not again["reset"]


def test_downloads_hold_every_number_of_the_file(server: Served, root: Path) -> None:
    run_id = server.id_of("run_2")
    history = json.loads((root / "run_2" / "results.json").read_text())["training_history"]
    status, headers, body = server.ask(f"/api/runs/{run_id}/data.csv")
    rows = list(csv.DictReader(io.StringIO(body.decode())))
    assert status == 200 and 'filename="run_2.csv"' in headers["content-disposition"]
    assert [float(row["test.scaled_loss"]) for row in rows] == [
        e["test"]["scaled_loss"] for e in history
    ]
    found = server.json(f"/api/runs/{run_id}/data.json")
    assert found["series"]["train.loss"] == [e["train"]["loss"] for e in history]
    assert found["config"]["training"]["learning_rate"] == 0.05


def test_a_comparison_names_differing_keys_and_groups_of_seeds(server: Served) -> None:
    ids = [server.id_of(f"run_{i}") for i in (0, 1)]
    found = server.json("/api/compare", *(("id", run_id) for run_id in ids))
    assert found["configuration"] == {"training.learning_rate": [0.01, 0.02]}
    assert found["groups"] == [[ids[0]], [ids[1]]] and found["outcome"]["state"] == ["finished"] * 2


def test_density_pictures_are_told_for_each_archived_epoch(server: Served) -> None:
    run_id = server.id_of("run_0")
    listing = server.json(f"/api/runs/{run_id}/densities")
    assert listing["epochs"] == [1, 2] and listing["trouble"] is None
    picture = server.json(f"/api/runs/{run_id}/densities/2")
    assert (
        picture["n_pairs"] == 128 and len(picture["pixels"]) == -(-(listing["size"] ** 2) // 3) * 4
    )
    status, _, _ = server.ask(f"/api/runs/{run_id}/densities/3")
    assert status == 404
    none = server.json(f"/api/runs/{server.id_of('run_1')}/densities")
    assert none["epochs"] == [] and "density_archive" in none["trouble"]


def test_the_document_describes_every_address_and_what_it_answers(server: Served) -> None:
    document = server.json("/api/openapi.json")
    run_id = server.id_of("run_0")
    known = {schema.__name__: schema for schema in msgspec.Struct.__subclasses__()}
    n_checked = 0
    for path, item in document["paths"].items():
        target = path.replace("{id}", run_id).replace("{epoch}", "1")
        if path in ("/api/events",) or ".png" in path or ".svg" in path:
            continue
        target += f"?id={run_id}" if path == "/api/compare" else ""
        status, headers, body = server.ask(target)
        (media, content), *_ = item["get"]["responses"]["200"]["content"].items()
        assert status == 200 and headers["content-type"].startswith(media), path
        if "schema" in content:
            kind = known[content["schema"]["$ref"].rpartition("/")[2]]
            if kind is answers.RunList:
                rows = msgspec.json.decode(body)["runs"]
                msgspec.convert(rows, list[answers.RunRow], strict=True)
            else:
                msgspec.json.decode(body, type=kind, strict=True)
            n_checked += 1
    assert n_checked == 6


def test_hostile_names_are_plain_texts_in_strict_json(server: Served) -> None:
    names = [row["name"] for row in server.json("/api/runs")["runs"]]
    assert HOSTILE[0] in names and HOSTILE[1] in names and "new?line?[31m" in names
    assert all(name.isprintable() for name in names)
    for name in names:
        run_id = server.id_of(name)
        server.json(f"/api/runs/{run_id}")
        _, headers, _ = server.ask(f"/api/runs/{run_id}/data.csv")
        disposition = headers["content-disposition"]
        assert re.fullmatch(
            r"attachment; filename=\"[\w.+=-]+\"; filename\*=UTF-8''[\w.%~!-]+", disposition
        ), disposition


def test_a_new_epoch_arrives_and_a_stream_goes_on_where_it_ended(
    server: Served, root: Path
) -> None:
    cursor = server.json("/api/runs")["cursor"]
    connection, stream = events(server, cursor)
    make_run(root, "run_0", 0.01, n_epochs=6)
    kind, data = next_event(stream)
    assert kind == "changes" and data["rows"][0]["epoch"] == 6
    connection.close()
    stream.close()
    make_run(root, "run_0", 0.01, n_epochs=7)
    wait_for(lambda: server.json("/api/runs")["cursor"] != data["cursor"], "epoch 7")
    connection, stream = events(server, data["cursor"])
    kind, later = next_event(stream)
    assert [(row["name"], row["epoch"]) for row in later["rows"]] == [("run_0", 7)]
    connection.close()
    stream.close()


def test_a_stream_with_a_cursor_of_another_server_is_told_to_start_over(server: Served) -> None:
    connection, stream = events(server, "00000000.5")
    assert next_event(stream) == ("reset", {})
    connection.close()
    stream.close()


def test_streams_are_bounded_and_come_free_again(server: Served) -> None:
    cursor = server.json("/api/runs")["cursor"]
    opened = [events(server, cursor) for _ in range(48)]
    assert {stream.status for _, stream in opened} == {200}
    connection, refused = events(server, cursor)
    assert refused.status == 503 and "close some" in strict(refused.read())["error"]
    connection.close()
    for each, stream in opened:
        each.close()
        stream.close()

    def free() -> bool:
        connection, stream = events(server, cursor)
        status = int(stream.status)
        connection.close()
        stream.close()
        return status == 200

    wait_for(free, "a stream to come free")


def test_sigterm_ends_it_soon_with_a_page_open(tmp_path: Path) -> None:
    make_run(tmp_path, "run", 0.01)
    with served(tmp_path) as running:
        wait_for(lambda: running.json("/api/runs")["n_all"] == 1, "the run")
        connection, stream = events(running, running.json("/api/runs")["cursor"])
        started = time.monotonic()
        running.stop(signal.SIGTERM)
        assert running.process.returncode == 0 and running.errors == []
        assert time.monotonic() - started < 20
        connection.close()
        stream.close()


@pytest.mark.slow
def test_pictures_are_drawn_as_png_and_svg_for_one_run_and_for_several(server: Served) -> None:
    ids = [server.id_of(f"run_{i}") for i in (0, 1)]
    for path in (f"/api/runs/{ids[0]}/picture", "/api/compare/picture"):
        query = f"?id={ids[0]}&id={ids[1]}&log=1&smooth=0.5"
        status, headers, body = server.ask(f"{path}.png{query}")
        assert (
            status == 200 and body.startswith(b"\x89PNG") and headers["content-type"] == "image/png"
        )
        status, headers, body = server.ask(f"{path}.svg{query}")
        assert status == 200 and b"<svg" in body[:600]
