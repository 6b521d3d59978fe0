"""The HTTP API: depth of a photo, refinement of anybody's depth, the models, health and figures; documented by OpenAPI."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI, File, Form, Header, Query, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException

from keendepth import __version__
from keendepth.app import answers, meters, refusals
from keendepth.app.guard import Guard
from keendepth.app.jobs import Slot
from keendepth.app.reference import page
from keendepth.app.settings import Settings
from keendepth.app.uploads import CameraWish, DepthWish
from keendepth.app.workbench import Result, Workbench

log = logging.getLogger("keendepth.app")

ABOUT = """Sharp, robust, metric depth from a photo, or from anybody's depth map.

Send `multipart/form-data`. The answer's format is chosen by `format`, else by the `Accept` header, else it is a 16-bit PNG.
A full server answers 429 with `Retry-After`. No field takes a path or an address: only what is uploaded is read."""

Picture = Annotated[
    UploadFile, File(description="The photo: JPEG, PNG, WebP, TIFF, HEIC ... EXIF is used for the camera.")
]
DepthFile = Annotated[
    UploadFile, File(description="Depth of the same view, any resolution: PNG16, EXR, TIFF, npz, npy, PFM, dpt.")
]
FORMS = "One of " + ", ".join(answers.FORMATS)


@dataclass
class Wishes:
    """The fields that both routes take."""

    refiner: Annotated[str | None, Form(description="How to refine, see /v1/models; `none` for not at all.")] = None
    strength: Annotated[float | None, Form(description="0 (not at all) to 1 (fully).", ge=0, le=1)] = None
    focal: Annotated[float | None, Form(description="Focal length in pixels of the upright photo.", gt=0, le=1e6)] = (
        None
    )
    fov: Annotated[float | None, Form(description="Horizontal field of view in degrees.", gt=0, lt=180)] = None
    format: Annotated[str | None, Form(description=FORMS)] = None
    convention: Annotated[str | None, Form(description="Of a 16-bit PNG answer: mm, kitti, tum ...")] = None

    @property
    def camera(self) -> CameraWish:
        if self.focal is not None and self.fov is not None:
            raise refusals.RefusedError(422, "not_possible", "camera: expected focal or fov, found both: drop one")
        return CameraWish(self.focal, self.fov)


@dataclass
class Numbers:
    """The fields that say what the numbers of an uploaded depth file are."""

    units: Annotated[str | None, Form(description="m, mm, cm, inch, 1/m, disparity, inverse, relative ...")] = None
    depth_convention: Annotated[str | None, Form(description="Whose 16-bit PNG it is: kitti, tum, scannet ...")] = None
    sky_value: Annotated[float | None, Form(description="Values as far as this (file's own unit) are sky.")] = None
    fill_holes: Annotated[bool, Form(description="Give unknown pixels the nearest known depth first.")] = False


FormIn = Annotated[Wishes, Depends()]
NumbersIn = Annotated[Numbers, Depends()]
Asked = Annotated[str | None, Query(alias="format", description="The same as the field `format`.")]
Accepted = Annotated[str | None, Header(alias="accept", include_in_schema=False)]

_BINARY = {"schema": {"type": "string", "format": "binary"}}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Depth at the photo's size",
        "content": {form.media_type: _BINARY for form in answers.FORMATS.values() if form.name != "json"}
        | {"application/json": {"schema": {"type": "object"}}},
    },
    401: {"description": "An API key is wanted"},
    406: {"description": "None of the accepted types is offered"},
    413: {"description": "More bytes or pixels than are read"},
    415: {"description": "Not a known kind of file"},
    422: {"description": "Damaged, of another view, or not possible for this kind of depth"},
    429: {"description": "Full; `Retry-After` says when to come back"},
    503: {"description": "Took too long, or the server is stopping"},
}


def make(settings: Settings, bench: Workbench | None = None) -> FastAPI:
    """The application; `app.state.bench` is its workbench, which it closes at the end."""
    bench = bench or Workbench(settings)
    app = FastAPI(
        title="keendepth",
        version=__version__,
        description=ABOUT,
        lifespan=_lifespan,
        root_path=settings.root_path,
        docs_url=None,  # both load scripts from a CDN; `reference.page` needs no network
        redoc_url=None,
    )
    app.state.bench = bench
    app.add_middleware(Guard, settings=settings, meters=bench.meters, gate=bench.gate)
    _add_handlers(app)
    _add_work(app, bench)
    _add_facts(app, bench)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Warm up beside the first requests: `/healthz` answers at once, `/readyz` when the model is loaded."""
    bench: Workbench = app.state.bench
    threading.Thread(target=_warm_up, args=(bench,), name="keendepth-warm-up", daemon=True).start()
    yield
    await asyncio.to_thread(bench.close)


def _warm_up(bench: Workbench) -> None:
    try:
        bench.warm_up()
        log.info("ready", extra={"facts": {"models": bench.engine.models}})
    except Exception:
        log.exception("not ready", extra={"facts": {"problem": bench.problem}})


