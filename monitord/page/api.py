"""The JSON API: runs, one run, its series and pictures, comparisons, changes. Read-only."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import quote

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from diagnostics.contract.errors import BlobwatchError
from monitord.draw.request import DrawOptions
from monitord.page import details, events
from monitord.page.answers import RunList
from monitord.page.board import BoardKeeper, Entry
from monitord.page.densities import DensityReader
from monitord.page.document import openapi
from monitord.page.downloads import PictureMaker, TooMuchError, check_size, csv_of, json_of
from monitord.page.points import Cursor, new_points
from monitord.page.replies import answer, problem
from monitord.states import State
from monitord.terminal.filters import check_names, matches, parse_filter, sort_key, sort_names

MAX_ROWS = 2_000
MAX_NAMES = 200
MAX_COMPARED = 60
MAX_TEXT = 2_000


class RefusedError(Exception):
    """A request that cannot be answered: status and sentence."""

    def __init__(self, status: int, error: str) -> None:
        """Say why."""
        super().__init__(error)
        self.status = status


class Api:
    """Answers from the keeper's board; no name from a request is ever a path."""

    def __init__(self, keeper: BoardKeeper, pulse: events.Pulse, title: str) -> None:
        """Name what is shown."""
        self._keeper, self._pulse, self._title = keeper, pulse, title
        self._densities = DensityReader()
        self.pictures = PictureMaker()

    def routes(self) -> list[Route]:
        """Return the routes; the OpenAPI document describes the same."""
        table: dict[str, Callable[[Request], Any]] = {
            "/api/runs": self.runs,
            "/api/runs/{id}": self.run,
            "/api/runs/{id}/series": self.series,
            "/api/runs/{id}/densities": self.densities,
            "/api/runs/{id}/densities/{epoch}": self.density,
            "/api/runs/{id}/data.csv": self.as_csv,
            "/api/runs/{id}/data.json": self.as_json,
            "/api/runs/{id}/picture.png": self.picture,
            "/api/runs/{id}/picture.svg": self.picture,
            "/api/compare": self.compare,
            "/api/compare/picture.png": self.picture,
            "/api/compare/picture.svg": self.picture,
            "/api/events": self.events,
            "/api/openapi.json": self.openapi,
        }
        return [Route(path, _refusing(action), methods=["GET"]) for path, action in table.items()]

    async def runs(self, request: Request) -> Response:
        """List runs, filtered and sorted by the languages of ``--filter`` and ``--sort``."""
        board = self._keeper.board
        entries = list(board.entries.values())
        found = self._selected(request, entries)
        offset, limit = _number(request, "offset", 0), _number(request, "limit", MAX_ROWS)
        part = found[offset : offset + min(limit, MAX_ROWS)]
        ids_alone = request.query_params.get("fields") == "id"
        return answer(
            RunList(
                title=self._title,
                cursor=events.cursor_of(self._keeper, board.sequence),
                now=time.time(),
                n_all=len(entries),
                n_matching=len(found),
                states=[state.value for state in State],
                runs=[] if ids_alone else [msgspec.Raw(entry.encoded) for entry in part],
                ids=[entry.row.id for entry in found] if ids_alone else [],
                alerts=[told for told, _ in board.alerts],
                trouble=board.trouble,
            )
        )

    def _selected(self, request: Request, entries: list[Entry]) -> list[Entry]:
        text, order = _text(request, "filter"), _text(request, "sort") or "state"
        try:
            conditions = parse_filter(text)
            runs = [entry.run for entry in entries]
            check_names([condition.name for condition in conditions], runs)
            check_names(sort_names(order), runs, "sort")
        except BlobwatchError as error:
            raise RefusedError(400, str(error)) from None
        found = [entry for entry in entries if matches(conditions, entry.run, entry.plain)]
        key = sort_key(order)
        return sorted(found, key=lambda entry: key(entry.run, entry.plain))

    async def run(self, request: Request) -> Response:
        """Tell all that is known of a run but its numbers."""
        return answer(details.detail_of(self._entry(request), self._keeper.board))

    async def series(self, request: Request) -> Response:
        """Return the points that the holder of a cursor does not have yet."""
        names = request.query_params.getlist("name")
        if len(names) > MAX_NAMES:
            raise RefusedError(400, f"name: {len(names)} series, more than {MAX_NAMES} at once")
        given = request.query_params.get("cursor")
        cursor = Cursor.decode(given) if given else None
        return answer(new_points(self._entry(request), names or None, cursor, self._keeper.boot))

    async def densities(self, request: Request) -> Response:
        """Tell of which epochs there are density pictures."""
        folder = self._entry(request).run.folder
        return answer(await run_in_threadpool(self._densities.listing, folder))

    async def density(self, request: Request) -> Response:
        """Return the density picture of an epoch."""
        folder = self._entry(request).run.folder
        epoch = request.path_params["epoch"]
        if not re.fullmatch(r"\d{1,15}", epoch, re.ASCII):
            raise RefusedError(404, "no such epoch")
        found = await run_in_threadpool(self._densities.picture, folder, int(epoch))
        if found is None:
            raise RefusedError(404, f"no density picture of epoch {int(epoch)}")
        return answer(found)

    async def as_csv(self, request: Request) -> Response:
        """Return a run's numbers as CSV."""
        entry = self._entry(request)
        check_size(entry)
        headers = _attachment(entry.row.name, "csv")
        return StreamingResponse(csv_of(entry), headers=headers, media_type="text/csv")

    async def as_json(self, request: Request) -> Response:
        """Return a run's configuration and numbers as JSON."""
        entry = self._entry(request)
        check_size(entry)
        data = await run_in_threadpool(json_of, entry)
        headers = _attachment(entry.row.name, "json")
        return Response(data, headers=headers, media_type="application/json")

    async def picture(self, request: Request) -> Response:
        """Draw one run, or several into the same panels."""
        kind: Literal["png", "svg"] = "svg" if request.url.path.endswith(".svg") else "png"
        several = "id" not in request.path_params
        entries = self._compared(request) if several else [self._entry(request)]
        options = DrawOptions(
            overlay=several,
            log_y=request.query_params.get("log") == "1",
            smooth=_share(request, "smooth"),
            metrics=tuple(request.query_params.getlist("name")[:12]),
        )
        runs = [entry.series for entry in entries]
        data = await run_in_threadpool(self.pictures.draw, runs, options, kind)
        name = "comparison" if several else entries[0].row.name
        media = "image/svg+xml" if kind == "svg" else "image/png"
        return Response(data, headers=_attachment(name, kind), media_type=media)

    async def compare(self, request: Request) -> Response:
        """Tell how runs differ, and which differ in their seeds alone."""
        entries = self._compared(request)
        return answer(await run_in_threadpool(details.comparison_of, entries))

    async def events(self, request: Request) -> Response:
        """Stream changes."""
        if self._pulse.n_streams >= events.MAX_STREAMS:
            raise RefusedError(503, f"{events.MAX_STREAMS} pages are open already; close some")
        cursor = request.headers.get("last-event-id") or request.query_params.get("cursor")
        start = events.start_of(self._keeper, cursor)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(
            events.stream(self._keeper, self._pulse, start),
            headers=headers,
            media_type="text/event-stream",
        )

    async def openapi(self, request: Request) -> Response:
        """Describe this API."""
        return Response(openapi(), media_type="application/json")

    def _entry(self, request: Request) -> Entry:
        found = self._keeper.board.entries.get(request.path_params["id"])
        if found is None:
            raise RefusedError(404, "no such run; it may have been removed")
        return found

    def _compared(self, request: Request) -> list[Entry]:
        ids = list(dict.fromkeys(request.query_params.getlist("id")))
        entries = self._keeper.board.entries
        found = [entries[run_id] for run_id in ids if run_id in entries]
        if not found or len(ids) > MAX_COMPARED:
            raise RefusedError(400, f"id: name 1 to {MAX_COMPARED} runs that are there")
        return found


