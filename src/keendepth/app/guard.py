"""What every request passes before anything reads it: size and time limits, API keys, an id, one log line, and safe headers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from keendepth.app.jobs import Gate, Slot
from keendepth.app.meters import Meters
from keendepth.app.refusals import RefusedError
from keendepth.app.settings import Settings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger("keendepth.app")

OPEN = ("/healthz", "/readyz")  # what a load balancer asks without a key
API = "/v1/"
WORK = ("/v1/depth", "/v1/refine")  # what needs a place inside, taken before the upload is read
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """ASGI middleware around the whole server, the page included."""

    def __init__(self, app: Application, settings: Settings, meters: Meters, gate: Gate) -> None:
        self.app, self.settings, self.meters, self.gate = app, settings, meters, gate
        self._keys = {_digest(key) for key in settings.keys}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        visit = _Visit(scope, receive, send, self.settings)
        try:
            self._check_key(scope, visit)
            visit.check_length()
            if scope["path"] in WORK and scope["method"] == "POST":
                visit.enter(self.gate)
            await self.app(scope, visit.receive, visit.send)
            if visit.refusal:
                raise visit.refusal
        except RefusedError as error:
            await visit.refuse(error)
        finally:
            visit.leave()
            self._report(scope, visit)

    def _check_key(self, scope: Scope, visit: _Visit) -> None:
        """The API and its figures need a key where there are keys; the page has a sign-in of its own."""
        path = scope["path"]
        if not self._keys or path in OPEN or not (path.startswith(API) or path == "/metrics"):
            return
        word = visit.header("authorization")
        given = word[7:] if word.lower().startswith("bearer ") else visit.header("x-api-key")
        if not any(secrets.compare_digest(_digest(given.strip()), key) for key in self._keys):
            raise RefusedError(
                401, "no_key", "this server wants an API key: send `Authorization: Bearer KEY` or `X-API-Key: KEY`"
            )

    def _report(self, scope: Scope, visit: _Visit) -> None:
        passed = time.perf_counter() - visit.start
        route = getattr(scope.get("route"), "path", "") or _section(scope["path"])
        self.meters.requests.labels(route, str(visit.status)).inc()
        if route.startswith(API):
            self.meters.seconds.labels(route).observe(passed)
        facts = {
            "id": visit.id,
            "method": scope["method"],
            "route": route,
            "status": visit.status,
            "seconds": round(passed, 4),
            "bytes_in": visit.received,
            "bytes_out": visit.sent,
            **scope.get("state", {}).get("facts", {}),
        }
        quiet = not route.startswith(API)  # health checks, figures, and what the page fetches
        log.log(logging.DEBUG if quiet and visit.status < 400 else logging.INFO, "request", extra={"facts": facts})


class _Visit:
    """One request on its way through: what came, what went, and the limits on both."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, settings: Settings) -> None:
        self._scope, self._receive, self._send, self._settings = scope, receive, send, settings
        self._slot: Slot | None = None
        self.refusal: RefusedError | None = (
            None  # raised while the body was read, where frameworks turn every error into a 400
        )
        self._headers = {name.lower(): value for name, value in scope["headers"]}
        self._deadline = time.monotonic() + settings.max_seconds
        self.id = secrets.token_hex(8)
        self.start = time.perf_counter()
        self.received = self.sent = 0
        self.status = 499  # nothing was answered: the client went away
        self._done = False
        scope.setdefault("state", {})["id"] = self.id

    def enter(self, gate: Gate) -> None:
        """Take a place for this request; the routes find it as `request.state.slot`."""
        self._slot = self._scope["state"]["slot"] = gate.enter()

    def leave(self) -> None:
        """Give the place back: when the answer begins (a slow reader does not keep others out), at the latest at the end."""
        if self._slot:
            self._slot.release()
            self._slot = None

    def header(self, name: str) -> str:
        return str(self._headers.get(name.encode(), b"").decode("latin-1"))

    def check_length(self) -> None:
        """Refuse by the announced length, before a byte is read."""
        announced = self.header("content-length")
        if announced.isdigit() and int(announced) > self._settings.max_bytes:
            raise self._too_large()

    def _too_large(self) -> RefusedError:
        return RefusedError(
            413, "too_large", f"a request may have {self._settings.max_bytes / 1e6:g} MB; send a smaller file"
        )

    async def receive(self) -> Message:
        """The next piece of the body, in time and within the limit, whatever length was announced."""
        if self._done:  # the body is whole: what comes now is the client leaving, for which there is no hurry
            return await self._receive()
        try:
            async with asyncio.timeout(max(0.0, self._deadline - time.monotonic())):
                message = await self._receive()
        except TimeoutError as error:
            self.refusal = RefusedError(408, "too_slow", "the upload took too long")
            raise self.refusal from error
        if message["type"] == "http.request":
            self.received += len(message.get("body", b""))
            self._done = not message.get("more_body", False)
            if self.received > self._settings.max_bytes:
                self.refusal = self._too_large()
                raise self.refusal
        return message

    async def send(self, message: Message) -> None:
        if self.refusal and self.status == 499:
            return  # the framework's own answer to it
        await self._pass_on(message)

    async def _pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.leave()
            added = {"X-Request-Id": self.id, **HEADERS}
            there = {name.lower() for name, _ in message.get("headers", [])}
            extra = [(k.lower().encode(), v.encode()) for k, v in added.items() if k.lower().encode() not in there]
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        elif message["type"] == "http.response.body":
            self.sent += len(message.get("body", b""))
        await self._send(message)

    async def refuse(self, error: RefusedError) -> None:
        """Answer with the refusal, if no answer has begun; the connection closes, as the rest of the body may not have been read."""
        if self.status != 499:
            return
        body = json.dumps({"code": error.code, "message": error.message}).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
        if error.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        pairs = [(name.lower().encode(), value.encode()) for name, value in {**headers, **error.headers}.items()]
        await self._pass_on({"type": "http.response.start", "status": error.status, "headers": pairs})
        await self._pass_on({"type": "http.response.body", "body": body})


def _digest(key: str) -> bytes:
    """Compared instead of the key, so that comparing takes the same time whatever its length."""
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()


def _section(path: str) -> str:
    """A route's name for requests that no route took: labels must not grow with what strangers ask for."""
    return "unknown" if path.startswith(API) else "page"
