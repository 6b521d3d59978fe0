"""The process: application, page and log put together and run by uvicorn until it is told to stop."""

from __future__ import annotations

import uvicorn
from fastapi import FastAPI

from keendepth.app import api, logs
from keendepth.app.settings import Settings

GRACE = 20  # seconds for requests that are inside when the process is told to stop


def application(settings: Settings) -> FastAPI:
    """The API, with the page mounted at / where it is wanted."""
    app = api.make(settings)
    if settings.ui:
        from keendepth.app import mount  # gradio takes seconds to import: an API alone goes without

        return mount.mounted(app, settings)
    return app


def run(settings: Settings, verbose: bool = False) -> None:
    """Serve until SIGINT or SIGTERM; what is being worked on is finished first."""
    logs.configure(verbose)
    config = uvicorn.Config(
        application(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,  # the guard writes the log, without addresses
        server_header=False,
        timeout_graceful_shutdown=GRACE,
        proxy_headers=True,
        forwarded_allow_ips="127.0.0.1",
    )
    uvicorn.Server(config).run()
