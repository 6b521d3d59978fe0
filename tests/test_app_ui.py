"""The page in a real browser: upload, wait, slide, turn, measure, compare, download and read back; and what it must never do."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

pytest.importorskip("gradio", reason="needs the extra app")
sync_api = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")

from keendepth import io as kio  # noqa: E402
from keendepth.core.types import Camera, DepthKind, DepthMap  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian's package chromium)"),
    pytest.mark.slow,
]
# As root there is no sandbox to be had; SwiftShader draws the 3-D view without a graphics card; no network but this machine.
FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
PATIENCE = 120_000  # milliseconds, for a machine that is busy with other things
WIDTH, HEIGHT, FOCAL = 320, 240, 300.0


def scene() -> tuple[np.ndarray, DepthMap, dict[str, tuple[float, float]], float]:
    """A rendered picture (a slanted floor, a wall, a box), its exact depth, two points on the box's top edge and the metres between them."""
    camera = Camera.from_focal(FOCAL, WIDTH, HEIGHT)
    u, v = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    x, y = (u - camera.cx) / FOCAL, (v - camera.cy) / FOCAL
    with np.errstate(divide="ignore"):
        floor = np.where(y > 0, 1.5 / y, np.inf)  # 1.5 m below the camera
    z = np.minimum(floor, 6.0)  # a wall 6 m away
    box = (np.abs(x) < 0.4 / 3) & (y > -0.2 / 3) & (y < 1.5 / 3)  # 0.8 m wide, its front 3 m away
    z = np.where(box, 3.0, z)
    rgb = np.stack([np.where(box, 200, 90), np.where(z == 6.0, 150, 60), np.where(floor < 6, 40, 120)], axis=-1)
    left, right = (-0.3 / 3 * FOCAL + camera.cx, 130.5), (0.3 / 3 * FOCAL + camera.cx, 130.5)
    return rgb.astype(np.uint8), DepthMap(z.astype(np.float32), DepthKind.METRIC, camera), {"A": left, "B": right}, 0.6


class Server:
    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        private = folder / "tmp"
        private.mkdir()
        environment = {**os.environ, "TMPDIR": str(private), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "keendepth", "app", "--port", "0", "--max-megapixels", "6"]
        with self.log.open("w") as stream:
            self.process = subprocess.Popen(command, stderr=stream, env=environment, cwd=folder)
        deadline = time.monotonic() + PATIENCE / 1000
        while '"ready"' not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        self.address = re.search(r"http://localhost:\d+", self.log.read_text())[0].replace("localhost", "127.0.0.1")  # type: ignore[index]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def browser(server: Server) -> Iterator[Any]:  # after the server, so that its connections are closed before it stops
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield made
        made.close()


class Visit:
    """An open page and what it asked the network for."""

    def __init__(self, browser: Any, server: Server, **options: Any) -> None:
        self.asked: list[str] = []
        self.faults: list[str] = []
        self.context = browser.new_context(accept_downloads=True, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.goto(server.address + "/")
        self.page.wait_for_selector("#slider img")

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).first.click()

    def status(self) -> str:
        return str(self.page.locator("#status").inner_text())

    def wait_for_text(self, selector: str, text: str) -> None:
        self.page.wait_for_function(
            "([selector, text]) => document.querySelector(selector)?.innerText.includes(text)", arg=[selector, text]
        )


