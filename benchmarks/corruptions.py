"""The 18 corruptions next to the package imagecorruptions: mean change per type and severity, time per picture, and a sheet to look at.

python benchmarks/corruptions.py PHOTO... --peer-python other-env/bin/python --sheet sheet.png > corruptions.md
The peer runs in its own interpreter, because it needs old libraries; without --peer-python only ours is measured. Run with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

SMALL, LARGE = (192, 640), (866, 1155)  # KITTI-C's size and 1 MP
SEEDS = 3
# imagecorruptions' name -> ours; dark, iso and quant are RoboDepth's own and not in it.
PEER = {
    "brightness": "brightness", "fog": "fog", "frost": "frost", "snow": "snow", "contrast": "contrast",
    "defocus_blur": "defocus", "glass_blur": "glass", "motion_blur": "motion", "zoom_blur": "zoom", "elastic_transform": "elastic",
    "gaussian_noise": "gaussian", "impulse_noise": "impulse", "shot_noise": "shot", "pixelate": "pixelate",
    "jpeg_compression": "jpeg",
}  # fmt: skip
Spoil = Callable[[np.ndarray, str, int, int], np.ndarray]  # (rgb, our name, severity, seed) -> rgb


def cropped(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The middle of a photo in the shape of `size`, resized to it."""
    with Pillow.open(path) as opened:
        photo = opened.convert("RGB")
    w, h = photo.size
    share = min(w / size[1], h / size[0])
    box_w, box_h = share * size[1], share * size[0]
    box = ((w - box_w) / 2, (h - box_h) / 2, (w + box_w) / 2, (h + box_h) / 2)
    return np.asarray(photo.resize((size[1], size[0]), Pillow.Resampling.LANCZOS, box))


def measure(spoil: Spoil, names: list[str], small: np.ndarray, large: np.ndarray) -> dict[str, dict]:
    """Per type: the mean change at severities 1..5 over photos and seeds, and the milliseconds at both sizes (severity 3)."""
    found = {}
    for name in names:
        seeds = 1 if name == "glass" else SEEDS  # the peer's glass is a slow loop
        changes = [
            float(
                np.mean(
                    [np.abs(spoil(p, name, s, k).astype(np.float32) - p).mean() for p in small for k in range(seeds)]
                )
            )
            for s in range(1, 6)
        ]
        times = [fastest(spoil, picture, name) for picture in (small[0], large)]
        found[name] = {"change": changes, "ms": times}
    return found


def fastest(spoil: Spoil, picture: np.ndarray, name: str) -> float:
    """Milliseconds, the best of up to five calls or two seconds; ours has built its caches by then, as the peer has."""
    best, begun = float("inf"), time.perf_counter()
    for _ in range(5):
        start = time.perf_counter()
        spoil(picture, name, 3, 0)
        best = min(best, time.perf_counter() - start)
        if time.perf_counter() - begun > 2:
            break
    return 1000 * best


def peer_spoil() -> Spoil:
    """imagecorruptions 1.1.2, made to run beside NumPy 2 and new scikit-image by two shims (a removed type name and a removed argument)."""
    np.float_ = np.float64  # noqa: NPY201 - what the peer misses
    import cv2
    import imagecorruptions
    from imagecorruptions import corruptions as functions

    cv2.setNumThreads(1)
    blur = functions.gaussian

    def gaussian(picture, sigma, multichannel=False, **options):
        return blur(picture, sigma, channel_axis=-1 if multichannel else None, **options)

    functions.gaussian = gaussian
    theirs = {ours: name for name, ours in PEER.items()}

    def spoil(picture: np.ndarray, name: str, severity: int, seed: int) -> np.ndarray:
        np.random.seed(seed)  # noqa: NPY002 - the peer draws from the global generator
        return imagecorruptions.corrupt(picture, corruption_name=theirs[name], severity=severity)

    return spoil


def own_spoil() -> Spoil:
    from keendepth.core.types import Image
    from keendepth.data.corruptions import corrupt

    return lambda picture, name, severity, seed: corrupt(Image(picture), name, severity, seed).rgb


