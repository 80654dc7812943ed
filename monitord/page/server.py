"""The server of the page: a thread with its own event loop beside the monitor's."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import threading
from collections.abc import Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response

from monitord.fleet import Fleet
from monitord.page.address import Address
from monitord.page.api import Api
from monitord.page.board import BoardKeeper
from monitord.page.events import Pulse
from monitord.page.files import file_routes
from monitord.page.guard import Guard
from monitord.page.replies import problem
from monitord.reading.runs import Run

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 256
MAX_HEADER_BYTES = 16_384
END_S = 2.0


class PageServer:
    """Serves the page from the keeper's board until closed; a follower of the daemon."""

    def __init__(self, keeper: BoardKeeper, bound: socket.socket, address: Address) -> None:
        """Take a bound socket; `start` begins to answer."""
        self._keeper, self._bound = keeper, bound
        self._pulse = Pulse()
        keeper.listen(self._pulse.beat)
        self._api = Api(keeper, self._pulse, address.title)
        config = uvicorn.Config(
            make_app(self._api, address),
            loop="asyncio", http="h11", ws="none", lifespan="off", log_config=None,
            access_log=False, server_header=False, proxy_headers=False, backlog=128,
            limit_concurrency=MAX_CONNECTIONS, timeout_keep_alive=30,
            timeout_graceful_shutdown=1, h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="page", daemon=True)
        self.due_at = math.inf

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def follow(self, fleet: Fleet, changed: Sequence[Run], now_s: float) -> None:
        """Nothing to do: the keeper follows."""

    def close(self) -> None:
        """End all streams and the thread, within two seconds."""
        self._server.should_exit = True
        self._pulse.close()
        self._api.pictures.close()
        if self._thread.is_alive():
            self._thread.join(END_S)
        self._bound.close()

    def _serve(self) -> None:
        try:
            asyncio.run(self._run())
        except Exception:
            logger.exception("the page is no longer served; the monitor goes on")

    async def _run(self) -> None:
        self._pulse.attach(asyncio.get_running_loop())
        await self._server.serve(sockets=[self._bound])


def make_app(api: Api, address: Address) -> Starlette:
    """Return the application: files of the page, the API, and the guard before both."""

    async def refuse(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        if status == 500:
            logger.error("%s: %s", request.url.path[:200], error, exc_info=error)
            return problem(500, "the monitor failed to answer; its log says why")
        return problem(status, "there is nothing here" if status == 404 else "refused")

    return Starlette(
        routes=[*file_routes(), *api.routes()],
        middleware=[
            Middleware(Guard, address=address),
            Middleware(GZipMiddleware, minimum_size=2000, compresslevel=3),
        ],
        exception_handlers={HTTPException: refuse, Exception: refuse},
    )
