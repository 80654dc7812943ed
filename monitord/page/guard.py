"""Who may ask: every request passes here, before anything else looks at it."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Sequence
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitord.page.address import Address, known_hosts
from monitord.page.replies import problem

MAX_TARGET_BYTES = 8192
COOKIE_AGE_S = 30 * 86400
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:;"
    " connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
SAFE_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """Refuses other methods, other hosts, other origins, and data without the token.

    The page's own program (HTML, style sheet, scripts) holds nothing about any run and needs no
    token; everything below ``/api/`` does.
    """

    def __init__(self, app: ASGIApp, address: Address) -> None:
        """Guard ``app``, which is served at ``address``."""
        self._app = app
        self._cookie = address.cookie
        self._token = address.token.encode()
        self._hosts = frozenset(known_hosts(address.host))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or refuse it."""
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        answer: ASGIApp = self._app if refusal is None else refusal

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SAFE_HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await answer(scope, receive, send_safely)

    def _refusal(self, scope: Scope) -> Response | None:
        if scope["method"] not in ("GET", "HEAD"):
            return problem(405, "the page is read-only: GET and HEAD alone", {"Allow": "GET, HEAD"})
        if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_TARGET_BYTES:
            return problem(414, f"the address has more than {MAX_TARGET_BYTES} bytes")
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return problem(421, "this host name is not served here; use localhost and ssh -L")
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{hosts[0]}":
            return problem(403, "requests of other pages are refused")
        if scope["path"] == "/" and b"token=" in scope["query_string"]:
            return self._log_in(scope)
        if not scope["path"].startswith("/api/"):
            return None
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return problem(403, "requests of other pages are refused")
        if not self._knows_token(headers):
            return problem(
                401,
                "the token is missing or wrong; open the address that monitord printed",
                {"WWW-Authenticate": "Bearer"},
            )
        return None

    def _is_ours(self, host: str) -> bool:
        """Return whether a Host header names us: a number, or one of our names; any port.

        The port is free because ``ssh -L`` may forward any; rebinding needs a name.
        """
        try:
            name = urlsplit(f"//{host}").hostname
            if name is None or "@" in host:
                return False
            if name in self._hosts:
                return True
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _log_in(self, scope: Scope) -> Response:
        """Turn the token in the address into a cookie, and take it out of the address."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        answer = RedirectResponse("/", status_code=303)
        if self._is_token(given):
            answer.set_cookie(
                self._cookie, given, max_age=COOKIE_AGE_S, httponly=True, samesite="strict"
            )
        else:
            answer = RedirectResponse("/#/token", status_code=303)
        answer.headers["Cache-Control"] = "no-store"
        return answer

    def _knows_token(self, headers: Headers) -> bool:
        authorization = headers.get("authorization", "")
        kind, _, given = authorization.partition(" ")
        if kind.casefold() == "bearer" and self._is_token(given.strip()):
            return True
        return any(self._is_token(value) for value in _cookies(headers, self._cookie))

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token)


def _cookies(headers: Headers, name: str) -> Sequence[str]:
    found = []
    for line in headers.getlist("cookie"):
        for part in line.split(";"):
            key, _, value = part.strip().partition("=")
            if key == name:
                found.append(_unquoted(value))
    return found


def _unquoted(value: str) -> str:
    """Return a cookie's value as it was set: ``/`` and ``=`` come back in quotes."""
    try:
        return next(iter(SimpleCookie(f"x={value}").values())).value
    except (CookieError, StopIteration):
        return value