def _add_handlers(app: FastAPI) -> None:
    @app.exception_handler(refusals.RefusedError)
    async def refused(request: Request, error: refusals.RefusedError) -> JSONResponse:
        return _refusal(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        problems = [f"{'.'.join(str(part) for part in e['loc'][1:])}: {e['msg']}" for e in error.errors()[:5]]
        return _refusal(refusals.RefusedError(422, "invalid_field", "; ".join(problems)))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        return _refusal(refusals.RefusedError(error.status_code, "http", str(error.detail)), dict(error.headers or {}))


def _refusal(error: refusals.RefusedError, headers: dict[str, str] | None = None) -> JSONResponse:
    body = {"code": error.code, "message": error.message}
    return JSONResponse(body, error.status, headers={**(headers or {}), **error.headers})


def _add_work(app: FastAPI, bench: Workbench) -> None:
    @app.post("/v1/depth", tags=["depth"], responses=ANSWERS, response_class=Response)
    async def depth(
        request: Request,
        image: Picture,
        wishes: FormIn,
        asked: Asked = None,
        accept: Accepted = None,
        model: Annotated[str | None, Form(description="See /v1/models.")] = None,
        size: Annotated[int | None, Form(description="Longer side at which the model works.", ge=64, le=4096)] = None,
    ) -> Response:
        """Depth of a photo, predicted by a model and refined along the photo's edges."""
        order = bench.engine.order(model, wishes.refiner, wishes.strength, size)
        call = Call(bench, request, wishes, answers.choose(wishes.format or asked, accept))
        return await call.answer(image, None, order, DepthWish())

    @app.post("/v1/refine", tags=["depth"], responses=ANSWERS, response_class=Response)
    async def refine(
        request: Request,
        image: Picture,
        depth: DepthFile,
        wishes: FormIn,
        numbers: NumbersIn,
        asked: Asked = None,
        accept: Accepted = None,
    ) -> Response:
        """Anybody's depth, sharpened along its photo: same unit, same scale, the photo's size."""
        order = bench.engine.order(None, wishes.refiner, wishes.strength, fill_holes=numbers.fill_holes)
        call = Call(bench, request, wishes, answers.choose(wishes.format or asked, accept))
        wish = DepthWish(numbers.units, numbers.depth_convention, numbers.sky_value)
        return await call.answer(image, depth, order, wish)


@dataclass
class Call:
    """One request for depth, from its parsed form to its answer."""

    bench: Workbench
    request: Request
    wishes: Wishes
    form: answers.Format

    @property
    def slot(self) -> Slot:
        """The place that the guard has taken for this request."""
        return self.request.state.slot

    async def answer(self, image: UploadFile, depth: UploadFile | None, order: Any, wish: DepthWish) -> Response:
        """The response; every error that the sender can cause as a RefusedError."""
        try:
            async with asyncio.timeout(self.bench.settings.max_seconds):
                return await self._answer(image, depth, order, wish)
        except Exception as error:
            refusal = refusals.of(error)
            if refusal is None:
                raise
            raise refusal from error
        finally:
            self.bench.left(self.slot.pixels)

    async def _answer(self, image: UploadFile, depth: UploadFile | None, order: Any, wish: DepthWish) -> Response:
        bench, slot = self.bench, self.slot
        photo = await bench.open_picture(slot, await image.read(), self.wishes.camera)
        given = await bench.open_depth(slot, await depth.read(), photo, wish) if depth else None
        self.request.state.facts = {"size": photo.size, "refiner": order.refiner} | (
            {"given": given.size} if given else {"model": order.model}
        )
        result = await bench.work(slot, photo, given, order, self._watch)
        await self._watch("encode")
        return await bench.in_pool(slot, self._encoded, result)

    async def _watch(self, stage: str) -> None:
        """Stop where nobody waits for the answer any more."""
        if await self.request.is_disconnected():
            raise refusals.RefusedError(499, "gone", "the client has left")

    def _encoded(self, result: Result) -> Response:
        facts = {
            "X-Depth-Kind": result.depth.kind.value,
            "X-Depth-Unit": result.depth.unit,
            "Server-Timing": ", ".join(f"{name};dur={value * 1000:.1f}" for name, value in result.seconds.items()),
            "Vary": "Accept",
        }
        if self.form.name == "json":
            body = json.dumps(answers.statistics(result.depth, result.seconds), allow_nan=False).encode()
        else:
            with self.bench.desk.place() as folder:
                made = answers.file(result.depth, result.image, self.form, folder, self.wishes.convention)
                body = made.read_bytes()
        facts["Content-Disposition"] = f'attachment; filename="depth{self.form.suffix}"'
        media_type = answers.ON_THE_WIRE.get(self.form.name, self.form.media_type)
        return Response(body, media_type=media_type, headers=facts)


def _add_facts(app: FastAPI, bench: Workbench) -> None:
    @app.get("/v1/models", tags=["facts"])
    async def models() -> dict[str, Any]:
        """The models and refiners on offer, with licence, kind of depth and size."""
        return bench.engine.catalogue()

    @app.get("/v1/formats", tags=["facts"])
    async def formats() -> list[dict[str, str]]:
        """What an answer can be, with the name for `format` and the type for `Accept`."""
        return [
            {"name": form.name, "media_type": form.media_type, "about": form.about} for form in answers.FORMATS.values()
        ]

    @app.get("/healthz", tags=["operation"])
    async def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "alive", "version": __version__}

    @app.get("/readyz", tags=["operation"])
    async def readyz() -> Response:
        """200 when the model is loaded and there is room; 503 before, while full and while stopping."""
        full = bench.gate.inside >= bench.gate.most
        status = "ready" if bench.ready and not full else "full" if full else bench.problem or "loading"
        return JSONResponse({"status": status}, 200 if status == "ready" else 503)

    @app.get("/metrics", tags=["operation"], response_class=Response)
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(bench.meters.text(), media_type=meters.CONTENT_TYPE)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page(app.openapi(), bench.settings.root_path))
