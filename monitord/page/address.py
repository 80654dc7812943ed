"""Where the page is served, the token that opens it, and what the user is told of both."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import hashlib
import ipaddress
import os
import re
import secrets
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diagnostics.contract.atomic import write_atomic
from diagnostics.contract.errors import BlobwatchError

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8765
MIN_TOKEN = 16
MAX_TOKEN_FILE_BYTES = 4096
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the page listens.

    Attributes:
        host: As given, a name or number.
        port: The port that is really bound.
        token: Opens the page; letters, digits and ``._~+/=-``.
        title: What is watched, for the page's title.
        cookie: Name of the cookie, different for each monitor: ports don't tell cookies apart.
    """

    host: str
    port: int
    token: str
    title: str
    cookie: str

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    def url(self) -> str:
        """Return the address to open, with the token."""
        return f"http://{self._shown_host()}:{self.port}/?token={self.token}"

    def lines(self) -> list[str]:
        """Return what the user shall read: the address, how to get there, and a warning."""
        far = "127.0.0.1" if self.host == "localhost" else self._shown_host()
        machine = socket.gethostname()  # not its full name: asking for that may take seconds
        local = f"http://localhost:{self.port}/?token={self.token}"
        lines = [
            f"page: {self.url()}",
            f"from elsewhere: ssh -L {self.port}:{far}:{self.port} {_user()}{machine}",
            f"then open: {local}",
        ]
        if not self.is_local:
            lines.append(
                f"warning: --host {self.host}: everybody who can reach this machine can reach the"
                " page, and its token travels unencrypted; loopback and ssh -L are safer"
            )
        return lines

    def _shown_host(self) -> str:
        if _is_wildcard(self.host):
            return socket.gethostname()
        return f"[{self.host}]" if ":" in self.host else self.host


def _user() -> str:
    try:
        return f"{getpass.getuser()}@"
    except (KeyError, OSError):  # a number without a name, as in containers
        return ""


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def listen(options: argparse.Namespace, own_token: Path) -> tuple[socket.socket, Address]:
    """Bind the port and find the token.

    Args:
        options: Of the command: ``host``, ``port``, ``token``, ``token_file``, ``paths``.
        own_token: Where the monitor keeps a token of its own, so that pages survive its restart.

    Raises:
        BlobwatchError: The port is taken, the host is not ours, or the token is missing or weak.
    """
    host = options.host or DEFAULT_HOST
    port = DEFAULT_PORT if options.port is None else options.port
    token = _given_token(options)
    if token is None:
        if not is_loopback(host):
            raise BlobwatchError(
                f"--host {host}: other machines could reach the page: give --token-file FILE (or"
                " --token TEXT), or leave --host out and use ssh -L"
            )
        token = _kept_token(own_token)
    bound = _bind(host, port)
    port = bound.getsockname()[1]
    identity = f"{socket.gethostname()} {port} {' '.join(map(os.path.abspath, options.paths))}"
    digest = hashlib.sha256(os.fsencode(identity)).hexdigest()[:12]
    title = " ".join(options.paths)
    return bound, Address(
        host=host, port=port, token=token, title=title, cookie=f"blobwatch_{digest}"
    )


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise BlobwatchError(f"--host {host}: {error.strerror}; give a host of ours") from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(place)
        bound.listen(128)
    except OSError as error:
        bound.close()
        remedy = "give another --port, or 0 for any free one"
        raise BlobwatchError(
            f"--port {port}: cannot listen on {host}:{port}: {error.strerror}; {remedy}"
        ) from None
    return bound


def _given_token(options: argparse.Namespace) -> str | None:
    if options.token_file is not None:
        path: Path = options.token_file
        try:
            with path.open("rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise BlobwatchError(f"--token-file {path}: is not a regular file")
                found = file.read(MAX_TOKEN_FILE_BYTES)
        except OSError as error:
            raise BlobwatchError(
                f"--token-file {path}: cannot be read: {error.strerror}; write a token of at"
                f" least {MIN_TOKEN} characters into it"
            ) from None
        return _checked(found.decode("utf-8", "replace").strip(), f"--token-file {path}")
    return None if options.token is None else _checked(options.token, "--token")


def _checked(token: str, where: str) -> str:
    if len(token) < MIN_TOKEN or _TOKEN.fullmatch(token) is None:
        raise BlobwatchError(
            f"{where}: a token has at least {MIN_TOKEN} letters, digits or ._~+/=-, and no blanks;"
            f" such as {secrets.token_urlsafe(24)}"
        )
    return token


def _kept_token(path: Path) -> str:
    """Return the token of the last start, or a new one, kept where only its owner can read it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        descriptor = -1
    if descriptor >= 0:
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            private = stat.S_ISREG(status.st_mode) and not status.st_mode & 0o077
            if private and status.st_uid == os.geteuid():
                with contextlib.suppress(BlobwatchError):
                    return _checked(file.read(MAX_TOKEN_FILE_BYTES).decode("latin-1"), str(path))
    token = secrets.token_urlsafe(32)
    with contextlib.suppress(OSError):
        write_atomic(path, token.encode(), sync=False, mode=0o600)
    return token


def known_hosts(host: str) -> Sequence[str]:
    """Return the names under which a browser may reach a page on ``host``.

    Numbers need no entry: a name that an attacker rebinds is never a number.
    """
    names = ["localhost", host.casefold()]
    if not is_loopback(host):
        names.append(socket.gethostname().casefold())
    return names