def run_peer(python: str, folder: Path) -> dict[str, dict]:
    """This same file in the other interpreter; pictures and results travel through `folder`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run([python, __file__, "--as-peer", str(folder)], check=True, env=environment)
    return json.loads((folder / "peer.json").read_text())


def as_peer(folder: Path) -> None:
    warnings.filterwarnings("ignore")
    pictures = np.load(folder / "pictures.npz")
    spoil, names = peer_spoil(), list(PEER.values())
    found = measure(spoil, names, pictures["small"], pictures["large"])
    (folder / "peer.json").write_text(json.dumps(found))
    np.savez(folder / "looks.npz", **{name: spoil(pictures["small"][0], name, 3, 1) for name in names})


def table(ours: dict[str, dict], peer: dict[str, dict]) -> str:
    """Markdown: mean change at severities 1..5 (of 255) and milliseconds, ours against the peer's."""
    lines = [
        "| type | mean change, ours | the peer's | ms 640x192 | peer | ms 1 MP | peer |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, mine in ours.items():
        other = peer.get(name)
        changes = " ".join(f"{v:.1f}" for v in mine["change"])
        theirs = " ".join(f"{v:.1f}" for v in other["change"]) if other else "-"
        times = [f"{mine['ms'][k]:.1f} | {other['ms'][k]:.1f}" if other else f"{mine['ms'][k]:.1f} | -" for k in (0, 1)]
        lines.append(f"| {name} | {changes} | {theirs} | {' | '.join(times)} |")
    return "\n".join(
        lines + [total(ours, peer, "glass") for _ in peer and [0]] + [total(ours, peer) for _ in peer and [0]]
    )


def total(ours: dict[str, dict], peer: dict[str, dict], without: str = "") -> str:
    names = [name for name in ours if name in peer and name != without]
    sums = [(sum(ours[n]["ms"][k] for n in names), sum(peer[n]["ms"][k] for n in names)) for k in (0, 1)]
    cells = " | ".join(f"{a:.0f} | {b:.0f} ({b / a:.1f}x)" for a, b in sums)
    return f"| **total of the {len(names)} in both{', without ' + without if without else ''}** | | | {cells} |"


def sheet(path: Path, picture: np.ndarray, looks: dict[str, np.ndarray]) -> None:
    """Rows of types at severity 3: ours left, the peer's right."""
    spoil, (h, w) = own_spoil(), SMALL
    canvas = Pillow.new("RGB", (2 * w + 4, (h + 4) * len(looks)))
    for row, (name, look) in enumerate(looks.items()):
        for column, shown in enumerate((spoil(picture, name, 3, 1), look)):
            canvas.paste(Pillow.fromarray(shown), (column * (w + 4), row * (h + 4)))
    canvas.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="*", type=Path, help="four photos, say; the first is also timed")
    parser.add_argument("--peer-python", help="interpreter of an environment with imagecorruptions")
    parser.add_argument("--sheet", type=Path, help="write ours and the peer's side by side")
    parser.add_argument("--json", type=Path, help="write the numbers")
    parser.add_argument("--as-peer", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.as_peer:
        return as_peer(options.as_peer)
    if not options.photos:
        parser.error("name at least one photo")
    small = np.stack([cropped(path, SMALL) for path in options.photos])
    large = cropped(options.photos[0], LARGE)
    from keendepth.data.corruptions import KITTI_C

    ours, peer = measure(own_spoil(), list(KITTI_C), small, large), {}
    if options.peer_python:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            np.savez(folder / "pictures.npz", small=small, large=large)
            peer = run_peer(options.peer_python, folder)
            if options.sheet:
                sheet(options.sheet, small[0], dict(np.load(folder / "looks.npz")))
    if options.json:
        options.json.write_text(json.dumps({"ours": ours, "peer": peer}, indent=1))
    sys.stdout.write(table(ours, peer) + "\n")
    return None


if __name__ == "__main__":
    main()
