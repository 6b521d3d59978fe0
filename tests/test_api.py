"""The API: every format reads back, what is asked for is what comes, hostile uploads get a 4xx, limits hold, nothing is left behind."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

pytest.importorskip("fastapi", reason="needs the extra app")
pytest.importorskip("prometheus_client", reason="needs the extra app")

from fastapi.testclient import TestClient

from keendepth import io as kio
from keendepth import pipeline
from keendepth.app import answers
from keendepth.app.api import make
from keendepth.app.engine import Engine
from keendepth.app.memory import give_back, resident
from keendepth.app.refusals import RefusedError
from keendepth.app.settings import Settings, read_keys
from keendepth.core.types import Camera, DepthKind, DepthMap, Image

RNG = np.random.default_rng(3)
PHOTO = np.kron(RNG.integers(0, 255, (6, 8, 3)), np.ones((10, 10, 1))).astype(np.uint8)  # 60 x 80


def encoded(rgb: np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    PillowImage.fromarray(rgb).save(stream, form, **options)
    return stream.getvalue()


def depth_file(suffix: str, values: np.ndarray | None = None, kind: DepthKind = DepthKind.METRIC) -> bytes:
    """A file of ours as bytes (the JSON beside it stays behind, as in an upload)."""
    if values is None:
        values = np.linspace(1, 4, 30 * 40, dtype=np.float32).reshape(30, 40)
    with tempfile.TemporaryDirectory() as folder:
        return kio.write(Path(folder) / f"a{suffix}", DepthMap(values, kind)).read_bytes()


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(make(Settings(ui=False, max_bytes=8_000_000))) as made:
        deadline = time.monotonic() + 60
        while made.get("/readyz").status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.02)
        yield made


def ask(client: TestClient, image: bytes, depth: bytes | None = None, accept: str = "*/*", **fields: Any) -> Any:
    files = {"image": ("photo.jpg", image)} | ({"depth": ("depth.png", depth)} if depth is not None else {})
    route = "/v1/refine" if depth is not None else "/v1/depth"
    return client.post(route, files=files, data=fields, headers={"Accept": accept})


def expected() -> DepthMap:
    return pipeline.load()(Image(PHOTO))


@pytest.mark.parametrize("name", [name for name in answers.FORMATS if answers.FORMATS[name].suffix in kio.READABLE])
def test_each_depth_format_reads_back_as_what_python_gives(client: TestClient, tmp_path: Path, name: str) -> None:
    form = answers.FORMATS[name]
    answer = ask(client, encoded(PHOTO), format=name)
    assert answer.status_code == 200, answer.text
    path = tmp_path / f"depth{form.suffix}"
    path.write_bytes(answer.content)
    if name in ("preview", "edges"):
        assert answer.headers["content-type"] == "image/png"
        assert kio.read_image(path).size == (60, 80)
        return
    found = kio.read(path)
    wanted = expected()
    assert found.kind is DepthKind.METRIC
    assert found.size == (60, 80)
    np.testing.assert_allclose(found.values, wanted.values, atol=0.00051 if name == "png" else 1e-6)


@pytest.mark.parametrize(("name", "start"), [("glb", b"glTF"), ("ply", b"ply\nformat binary")])
def test_clouds_and_meshes_are_whole(client: TestClient, name: str, start: bytes) -> None:
    trimesh = pytest.importorskip("trimesh")
    answer = ask(client, encoded(PHOTO), format=name)
    assert answer.content.startswith(start)
    made = trimesh.load(io.BytesIO(answer.content), file_type=name)
    extent = np.asarray(made.bounds)
    assert np.isfinite(extent).all()
    far = np.nanmax(expected().values)
    assert 0.5 * far < np.abs(extent[:, 2]).max() <= 1.01 * far


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "image/png"),
        ("application/json", "application/json"),
        ("image/x-exr;q=0.5, application/x-npz", "application/x-npz"),
        ("model/*", "model/gltf-binary"),
        ("text/html, model/ply;q=0.4, */*;q=0.1", "model/ply"),
        ("image/png;q=0, */*", "image/x-exr"),
        ("application/zip", "application/x-npz"),
    ],
)
def test_the_answer_is_negotiated(client: TestClient, accept: str, media_type: str) -> None:
    answer = ask(client, encoded(PHOTO), accept=accept)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == media_type
    assert answer.headers["vary"] == "Accept"


def test_what_cannot_be_negotiated_is_refused(client: TestClient) -> None:
    assert ask(client, encoded(PHOTO), accept="text/html").status_code == 406
    answer = ask(client, encoded(PHOTO), format="bmp")
    assert answer.status_code == 422
    assert "png, exr" in answer.json()["message"]
    by_query = client.post("/v1/depth?format=pfm", files={"image": ("a", encoded(PHOTO))})
    assert by_query.headers["content-type"] == answers.FORMATS["pfm"].media_type


def test_statistics(client: TestClient) -> None:
    found = ask(client, encoded(PHOTO), format="json", fov=65).json()
    assert (found["kind"], found["unit"], found["size"]) == ("metric", "m", {"height": 60, "width": 80})
    assert found["camera"]["source"] == "given"
    assert found["camera"]["fov_degrees"] == pytest.approx(65)
    assert found["min"] <= found["percentiles"]["5"] <= found["percentiles"]["50"] <= found["max"]
    assert found["refinement"]["name"] == "median"
    assert set(found["seconds"]) == {"predict", "refine"}
    assert found["pixels"] == {"known": 4800, "unknown": 0, "sky": 0}


def test_options_reach_the_work(client: TestClient) -> None:
    photo = encoded(PHOTO)
    plain = ask(client, photo, format="npz", refiner="none").content
    assert plain == ask(client, photo, format="npz", refiner="none").content  # the same bytes each time
    assert plain != ask(client, photo, format="npz", refiner="none", size=320).content
    assert ask(client, photo, format="json", refiner="median", strength=0.5).json()["refinement"]["strength"] == 0.5
    png = ask(client, photo, format="png", convention="tum").content
    text = PillowImage.open(io.BytesIO(png)).text["keendepth"]
    assert json.loads(text)["encoding"]["convention"] == "tum"


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"model": "../../etc/passwd"}, "model"),
        ({"model": "/srv/model.onnx"}, "model"),
        ({"model": "depth-anything/Depth-Anything-V2-Small-hf"}, "model"),
        ({"refiner": "sddr:/tmp/x.onnx"}, "refiner"),
        ({"strength": "2"}, "strength"),
        ({"size": "100000"}, "size"),
        ({"focal": "-1"}, "focal"),
        ({"focal": "500", "fov": "60"}, "both"),
        ({"fov": "nan"}, "fov"),
        ({"convention": "mine"}, "convention"),
    ],
)
def test_fields_out_of_range_are_named(client: TestClient, fields: dict[str, str], word: str) -> None:
    answer = ask(client, encoded(PHOTO), **fields)
    assert answer.status_code == 422
    assert word in answer.json()["message"]


@pytest.mark.parametrize("suffix", [".png", ".exr", ".npz", ".tiff", ".pfm", ".dpt"])
def test_refine_takes_every_depth_format_whatever_its_name(client: TestClient, tmp_path: Path, suffix: str) -> None:
    answer = ask(client, encoded(PHOTO, "JPEG"), depth_file(suffix), format="exr")
    assert answer.status_code == 200, answer.text
    path = tmp_path / "sharp.exr"
    path.write_bytes(answer.content)
    found = kio.read(path)
    assert found.size == (60, 80)
    assert found.refinement is not None
    assert found.refinement.residual_scale == pytest.approx(1, abs=0.02)


def test_refine_believes_what_the_sender_says_of_the_numbers(client: TestClient) -> None:
    centimetres = np.full((30, 40), 250, np.uint16)
    centimetres[:, 20:] = 400
    given = encoded(centimetres)
    found = ask(client, encoded(PHOTO), given, format="json", units="cm").json()
    assert (found["min"], found["max"]) == pytest.approx((2.5, 4.0), abs=0.01)
    kitti = ask(client, encoded(PHOTO), given, format="json", depth_convention="kitti").json()
    assert kitti["max"] == pytest.approx(400 / 256, abs=0.01)
    relative = ask(client, encoded(PHOTO), given, format="glb", units="relative")
    assert relative.status_code == 422
    assert "metric" in relative.json()["message"]


def test_holes_are_filled_only_when_asked_for(client: TestClient) -> None:
    holed = np.full((30, 40), 2, np.float32)
    holed[5:10, 5:10] = np.nan
    given = depth_file(".npz", holed)
    assert ask(client, encoded(PHOTO), given, format="json").json()["pixels"]["unknown"] > 0
    assert ask(client, encoded(PHOTO), given, format="json", fill_holes="true").json()["pixels"]["unknown"] == 0


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of black pixels, some hundred kilobytes small."""
    row = zlib.compressobj(9)
    line = bytes(1 + width * 3)
    body = b"".join(row.compress(line) for _ in range(min(height, 400))) + row.flush()

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def npy_header(shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def zip_bomb(head: bytes, zeros: int) -> bytes:
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
        archive.open("depth.npy", "w") as member,
    ):
        member.write(head)
        for _ in range(zeros // 1_000_000):
            member.write(bytes(1_000_000))
    return stream.getvalue()


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
HTML = b"<!doctype html><script>alert(1)</script>"


def hostile() -> dict[str, tuple[bytes, bytes | None]]:
    """Name -> (image, depth or None)."""
    photo = encoded(PHOTO, "JPEG")
    nan = np.full((30, 40), np.nan, np.float32)
    huge_header = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2_000_000_000)
    return {
        "empty": (b"", None),
        "truncated jpeg": (photo[: len(photo) // 2], None),
        "truncated png": (encoded(PHOTO)[:300], None),
        "50 megapixels": (png_bomb(8660, 5774), None),
        "decompression bomb": (png_bomb(60_000, 60_000), None),
        "svg": (SVG, None),
        "html named jpg": (HTML, None),
        "text": (b"C:\\photos\\me.jpg", None),
        "address": (b"http://169.254.169.254/latest/meta-data", None),
        "nan exr": (photo, depth_file(".exr", nan)),
        "nan npz": (photo, depth_file(".npz", nan)),
        "zip bomb that lies about its size": (photo, zip_bomb(npy_header((40_000, 40_000)), 20_000_000)),
        "zip bomb in its header": (photo, zip_bomb(huge_header, 50_000_000)),
        "large npz": (photo, zip_bomb(npy_header((6000, 6000)), 144_000_000)),
        "pickle": (photo, b"\x93NUMPY" + npy_header((4, 4), "|O")[6:] + b"cos\nsystem\n(S'true'\ntR."),
        "rotated depth": (photo, depth_file(".npz", np.ones((40, 30), np.float32))),
        "depth of another shape": (photo, depth_file(".npz", np.ones((30, 30), np.float32))),
        "depth that is a photo": (photo, encoded(PHOTO)),
        "depth that is html": (photo, HTML),
        "empty depth": (photo, b""),
    }


@pytest.mark.parametrize("name", hostile())
def test_a_hostile_upload_gets_a_clear_4xx_and_the_server_lives_on(client: TestClient, name: str) -> None:
    image, depth = hostile()[name]
    answer = ask(client, image, depth, format="json")
    assert 400 <= answer.status_code < 500, (name, answer.status_code, answer.text[:300])
    found = answer.json()
    assert set(found) == {"code", "message"}
    assert found["message"].startswith(("image", "depth")), found
    assert tempfile.gettempdir() not in found["message"]
    assert "Traceback" not in found["message"]
    assert ask(client, encoded(PHOTO), format="json").status_code == 200


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (2, 2)])
def test_tiny_pictures_are_answered(client: TestClient, size: tuple[int, int]) -> None:
    answer = ask(client, encoded(np.full((*size, 3), 90, np.uint8)), format="json")
    assert answer.status_code in (200, 422), answer.text
    if answer.status_code == 200:
        assert answer.json()["size"] == {"height": size[0], "width": size[1]}


