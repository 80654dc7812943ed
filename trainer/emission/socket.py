"""The run's socket, with every limit that keeps a bad peer from costing more than its messages."""

from __future__ import annotations

import zmq

from diagnostics.contract import wire
from diagnostics.contract.endpoint import Endpoint


def open_router(
    context: zmq.Context[zmq.Socket[bytes]], address: str, endpoint: Endpoint | None = None
) -> zmq.Socket[bytes]:
    """Bind the ROUTER at ``address``, over TCP with the keys of ``endpoint``.

    The caller holds the run's lock. That matters: a second bind on an ipc path silently takes the
    path over.
    """
    socket = context.socket(zmq.ROUTER)
    socket.set(zmq.LINGER, 0)
    socket.set(zmq.ROUTER_MANDATORY, 1)
    socket.set(zmq.MAXMSGSIZE, wire.MAX_REQUEST_BYTES)
    socket.set(zmq.RCVHWM, 100)
    socket.set(zmq.SNDHWM, 2 * wire.MAX_CREDIT)
    socket.set(zmq.BACKLOG, 16)
    socket.set(zmq.HEARTBEAT_IVL, 2000)
    socket.set(zmq.HEARTBEAT_TIMEOUT, 10000)
    if endpoint is not None:
        socket.set(zmq.CURVE_SERVER, 1)
        socket.set(zmq.CURVE_SECRETKEY, endpoint.trainer_secret)
        socket.set(zmq.HANDSHAKE_IVL, 5000)
    socket.bind(address)
    return socket
