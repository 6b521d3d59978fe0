"""The server under load on loopback: pictures per second, latencies and errors of 16 clients against the same work without a server, and its memory."""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage

PHOTO = Path(__file__).parent.parent / "examples" / "coffee.png"
START = 120  # seconds until the server has to be ready


def photo(megapixels: float) -> bytes:
    """The sample photo at a size, as JPEG."""
    with PillowImage.open(PHOTO) as picture:
        factor = (megapixels * 1e6 / (picture.width * picture.height)) ** 0.5
        size = round(picture.width * factor), round(picture.height * factor)
        stream = io.BytesIO()
        picture.convert("RGB").resize(size, PillowImage.Resampling.LANCZOS).save(stream, "JPEG", quality=90)
    return stream.getvalue()


@contextmanager
def server(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server process without the page, and its port."""
    log = folder / "server.log"
    command = [sys.executable, "-m", "keendepth", "app", "--no-ui", "--port", "0", *options]
    private = folder / "tmp"
    private.mkdir(exist_ok=True)
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stderr=stream, env={**os.environ, "TMPDIR": str(private)})
    try:
        deadline = time.monotonic() + START
        while '"ready"' not in log.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server did not start:\n{log.read_text()}")
            time.sleep(0.05)
        yield process, int(re.search(r":(\d+)/", log.read_text())[1])  # type: ignore[index]
    finally:
        process.terminate()
        process.wait()


def form(image: bytes, **fields: str) -> tuple[bytes, dict[str, str]]:
    """A multipart body and its headers."""
    mark = secrets.token_hex(8)
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items()
    ]
    parts.append(
        f'--{mark}\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'.encode() + image + b"\r\n"
    )
    body = b"".join([*parts, f"--{mark}--\r\n".encode()])
    return body, {"Content-Type": f"multipart/form-data; boundary={mark}"}


class Load:
    """Clients that ask again as soon as they are answered, and after a 429 when they were told to."""

    def __init__(self, port: int, body: bytes, headers: dict[str, str]) -> None:
        self.port, self.body, self.headers = port, body, headers
        self.seconds: list[float] = []
        self.codes: Counter[str] = Counter()
        self._end = 0.0

    def run(self, clients: int, duration: float) -> float:
        """Pictures per second over the time of this run."""
        self._end, before = time.monotonic() + duration, self.codes["200"]
        start = time.monotonic()
        threads = [threading.Thread(target=self._client) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return (self.codes["200"] - before) / (time.monotonic() - start)

    def _client(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        while time.monotonic() < self._end:
            start = time.monotonic()
            try:
                connection.request("POST", "/v1/depth", self.body, self.headers)
                answer = connection.getresponse()
                answer.read()
            except OSError as error:
                self.codes[type(error).__name__] += 1
                connection.close()
                continue
            self.codes[str(answer.status)] += 1
            if answer.status == 200:
                self.seconds.append(time.monotonic() - start)
            elif answer.status == 429:
                time.sleep(min(float(answer.headers["Retry-After"]), max(0.0, self._end - time.monotonic())))
        connection.close()


def bare(image: bytes, refiner: str, answer: str, duration: float) -> dict[str, float]:
    """Pictures per second without a server: the network alone, and everything from JPEG to the answer's bytes, by one thread and by one a core."""
    from keendepth import io as kio
    from keendepth import pipeline
    from keendepth.app import answers

    made = pipeline.load("indoor-small" if refiner == "none" else f"indoor-small+{refiner}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "image").write_bytes(image)
        shape = made.predictor.processing_size(kio.read_image(folder / "image").size)  # type: ignore[attr-defined]
        tensor = np.zeros((1, 3, *shape), np.float32)

        def whole(own: Path = folder) -> None:
            own.mkdir(exist_ok=True)
            picture = kio.read_image(folder / "image")
            depth = made(picture)
            chosen = answers.FORMATS[answer]
            if answer == "json":
                json.dumps(answers.statistics(depth))
            else:
                answers.file(depth, picture, chosen, own).read_bytes()

        whole()
        session = made.predictor._session  # type: ignore[attr-defined]
        return {
            "network": _rate(lambda: session.run(None, {"rgb": tensor}), duration / 4),
            "one thread": _rate(whole, duration),
            "all cores": sum(_side_by_side(whole, folder, duration)),
        }


def _side_by_side(work: Callable[[Path], None], folder: Path, duration: float) -> list[float]:
    """The rate of each of as many threads as there are cores, each with a folder of its own."""
    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:
        return list(pool.map(lambda k: _rate(lambda: work(folder / str(k)), duration), range(cores)))


def _rate(work: Any, duration: float) -> float:
    done, start = 0, time.monotonic()
    while time.monotonic() - start < duration:
        work()
        done += 1
    return done / (time.monotonic() - start)


def memory(pid: int) -> float:
    from keendepth.app.memory import resident

    return (resident(str(pid)) or 0) / 1e6


def load_case(options: argparse.Namespace, image: bytes) -> dict[str, Any]:
    """The server and the bare session, taking turns so that a busy machine touches both."""
    body, headers = form(image, format=options.format, refiner=options.refiner)
    served, alone = [], []
    with tempfile.TemporaryDirectory() as name, server(Path(name), *options.server) as (process, port):
        Load(port, body, headers).run(options.clients, 3)  # warm
        load = Load(port, body, headers)
        for _ in range(options.rounds):
            served.append(load.run(options.clients, options.seconds / options.rounds))
            os.kill(process.pid, signal.SIGSTOP)  # the bare session has the machine to itself
            alone.append(bare(image, options.refiner, options.format, options.seconds / options.rounds / 2))
            os.kill(process.pid, signal.SIGCONT)
        figures = _get(port, "/metrics")
    batches = {k: float(v) for k, v in re.findall(r"keendepth_batch_size_(sum|count) (\S+)", figures)}
    bare_rates = {name: float(np.median([one[name] for one in alone])) for name in ("one thread", "all cores")}
    best = max(bare_rates.values())
    p50, p95 = np.percentile(load.seconds, [50, 95]) if load.seconds else (float("nan"),) * 2
    return {
        "pictures_per_second": float(np.median(served)),
        "bare_pictures_per_second, one thread": bare_rates["one thread"],
        "bare_pictures_per_second, all cores": bare_rates["all cores"],
        "share of the faster": float(np.median(served)) / best,
        "network_alone_per_second": float(np.median([one["network"] for one in alone])),
        "p50": float(p50),
        "p95": float(p95),
        "codes": dict(load.codes),
        "mean_batch": batches["sum"] / batches["count"],
    }


def memory_case(options: argparse.Namespace, image: bytes) -> dict[str, Any]:
    """Resident memory while one client after the other asks; then kill -9 in the middle of work."""
    body, headers = form(image, format=options.format, refiner=options.refiner)
    with tempfile.TemporaryDirectory() as name, server(Path(name), *options.server) as (process, port):
        levels = []
        for _ in range(10):
            for _ in range(options.requests // 10):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
                connection.request("POST", "/v1/depth", body, headers)
                connection.getresponse().read()
                connection.close()
            levels.append(round(memory(process.pid), 1))
        threading.Thread(target=Load(port, body, headers).run, args=(4, 2), daemon=True).start()
        time.sleep(0.5)
        process.kill()
        time.sleep(3)
        left = [str(path.name) for path in (Path(name) / "tmp").iterdir() if path.name != ".ses"]
    return {"requests": options.requests, "resident_mb": levels, "left_after_kill": left}


def _get(port: int, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    return connection.getresponse().read().decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--megapixels", type=float, default=0.3)
    parser.add_argument("--refiner", default="median")
    parser.add_argument("--format", default="png")
    parser.add_argument("--server", nargs="*", default=[], help="further options of `keendepth app`")
    parser.add_argument("--quick", action="store_true", help="10 seconds and 100 requests: does it run?")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds, options.requests = 10, 1, 100
    image = photo(options.megapixels)
    load, level = load_case(options, image), memory_case(options, image)
    print(
        f"{options.clients} clients, {options.seconds:g} s, {options.megapixels:g} MP, {options.refiner}, {options.format}\n"
    )
    print("| what | figure |\n|---|---|")
    for name, figure in {**load, **level}.items():
        print(f"| {name.replace('_', ' ')} | {figure if not isinstance(figure, float) else f'{figure:.3g}'} |")
    if options.out:
        options.out.write_text(
            json.dumps({"load": load, "memory": level, "options": vars(options) | {"out": ""}}, indent=2)
        )


if __name__ == "__main__":
    main()