@pytest.mark.skipif(resident() is None, reason="reads /proc")
def test_memory_is_back_at_its_level_after_hostile_uploads(client: TestClient) -> None:
    cases = hostile()
    for _ in range(2):  # libraries load, arenas grow
        for image, depth in cases.values():
            ask(client, image, depth)
    give_back()
    before = resident()
    for _ in range(3):
        for image, depth in cases.values():
            ask(client, image, depth)
    give_back()
    after = resident()
    assert before is not None
    assert after is not None
    assert after - before < 30e6, (before, after)


def test_too_many_bytes_are_refused_before_and_while_they_come(client: TestClient) -> None:
    assert ask(client, bytes(9_000_000)).status_code == 413

    def endless() -> Iterator[bytes]:  # no Content-Length
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for _ in range(100):
            yield bytes(200_000)

    answer = client.post("/v1/depth", content=endless(), headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 413
    assert "MB" in answer.json()["message"]


def test_a_full_server_says_when_to_come_back() -> None:
    with TestClient(make(Settings(ui=False, max_waiting=1))) as client:
        gate = client.app.state.bench.gate  # type: ignore[attr-defined]
        slot = gate.enter()
        answer = ask(client, encoded(PHOTO))
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert client.get("/readyz").status_code == 503
        assert client.get("/v1/models").status_code == 200  # facts need no place
        slot.release()
        assert ask(client, encoded(PHOTO), format="json").status_code == 200
        assert gate.inside == 0


def test_a_request_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Engine.refine

    def refine(self: Engine, *arguments: Any) -> DepthMap:
        time.sleep(0.8)
        return slow(self, *arguments)

    with TestClient(make(Settings(ui=False))) as client:
        assert ask(client, encoded(PHOTO), format="json").status_code == 200  # warm
    monkeypatch.setattr(Engine, "refine", refine)
    with TestClient(make(Settings(ui=False, max_seconds=0.5))) as client:
        client.app.state.bench.warm_up()  # type: ignore[attr-defined]
        answer = ask(client, encoded(PHOTO))
        assert answer.status_code == 503
        assert "retry-after" in answer.headers
        time.sleep(0.9)
        assert client.app.state.bench.gate.inside == 0  # type: ignore[attr-defined]


def test_keys_close_the_api_but_not_the_health_checks() -> None:
    key = "a-key-of-sixteen-characters"
    with TestClient(make(Settings(ui=False, keys=frozenset({key})))) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code in (200, 503)
        for route in ("/v1/models", "/metrics"):
            assert client.get(route).status_code == 401
            assert client.get(route, headers={"X-API-Key": "wrong"}).status_code == 401
            assert client.get(route, headers={"X-API-Key": key}).status_code == 200
            assert client.get(route, headers={"Authorization": f"Bearer {key}"}).status_code == 200
        refused = ask(client, encoded(PHOTO))
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert key not in refused.text


def test_keys_come_from_a_file_and_are_long(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# ours\n0123456789abcdef  # robot\n\nfedcba9876543210\n")
    assert read_keys(file, "1111222233334444") == {"0123456789abcdef", "fedcba9876543210", "1111222233334444"}
    with pytest.raises(ValueError, match="16"):
        read_keys(None, "short")
    file.write_text("# none\n")
    with pytest.raises(ValueError, match="no API key"):
        read_keys(file)
    assert "0123456789abcdef" not in repr(Settings(keys=frozenset({"0123456789abcdef"})))


@pytest.mark.parametrize(
    ("options", "word"), [(["--api-keys", "keys"], "16"), (["--default", "no-such-model"], "no-such-model")]
)
def test_the_command_refuses_what_cannot_be_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], word: str
) -> None:
    from typer.testing import CliRunner

    from keendepth.cli.commands import app

    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys").write_text("short\n")
    done = CliRunner().invoke(app, ["app", "--no-ui", "--port", "0", *options])
    assert done.exit_code == 2, done.output
    assert word in done.output


