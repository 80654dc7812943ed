"""Answers on their way out: strict JSON, and data of files made fit for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from diagnostics.contract import strictjson
from monitord.page.answers import Problem

MAX_DETAIL_BYTES = 256_000
_encoder = msgspec.json.Encoder()


def answer(content: msgspec.Struct, status: int = 200) -> Response:
    """Return ``content`` as strict JSON; the encoder writes null for numbers that are not finite.

    Texts in it must be free of lone surrogates (`shown`, `plain_text`).
    """
    return Response(_encoder.encode(content), status, media_type="application/json")


def encode(content: object) -> bytes:
    """Return the strict JSON of a typed answer."""
    return _encoder.encode(content)


def problem(status: int, error: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a refusal."""
    data = strictjson.encode(Problem(error=error))
    return Response(data, status, dict(headers or {}), media_type="application/json")


def shown(value: Any, most_bytes: int = MAX_DETAIL_BYTES) -> Any:
    """Return data of a file as plain strict JSON, or a text that says why it is too much."""
    try:
        found = strictjson.plain(value)
        size = len(_encoder.encode(found))
    except (RecursionError, TypeError, ValueError, OverflowError):
        return "nested too deeply or oddly to be shown"
    return found if size <= most_bytes else f"too large to be shown ({size:,} bytes)"