def _refusing(action: Callable[[Request], Any]) -> Callable[[Request], Any]:
    """Have the refusals of ``action`` answered as JSON."""

    async def answered(request: Request) -> Response:
        try:
            found: Response = await action(request)
        except RefusedError as error:
            return problem(error.status, str(error))
        except TooMuchError as error:
            return problem(503, str(error))
        return found

    return answered


def _text(request: Request, name: str) -> str:
    text = request.query_params.get(name, "")
    if len(text) > MAX_TEXT:
        raise RefusedError(400, f"{name}: longer than {MAX_TEXT} characters")
    return text


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise RefusedError(400, f"{name}: {text[:40]!r} is not a whole number")
    return int(text)


def _share(request: Request, name: str) -> float:
    text = request.query_params.get(name, "0")
    if not re.fullmatch(r"0|0?\.\d{1,6}", text, re.ASCII):
        raise RefusedError(400, f"{name}: {text[:40]!r} is not a number in [0, 1), such as 0.6")
    return float(text)


def _attachment(name: str, kind: str) -> dict[str, str]:
    """Return the header that names a download, harmless whatever the run is called."""
    plain = re.sub(r"[^A-Za-z0-9._+=-]+", "_", name).strip("._")[:80] or "run"
    full = quote(re.sub(r'[\\/:*?"<>|]+', "_", name).strip(". ")[:80] or "run", safe="")
    return {
        "Content-Disposition": f"attachment; filename=\"{plain}.{kind}\"; filename*=UTF-8''"
        f"{full}.{kind}"
    }