@pytest.fixture(scope="module")
def visit(browser: Any, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    """A desktop visit in which the rendered scene and its coarse depth file have been uploaded and refined."""
    made = Visit(browser, server, viewport={"width": 1300, "height": 900})
    folder = tmp_path_factory.mktemp("scene")
    rgb, depth, _, _ = scene()
    PillowImage.fromarray(rgb).save(folder / "scene.png")
    kio.write(folder / "scene.npz", depth.resized(HEIGHT // 2, WIDTH // 2, "nearest"))
    page = made.page
    page.set_input_files("#photo input[type=file]", folder / "scene.png")
    page.wait_for_selector("#photo img[src*=scene]")
    page.get_by_role("button", name="Your own depth file").click()
    page.set_input_files("#depth input[type=file]", folder / "scene.npz")
    page.wait_for_selector("#depth >> text=scene")
    page.locator("#camera button").first.click()
    page.locator("#focal input").fill(str(FOCAL))
    page.locator("#focal input").press("Tab")
    page.click("#run")
    made.wait_for_text("#status", f"{WIDTH} × {HEIGHT}")
    yield made
    assert made.faults == []
    made.context.close()


def test_the_result_of_an_upload_is_shown_with_its_facts(visit: Visit) -> None:
    said = visit.status()
    assert "your depth file" in said
    assert "(yours)" in said
    assert "3.00 to 6.00 m" in said


def test_a_known_distance_is_measured_within_one_percent(visit: Visit) -> None:
    _, _, points, metres = scene()
    visit.tab("Measure")
    picture = visit.page.locator("#measuring img")
    picture.wait_for()
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    # The picture is fitted into its frame, so a click goes by the part that it fills.
    scale = min(box["width"] / WIDTH, box["height"] / HEIGHT)
    left, top = (box["width"] - WIDTH * scale) / 2, (box["height"] - HEIGHT * scale) / 2
    for name, hint in (("A", "A is set"), ("B", "±")):
        x, y = points[name]
        picture.click(position={"x": left + x * scale, "y": top + y * scale})
        visit.wait_for_text("#measured", hint)
    said = visit.page.locator("#measured").inner_text()
    found = float(re.search(r"([\d.]+) m ±", said)[1])  # type: ignore[index]
    assert found == pytest.approx(metres, rel=0.01), said


def test_a_distance_can_be_typed_and_sets_the_scale(visit: Visit) -> None:
    _, _, points, metres = scene()
    visit.tab("Measure")
    page = visit.page
    for number, value in enumerate((*points["A"], *points["B"])):
        page.locator(f"#at-{number} input").fill(str(value))
    page.keyboard.press("Tab")
    page.locator("#measure").focus()
    page.keyboard.press("Enter")  # by keyboard alone
    visit.wait_for_text("#measured", f"{metres:.1f}")
    page.locator("#real input").fill("1.2")
    page.keyboard.press("Tab")
    page.click("#set-scale")
    visit.wait_for_text("#measured", "1.20")
    page.click("#clear")
    visit.wait_for_text("#measured", "Click two points")


def test_the_divider_slides(visit: Visit) -> None:
    visit.tab("Before / after")
    page = visit.page
    slider = page.locator("#slider")
    slider.scroll_into_view_if_needed()
    box = slider.locator("img").first.bounding_box()
    before = slider.screenshot()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    page.wait_for_timeout(300)
    assert slider.screenshot() != before


def test_edges_and_colours_redraw(visit: Visit) -> None:
    page = visit.page
    old = page.locator("#slider img").first.get_attribute("src")
    page.locator("#show label", has_text="Edges").click()
    page.wait_for_function("old => document.querySelector('#slider img').src !== old", arg=old)
    page.locator("#show input[value=Depth]").check()


def test_the_mesh_turns(visit: Visit) -> None:
    visit.tab("3-D")
    page = visit.page
    canvas = page.locator("#space canvas")
    canvas.wait_for()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    deadline = time.monotonic() + PATIENCE / 1000
    while _colours(canvas.screenshot()) < 20 and time.monotonic() < deadline:
        page.wait_for_timeout(500)
    before = canvas.screenshot()
    assert _colours(before) >= 20  # something is drawn
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.6, steps=6)
    page.mouse.up()
    page.wait_for_timeout(500)
    assert canvas.screenshot() != before


def test_the_mesh_comes_whatever_is_slow(browser: Any, server: Server) -> None:
    """With frames that come late, and the code of the viewer later still, the tab once stayed empty for ever."""
    slow = Visit(browser, server, viewport={"width": 1300, "height": 900})
    page = slow.page
    held = []

    def hold(route: Any) -> None:
        held.append(route.request.url)
        page.wait_for_timeout(2000)
        route.continue_()

    page.route("**/Canvas3D-*.js", hold)
    page.evaluate(
        "() => { const soon = requestAnimationFrame; window.requestAnimationFrame = draw => setTimeout(() => soon(draw), 1000); }"
    )
    slow.tab("3-D")
    page.locator("#space canvas").wait_for()
    assert held  # else Gradio calls the viewer's code by another name now, and nothing here was slow
    assert slow.faults == []
    slow.context.close()


def _colours(png: bytes) -> int:
    """How many colours a screenshot has, coarsely."""
    pixels = np.asarray(PillowImage.open(io.BytesIO(png)).convert("RGB")) // 16
    return len(np.unique(pixels.reshape(-1, 3), axis=0))


def test_each_format_is_downloaded_and_reads_back(visit: Visit, tmp_path: Path) -> None:
    visit.tab("Download")
    page = visit.page
    for name in ("npz", "tiff", "pfm", "dpt", "glb", "ply", "preview", "edges"):
        page.locator(f"#formats input[name={name}]").check()
    page.click("#make")
    page.wait_for_selector("#files a")
    files = {}
    for link in page.locator("#files a[download]").all():
        path = tmp_path / link.get_attribute("download")
        if (
            path.suffix == ".json"
        ):  # Chromium stops a page at the eleventh download in quick succession: these by their address
            path.write_bytes(page.context.request.get(link.get_attribute("href")).body())
        else:
            with page.expect_download() as coming:
                link.click()
            assert coming.value.suggested_filename == path.name
            coming.value.save_as(path)
        files[path.name] = path
    suffixes = (".depth.png", ".depth.exr", ".depth.npz", ".depth.tiff", ".depth.pfm", ".depth.dpt")
    for suffix in suffixes:
        found = kio.read(files[f"photo{suffix}"])
        assert found.kind is DepthKind.METRIC
        assert found.size == (HEIGHT, WIDTH)
    for suffix in (".glb", ".ply", ".preview.png", ".edges.png"):
        assert files[f"photo{suffix}"].stat().st_size > 1000
    assert json.loads(files["photo.depth.exr.json"].read_text())["kind"] == "metric"


def test_two_refiners_side_by_side(visit: Visit) -> None:
    visit.tab("Two models")
    visit.page.click("#compare")
    visit.wait_for_text("#compared", "differ by")
    visit.page.wait_for_selector("#slider-2 img")


def test_the_mirror_test_says_that_a_file_has_no_model(visit: Visit) -> None:
    visit.tab("Confidence")
    visit.page.click("#ask")
    visit.page.wait_for_selector("text=this depth came from a file")


def test_a_bad_file_gets_a_sentence_and_the_last_result_stays(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    (tmp_path / "page.jpg").write_text("<!doctype html><p>not a photo")
    old = page.locator("#slider img").first.get_attribute("src")
    page.set_input_files("#photo input[type=file]", tmp_path / "page.jpg")
    page.wait_for_timeout(500)
    page.click("#run")
    page.wait_for_selector("text=/expected a photo|not a valid image|cannot identify/i")
    assert page.locator("#slider img").first.get_attribute("src") == old


def test_a_sample_fills_in_the_choices_and_is_refined(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("button", name="Room + its lidar").click()
    page.wait_for_selector("#depth >> text=lidar")
    page.wait_for_function("document.querySelector('#focal input').value.startsWith('424')")
    page.click("#run")
    visit.wait_for_text("#status", "640 × 480")
    assert "your depth file" in visit.status()


def test_a_run_tells_its_stage_and_can_be_cancelled(browser: Any, server: Server, tmp_path: Path) -> None:
    visit = Visit(browser, server)
    page = visit.page
    rng = np.random.default_rng(0)
    PillowImage.fromarray(rng.integers(0, 255, (2000, 2400, 3), dtype=np.uint8)).save(tmp_path / "noise.jpg")
    page.set_input_files("#photo input[type=file]", tmp_path / "noise.jpg")
    page.wait_for_selector("#photo img[src*=noise]")
    page.click("#run")
    page.wait_for_function("/Looking|Sharpening/.test(document.querySelector('#status').innerText)")
    page.click("#cancel")
    visit.wait_for_text("#status", "Cancelled")
    page.wait_for_timeout(1000)
    assert "Cancelled" in visit.status()  # and nothing comes after it
    assert visit.faults == []
    visit.context.close()


def test_a_clip_becomes_a_film_that_reads_back(visit: Visit, tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="needs PyAV: pip install keendepth[video]")
    from made_clip import film, shots

    page = visit.page
    visit.tab("Video")
    clip = film(tmp_path / "walk.mp4", [shot.image.rgb for shot in shots(8)])
    page.set_input_files("#clip input[type=file]", clip)
    page.wait_for_selector("#clip >> text=walk")
    page.click("#run-clip")
    page.wait_for_selector("#film video")
    visit.wait_for_text("#clip-status", "8 frames")
    page.wait_for_function("document.querySelector('#film video').readyState >= 2")  # the browser can play it
    for link, suffix in zip(page.locator("#clip-files a[download]").all(), (".mp4", ".zip"), strict=True):
        with page.expect_download() as coming:
            link.click()
        assert coming.value.suggested_filename.endswith(suffix)
        coming.value.save_as(tmp_path / f"made{suffix}")
    with av.open(str(tmp_path / "made.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 8
    with zipfile.ZipFile(tmp_path / "made.zip") as archive:
        archive.extract("walk.png16/000007.png", tmp_path)
    found = kio.read(tmp_path / "walk.png16" / "000007.png")
    assert found.kind is DepthKind.METRIC
    assert found.size == (96, 128)
    (tmp_path / "text.mp4").write_text("<!doctype html><p>not a clip")
    page.locator("#clip button[aria-label='Clear']").or_(page.locator("#clip button[aria-label^=Remove]")).first.click()
    page.set_input_files("#clip input[type=file]", tmp_path / "text.mp4")
    page.wait_for_selector("#clip >> text=text")
    page.click("#run-clip")
    visit.wait_for_text("#clip-status", "expected a video")
    assert page.locator("#film video").is_visible()  # the last film stays


def test_nothing_is_asked_of_other_hosts(visit: Visit, server: Server) -> None:
    local = (server.address, "data:", "blob:")
    assert [url for url in visit.asked if not url.startswith(local)] == []


def test_a_phone_in_the_dark_shows_the_sample_and_scrolls_one_way(browser: Any, server: Server) -> None:
    phone = Visit(
        browser, server, viewport={"width": 390, "height": 844}, color_scheme="dark", is_mobile=True, has_touch=True
    )
    page = phone.page
    wide, seen = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= seen <= 390  # a page that is wider makes the phone's window wider, too
    page.get_by_role("button", name="More tabs").click()
    page.locator("#tabs .overflow-dropdown button", has_text="Video").click()
    page.wait_for_selector("#run-clip")
    assert "indoor-small" in phone.status()
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(int(part) for part in re.findall(r"\d+", ground)[:3]) < 80  # dark
    small = page.evaluate(
        "[...document.querySelectorAll('#go button, #go-clip button, #tabs button[role=tab]')].filter(b => b.offsetParent && b.offsetHeight < 32).length"
    )
    assert small == 0
    phone.context.close()


def ask(server: Server, path: str, question: Any = None) -> tuple[int, str]:
    import httpx

    url = server.address + path
    answer = httpx.get(url, timeout=60) if question is None else httpx.post(url, json=question, timeout=60)
    return answer.status_code, answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "http://127.0.0.1:1/x.png",
        "https://example.org/a.png",
        "../../etc/passwd",
        7,
        "/proc/self/environ",
    ],
)
def test_the_page_reads_no_path_and_no_address_from_a_request(server: Server, path: Any) -> None:
    config = json.loads(ask(server, "/config")[1])
    number = next(entry["id"] for entry in config["dependencies"] if entry["targets"][0][1] == "change")
    file = {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": "a.png"}
    question = {"data": [file, None], "fn_index": number, "session_hash": "x"}
    for route in ("/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/run/predict/"):
        status, said = ask(server, route, question)
        assert status == 400
        assert "uploaded" in said


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/proxy=https://example.org/",
        "/gradio_api/info",
        "/gradio_api/run/lambda",
        "/monitoring/summary",
        "/gradio_api/vibe-code/",
        "/gradio_api/dev/reload",
        "/gradio_api/runs",
        "/gradio_api/token",
    ],
)
def test_what_the_page_does_not_use_is_closed(server: Server, path: str) -> None:
    assert ask(server, path)[0] == 404


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/environ", "../../../../etc/passwd"])
def test_gradio_serves_no_file_of_this_machine(server: Server, path: str) -> None:
    status, said = ask(server, f"/gradio_api/file={path}")
    assert status in (403, 404)
    assert "root:" not in said