def test_models_come_with_their_licences(client: TestClient) -> None:
    found = client.get("/v1/models").json()
    small = next(model for model in found["models"] if model["name"] == "indoor-small")
    assert small["license"] == "MIT"
    assert small["commercial_use"] is True
    assert small["kind"] == "metric"
    assert found["default"] == {"model": "indoor-small", "refiner": "median"}
    assert {"median", "bilateral"} <= {refiner["name"] for refiner in found["refiners"]}
    assert {form["name"] for form in client.get("/v1/formats").json()} == set(answers.FORMATS)


def test_every_file_of_the_package_can_be_asked_for() -> None:
    assert {form.kind for form in answers.FORMATS.values() if form.kind} == set(pipeline.FILES) - {
        "confidence"
    }  # no model here knows its errors


def test_it_is_documented_without_a_cdn(client: TestClient) -> None:
    description = client.get("/openapi.json").json()
    assert {"/v1/depth", "/v1/refine", "/v1/models", "/healthz", "/readyz", "/metrics"} <= set(description["paths"])
    body = description["paths"]["/v1/refine"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    fields = description["components"]["schemas"][body["$ref"].rpartition("/")[2]]["properties"]
    assert {"image", "depth", "refiner", "units", "format"} <= set(fields)
    assert not {name for name in fields if re.search("path|url|file", name)}
    page = client.get("/docs").text
    assert "POST /v1/refine" in page
    assert not re.findall(r"(?:src|href)=.https?://", page)


def test_figures_for_prometheus(client: TestClient) -> None:
    ask(client, encoded(PHOTO), format="json")
    text = client.get("/metrics").text
    assert re.search(r'keendepth_requests_total\{route="/v1/depth",status="200"\} \d', text)
    assert "keendepth_batch_size_bucket" in text
    assert 'keendepth_pictures_total{model="indoor-small",refiner="median"}' in text
    assert "keendepth_requests_inside 0.0" in text
    for number in range(3):
        client.get(f"/v1/unheard-of-{number}")
    assert "unheard" not in client.get("/metrics").text


def test_the_log_says_what_happened_and_shows_no_content(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "keendepth.app"):
        client.post("/v1/depth", files={"image": ("my-secret-name.jpg", encoded(PHOTO))}, data={"format": "json"})
    facts = [record.facts for record in caplog.records if hasattr(record, "facts")][-1]  # type: ignore[attr-defined]
    assert facts["route"] == "/v1/depth"
    assert facts["status"] == 200
    assert facts["size"] == (60, 80)
    assert "secret" not in str([vars(record) for record in caplog.records])


def test_batches_answer_as_single_pictures_do() -> None:
    engine = Engine(Settings())
    pictures = [Image(RNG.integers(0, 255, (90, 120, 3), dtype=np.uint8)) for _ in range(5)]
    pictures.append(Image(RNG.integers(0, 255, (120, 80, 3), dtype=np.uint8)))  # another network size
    pictures.append(Image(pictures[0].rgb, Camera.from_fov(40, 120, 90)))
    together = engine.predict(pictures, engine.default)
    for image, found in zip(pictures, together, strict=True):
        alone = engine.predict([image], engine.default)[0]
        np.testing.assert_allclose(found.values, alone.values, rtol=1e-5)
        assert found.camera == alone.camera


def test_a_given_depth_needs_a_refiner_that_asks_no_model() -> None:
    engine = Engine(Settings())
    image, depth = Image(PHOTO), DepthMap(np.ones((60, 80), np.float32), DepthKind.METRIC)
    with pytest.raises(RefusedError, match="needs a model"):
        engine.refine(image, depth, engine.order(refiner="tiles"), given=True)
    plain = engine.refine(image, depth, engine.order(refiner="none"), given=True)
    assert plain.camera is not None


def test_the_mirror_test_is_small_for_a_steady_model_and_has_the_right_shape() -> None:
    engine = Engine(Settings())
    image = Image(PHOTO)
    base = engine.predict([image], engine.default)[0]
    share = engine.disagreement(image, base, engine.default)
    assert share.shape == (60, 80)
    assert np.nanmin(share) >= 0
    symmetric = Image(np.concatenate([PHOTO, PHOTO[:, ::-1]], axis=1))
    same = engine.disagreement(symmetric, engine.predict([symmetric], engine.default)[0], engine.default)
    assert np.nanmedian(same) < np.nanmedian(share) + 0.05


def start_server(folder: Path, *options: str) -> tuple[subprocess.Popen[bytes], str]:
    """A real server process with its temporary files in `folder`, and its address."""
    environment = {**os.environ, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "keendepth", "app", "--no-ui", "--port", "0", *options]
    log = folder.parent / f"{folder.name}.log"
    with log.open("w") as stream:
        process = subprocess.Popen(command, stderr=stream, env=environment, cwd=folder)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if '"ready"' in (said := log.read_text()):
            return process, (re.search(r"http://[^/\s]+", said) or [""])[0]
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"the server did not start: {log.read_text()}")


def left_in(folder: Path) -> list[Path]:
    """What lies there, but for the number that ONNX Runtime's telemetry (switched off) draws at its import."""
    return [path for path in folder.iterdir() if path.name != ".ses"]


def test_kill_9_during_work_leaves_no_file(tmp_path: Path) -> None:
    import httpx

    process, address = start_server(tmp_path)
    try:
        assert any(tmp_path.glob("keendepth-app-*"))  # its private folder
        large = encoded(np.kron(PHOTO, np.ones((30, 30, 1), np.uint8)), "JPEG")  # 1800 x 2400
        with httpx.Client(base_url=address, timeout=0.4) as client, pytest.raises(httpx.TimeoutException):
            client.post("/v1/depth", files={"image": ("a", large)}, data={"format": "glb"})
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        deadline = time.monotonic() + 10
        while left_in(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert left_in(tmp_path) == []
    finally:
        process.kill()
        process.wait()


def test_the_process_stops_when_told_to_and_clears_up(tmp_path: Path) -> None:
    process, _ = start_server(tmp_path)
    process.send_signal(signal.SIGTERM)
    process.wait(20)
    assert left_in(tmp_path) == []
