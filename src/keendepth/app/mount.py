"""The page mounted in the server: its look, its sign-in, and a guard that keeps Gradio to uploads and to this machine."""

from __future__ import annotations

import json
import os
import re
import secrets
import urllib.parse
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.responses import JSONResponse

from keendepth.app.guard import Application, Message, Receive, Scope, Send
from keendepth.app.settings import Settings
from keendepth.app.workbench import Workbench

STYLE = Path(__file__).parent / "style.css"
SYSTEM = ["system-ui", "sans-serif"]  # no font is fetched from anywhere
# What Gradio serves that this page does not use: fetching through a proxy, editing the app, statistics of visitors, an API of its own.
CLOSED = re.compile(
    r"^/(gradio_api/)?(proxy=|dev/|vibe|undo-vibe|monitoring|custom_component|run-history|runs|deep_link|openapi|info|call/|run/(?!predict/?$)|api/"
    r"|process_recording|profiling|component_server|token)"
)
ASKING = re.compile(r"^/gradio_api/(queue/join|run/predict)/?$")
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; worker-src 'self' blob:; "
    "img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self' data: blob:; font-src 'self' data:; frame-ancestors 'self'; object-src 'none'"
)
REMOTE = re.compile(rb"<(?:link|script|meta)[^>]*(?:https?:)?//[^>]*>(?:\s*</script>)?")
MOST_ASKED = 2_000_000  # bytes of a question to the queue: names and numbers; files are uploaded apart


def mounted(app: FastAPI, settings: Settings) -> FastAPI:
    """`app` with the page at /."""
    bench: Workbench = app.state.bench
    os.environ["GRADIO_TEMP_DIR"] = str(bench.desk.folder)  # uploads lie in the private folder and leave with it
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import gradio as gr

    from keendepth.app.actions import Actions
    from keendepth.app.page import build

    theme = gr.themes.Base(primary_hue="sky", neutral_hue="slate", font=SYSTEM, font_mono=["ui-monospace", "monospace"])
    page = build(Actions(bench))
    gr.mount_gradio_app(
        app,
        page,
        "/",
        server_name=settings.host,
        server_port=settings.port,
        footer_links=[],
        run_history=False,
        auth=(lambda name, password: _knows(settings, password)) if settings.keys else None,
        auth_message="Any name; the password is your API key." if settings.keys else None,
        root_path=settings.root_path or None,
        allowed_paths=[str(Path(__file__).parent / "samples")],
        max_file_size=settings.max_bytes,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        theme=theme,
        css=STYLE.read_text(encoding="utf-8"),
    )
    page.has_launched = (
        True  # a mounted page never launches, and until then Gradio would read any path that a request names
    )
    app.add_middleware(PageGuard, folder=bench.desk.folder)
    return app


def _knows(settings: Settings, key: str) -> bool:
    return any([secrets.compare_digest(key.encode(), own.encode()) for own in settings.keys])  # noqa: C419 (all, in equal time)


class PageGuard:
    """ASGI middleware: closes what the page does not use, refuses paths and addresses in questions, keeps the HTML free of other hosts."""

    def __init__(self, app: Application, folder: Path) -> None:
        self.app, self.folder = app, folder.resolve()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = urllib.parse.unquote(scope["path"]).removeprefix(scope.get("root_path", ""))
        if CLOSED.match(path):
            await _answer(404, "closed", "not offered here; the API is at /v1, its reference at /docs", scope, send)
            return
        if ASKING.match(path):
            question = await _whole(receive)
            if question is None or not self._harmless(question):
                await _answer(400, "not_uploaded", "only what was uploaded here is read", scope, send)
                return
            receive = _again(question, receive)
        await self.app(scope, receive, _Cleaner(send, path).send)

    def _harmless(self, question: bytes) -> bool:
        """Whether every file in it is one that was uploaded, or a sample."""
        try:
            return all(self._own(path) for path in _paths(json.loads(question)))
        except ValueError:
            return False

    def _own(self, path: Any) -> bool:
        if not isinstance(path, str):
            return False
        real = Path(path).resolve()
        return real.is_relative_to(self.folder) or real.is_relative_to((Path(__file__).parent / "samples").resolve())


def _paths(value: Any) -> list[Any]:
    """Every `path` of a file description in a JSON value; `url` is only read where it is inline data."""
    if isinstance(value, dict):
        own = [value["path"]] if value.get("path") is not None else []
        return own + [path for inner in value.values() for path in _paths(inner)]
    if isinstance(value, list):
        return [path for inner in value for path in _paths(inner)]
    return []


async def _whole(receive: Receive) -> bytes | None:
    """The body; None where it is too long."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > MOST_ASKED:
            return None
        if not message.get("more_body", False):
            return body


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body once more."""
    given = False

    async def once_more() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return once_more


async def _answer(status: int, code: str, message: str, scope: Scope, send: Send) -> None:
    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    await JSONResponse({"code": code, "message": message}, status)(scope, nothing, send)


class _Cleaner:
    """Takes tags that name other hosts out of the page's HTML, and forbids the browser to ask them."""

    def __init__(self, send: Send, path: str) -> None:
        self._send, self._path = send, path
        self._start: Message | None = None
        self._body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            kind = dict(message.get("headers", [])).get(b"content-type", b"")
            if kind.startswith(b"text/html"):
                self._start = message
                return
        elif self._start is not None:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._finish()
            return
        await self._send(message)

    async def _finish(self) -> None:
        body = REMOTE.sub(b"", self._body)
        start = self._start or {}
        kept = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
        added = [(b"content-length", str(len(body)).encode()), (b"content-security-policy", POLICY.encode())]
        await self._send({**start, "headers": [*kept, *added]})
        await self._send({"type": "http.response.body", "body": body})
