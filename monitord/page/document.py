"""The OpenAPI document: made from the same types that the answers are made of."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import msgspec

from diagnostics.contract import strictjson
from monitord.page.answers import (
    Comparison,
    Densities,
    Density,
    Problem,
    RunDetail,
    RunList,
    SeriesPart,
)
from monitord.page.events import Changes

_TEXT = {"type": "string"}
_DRAWN = {
    "log": "1: logarithmic losses",
    "smooth": "moving average, 0 <= W < 1",
    "name": "a series to draw instead; may be repeated, up to 12 times",
}
_PATHS: dict[str, tuple[str, type[msgspec.Struct] | str, dict[str, str]]] = {
    "/api/runs": (
        "All runs, or those that satisfy a filter",
        RunList,
        {
            "filter": "conditions as for --filter, such as lr=0.02 state=running",
            "sort": "order as for --sort, such as best or state,-epoch",
            "fields": "id: only the opaque names of all matching runs, no rows",
            "offset": "rows to pass over",
            "limit": "most rows, at most 2000",
        },
    ),
    "/api/runs/{id}": ("All that is known of a run but its numbers", RunDetail, {}),
    "/api/runs/{id}/series": (
        "The numbers of a run that the cursor does not have yet",
        SeriesPart,
        {
            "cursor": "of the last answer for the same names; nothing at first",
            "name": "a series, such as test.scaled_loss; may be repeated; nothing for all",
        },
    ),
    "/api/runs/{id}/densities": ("Of which epochs there are density pictures", Densities, {}),
    "/api/runs/{id}/densities/{epoch}": ("The density of weight pairs", Density, {}),
    "/api/runs/{id}/data.csv": ("All numbers, an epoch a line", "text/csv", {}),
    "/api/runs/{id}/data.json": ("Configuration and numbers", "application/json", {}),
    "/api/runs/{id}/picture.png": (
        "The four panels, or the series named",
        "image/png",
        _DRAWN,
    ),
    "/api/compare": ("How runs differ", Comparison, {"id": "a run; repeated"}),
    "/api/compare/picture.png": (
        "Runs in the same panels",
        "image/png",
        {"id": "a run; repeated", **_DRAWN},
    ),
    "/api/events": (
        "Changes as server-sent events: `changes` (see Changes), `beat` every 10 s without any,"
        " and `reset` when the cursor is of no use: ask for /api/runs again",
        "text/event-stream",
        {"cursor": "of /api/runs or of the last event; the header Last-Event-ID goes before"},
    ),
    "/api/openapi.json": ("This document", "application/json", {}),
}
_TYPES = (RunList, RunDetail, SeriesPart, Densities, Density, Comparison, Changes, Problem)


@functools.cache
def openapi() -> bytes:
    """Return the document, OpenAPI 3.1 in JSON."""
    _, components = msgspec.json.schema_components(
        _TYPES, ref_template="#/components/schemas/{name}"
    )
    for schema in components.values():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
    paths = {path: _path(path, *rest) for path, rest in (*_PATHS.items(), *_drawn_as_svg())}
    return strictjson.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "monitord",
                "version": "1",
                "description": "Runs and their numbers, read-only. Strict JSON: a number that is"
                " not finite is null.",
            },
            "security": [{"bearer": []}, {"cookie": []}],
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {
                    "bearer": {"type": "http", "scheme": "bearer"},
                    "cookie": {"type": "apiKey", "in": "cookie", "name": "blobwatch_..."},
                },
            },
        }
    )


def _drawn_as_svg() -> list[tuple[str, tuple[str, str, dict[str, str]]]]:
    return [
        (path.replace(".png", ".svg"), (summary, "image/svg+xml", parameters))
        for path, (summary, _, parameters) in _PATHS.items()
        if path.endswith(".png")
    ]


def _path(
    path: str, summary: str, kind: type[msgspec.Struct] | str, query: dict[str, str]
) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _TEXT}
        for name in ("id", "epoch")
        if f"{{{name}}}" in path
    ]
    for name, text in query.items():
        repeated = "repeated" in text
        schema = {"type": "array", "items": _TEXT} if repeated else _TEXT
        parameters.append({"name": name, "in": "query", "description": text, "schema": schema})
    if isinstance(kind, str):
        content: dict[str, Any] = {kind: {}}
    else:
        reference = {"$ref": f"#/components/schemas/{kind.__name__}"}
        content = {"application/json": {"schema": reference}}
    refusal = {"$ref": "#/components/schemas/Problem"}
    return {
        "get": {
            "summary": summary,
            "parameters": parameters,
            "responses": {
                "200": {"description": summary, "content": content},
                "default": {
                    "description": "refused",
                    "content": {"application/json": {"schema": refusal}},
                },
            },
        }
    }
