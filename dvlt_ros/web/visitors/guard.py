"""Who may talk to the page's server: browsers that show this page, from this host, with requests of a sane size."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
EVERYWHERE = ("0.0.0.0", "::", "")


class TooLargeError(Exception):
    """A body that goes on after its limit."""


class Guard:
    """ASGI middleware. A name that an attacker's DNS leads here, and a page of another origin, get nothing."""

    def __init__(self, app: App, host: str, max_body_bytes: int, names: Iterable[str] = ()) -> None:
        """``host`` is what the server listens on, ``names`` are others that it is called by."""
        self._app, self._max_body_bytes = app, max_body_bytes
        self._names = {"localhost", host.lower(), *(name.lower() for name in names)} - {*EVERYWHERE}
        self._takes_addresses = host in EVERYWHERE
        if self._takes_addresses:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if (problem := self._problem(headers)) is not None:
            await _refuse(scope, send, *problem)
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        await self._limited(scope, receive, send, headers)

    def _problem(self, headers: MutableMapping[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if not self.is_own(host):
            return 421, "this server has another name"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return 403, "a page of another origin"
        if not headers.get("content-length", "0").isdigit():
            return 400, "no length"
        if int(headers.get("content-length", "0")) > self._max_body_bytes:
            return 413, f"at most {self._max_body_bytes} bytes are taken"
        return None

    def is_own(self, host: str) -> bool:
        """Whether a Host header names this server; where it listens everywhere, by any address."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._takes_addresses or address.is_loopback

    async def _limited(self, scope: Scope, receive: Receive, send: Send, headers: MutableMapping[str, str]) -> None:
        """The length is a claim, and need not be told at all: what comes is counted."""
        taken, has_begun = 0, False

        async def counted() -> MutableMapping[str, Any]:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._max_body_bytes:
                raise TooLargeError
            return message

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, counted, watched)
        except TooLargeError:
            if not has_begun:
                await _refuse(scope, send, 413, f"at most {self._max_body_bytes} bytes are taken")


async def _refuse(scope: Scope, send: Send, status: int, reason: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": reason})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": reason.encode()})
