"""The page's own program: HTML, style sheet, scripts, and the chart library's script.

All of it is read once at the start, so no request ever names a file.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_OWN = Path(__file__).parent / "static"
_MEDIA = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_CHARTS = ("uPlot.iife.js", "uPlot.min.css")


def file_routes() -> list[Route]:
    """Return one route for each file of the page."""
    routes = []
    for path in sorted(_OWN.iterdir()):
        if path.suffix in _MEDIA:
            address = "/" if path.name == "index.html" else f"/static/{path.name}"
            routes.append(Route(address, _serve(path), methods=["GET"]))
    folder = chart_folder()
    for name in _CHARTS:
        routes.append(Route(f"/charts/{name}", _serve(folder / name), methods=["GET"]))
    return routes


def chart_folder() -> Path:
    """Return where the package of the chart library keeps its JavaScript; it is not imported."""
    found = importlib.util.find_spec("uplot")
    assert found is not None and found.origin is not None
    return Path(found.origin).parent / "static"


def _serve(path: Path) -> Callable[[Request], Any]:
    data = path.read_bytes()
    tag = f'"{hashlib.sha256(data).hexdigest()[:20]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}

    async def answered(request: Request) -> Response:
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(data, headers=headers, media_type=_MEDIA[path.suffix])

    return answered
