"""Make the default model: FastDepth's published numbers into our network, out as weights/indoor-small.onnx with its card.

    python runs/indoor_small.py [--shared ../shared]

Needs the `train` extra. Reads SHARED/models/fastdepth/fastdepth_7.onnx (MIT) and, to measure, the four NYUv2 pictures in
SHARED/data. It 1. fills `keendepth.nn.fastdepth` with the source's initialisers, in graph order and strictly; 2. checks that the
source and ours agree, on noise and on the pictures, at two sizes; 3. exports, which checks again; 4. scores sizes and resize
rules; 5. writes the card. The same source gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from PIL import Image as PILImage

from keendepth.core import align, geometry
from keendepth.core.types import Camera, DepthMap, Image
from keendepth.export import TOLERANCE, export_onnx
from keendepth.nn import checkpoint
from keendepth.nn.fastdepth import STRIDE, FastDepth
from keendepth.predictors import WEIGHTS
from keendepth.predictors.onnx import OnnxPredictor

SOURCE = "models/fastdepth/fastdepth_7.onnx"
NATIVE = (224, 224)
# The Kinect colour camera of NYUv2 (toolbox camera_params.m): fx, fy, cx, cy at 640 x 480, pixel centres at whole numbers.
NYU = (518.85790117450188, 519.46961112127485, 325.58244941119034, 253.73616633400465)
CARD = {
    "name": "indoor-small",
    "role": "predictor",
    "summary": "Small, fast metric depth for rooms: FastDepth's pruned network, 1.36 M parameters",
    "license": "MIT",
    "paper": "FastDepth: Fast Monocular Depth Estimation on Embedded Systems, Wofk et al., ICRA 2019",
    "kind": "metric",
    "trained_on": "NYU Depth v2 (indoor rooms, Kinect v1, 0.7-10 m, one camera of 63 degrees, landscape 4:3); the encoder began from ImageNet",
    "fails_on": (
        "anything but rooms: streets, landscapes, sky (there is none indoors, so it gets a wall), close-ups, faces, animals, aerial "
        "and drawn pictures; beyond 10 m; mirrors and glass; thin things and sharp edges (it sees 224 x 224 pixels, and gives one "
        "value per 2 x 2 of them); metres are off by the ratio of the focal lengths where the picture brings no camera, and still by "
        "20-40 % for a lens twice or three times as long as NYUv2's; sizes far above the native one lose the scale"
    ),
    "parameters": 0,
    "native_size": list(NATIVE),
    "sha256": "",
    "input": {
        "stride": STRIDE,
        "rule": "keep",
        "pixel_aspect": round(640 / 480, 6),  # the network was trained on 4:3 pictures squashed to squares
        "focal": round(NYU[1] * NATIVE[0] / 480, 2),
        "range": [0, 1],
        "mean": [0, 0, 0],
        "std": [1, 1, 1],
    },
    "output": {"scale": 1.0, "repeat": 2},
    "notes": "",
}
SIZES = [
    (224, 224),
    (224, 256),
    (256, 224),
    (224, 288),
    (192, 256),
    (224, 320),
    (256, 256),
    (256, 320),
    (288, 384),
    (448, 448),
]
CROPS = [(480, 640), (360, 640), (240, 640), (480, 480), (480, 360), (480, 270), (360, 480), (240, 320), (160, 214)]


def load_source(path: Path) -> FastDepth:
    """Our network with the source's numbers. Both list them layer by layer: convolution, then its normalisation."""
    arrays = [onnx.numpy_helper.to_array(entry) for entry in onnx.load(path).graph.initializer]
    network = FastDepth().eval()
    keys = network.state_dict().keys()
    state = {key: torch.from_numpy(np.array(array)) for key, array in zip(keys, arrays, strict=True)}
    checkpoint.fill(network, state, path.name)
    return network


def source_session(path: Path) -> onnxruntime.InferenceSession:
    """The source network, made to take any size: its declared 1 x 3 x 224 x 224 is the only thing fixed in it."""
    model = onnx.load(path)
    names = {entry.name for entry in model.graph.initializer}
    given = next(entry for entry in model.graph.input if entry.name not in names)
    for entry in (given, model.graph.output[0]):
        for axis, name in zip(entry.type.tensor_type.shape.dim[2:], ("height", "width"), strict=True):
            axis.dim_param = name
    del model.graph.value_info[:]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def difference_to_source(path: Path, network: FastDepth, pictures: list[np.ndarray]) -> float:
    """Largest |source - ours| in metres over noise and `pictures` [h w 3], each at two sizes."""
    session = source_session(path)
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    worst = 0.0
    for rgb in (noise, *pictures):
        for size in (NATIVE, (320, 416)):
            tensor = np.ascontiguousarray(geometry.resize(rgb, size).transpose(2, 0, 1)[None]) / np.float32(255)
            with torch.inference_mode():
                ours = network(torch.from_numpy(tensor)).numpy()
            worst = max(worst, float(np.abs(session.run(None, {session.get_inputs()[0].name: tensor})[0] - ours).max()))
    return worst


def read_pictures(data: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """(rgb, metres) of the four NYUv2 pictures; NaN where unknown, and at the 10 m where the fourth is clipped."""
    names = [(f"metric3d_nyu/rgb_{n}.jpg", f"metric3d_nyu/depth_{n}.png") for n in ("00000", "00050", "00100")]
    names.append(("unidepth_demo/rgb.png", "unidepth_demo/depth.png"))
    pairs = []
    for rgb, depth in names:
        millimetres = np.asarray(PILImage.open(data / depth)).astype(np.float32)
        known = (millimetres > 0) & (millimetres < 10_000)
        picture = np.asarray(PILImage.open(data / rgb).convert("RGB"))
        pairs.append((picture, np.where(known, millimetres / 1000, np.float32(np.nan))))
    return pairs


def score(depth: DepthMap, truth: np.ndarray) -> tuple[float, float, float]:
    """(AbsRel, AbsRel after least-squares scale and shift, share within 1.25) over known pixels."""
    known = np.isfinite(truth)
    found, wanted = depth.values[known].astype(np.float64), truth[known].astype(np.float64)
    scale, shift = align.fit_scale_shift(found, wanted)
    within = np.maximum(found / wanted, wanted / found) < 1.25
    return (
        float(np.mean(np.abs(found - wanted) / wanted)),
        float(np.mean(np.abs(scale * found + shift - wanted) / wanted)),
        float(within.mean()),
    )


def crop(pair: tuple[np.ndarray, np.ndarray], size: tuple[int, int], known_camera: bool) -> tuple[Image, np.ndarray]:
    """The middle of a picture and its truth, with NYUv2's camera or without any."""
    top, left = (480 - size[0]) // 2, (640 - size[1]) // 2
    window = np.s_[top : top + size[0], left : left + size[1]]
    camera = Camera(NYU[0], NYU[1], NYU[2] + 0.5, NYU[3] + 0.5, 640, 480).cropped(top, left, *size)
    return Image(np.ascontiguousarray(pair[0][window]), camera if known_camera else None), pair[1][window]


def average(
    card: dict, model: Path, pairs: list[tuple[Image, np.ndarray]], size: tuple[int, int] | None = None
) -> np.ndarray:
    """Mean of `score` over pictures, for the model fed as `card` says."""
    network = OnnxPredictor(model, card)
    return np.mean([score(network.predict(image, size), truth) for image, truth in pairs], axis=0)


def with_input(card: dict, **changes: object) -> dict:
    return card | {"input": card["input"] | changes}


def report_sizes(model: Path, card: dict, pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[str]:
    """Whole pictures at several sizes: as the network says, and with metres scaled by the focal length."""
    lines = ["| size | AbsRel | aligned AbsRel | d1 | AbsRel, scaled |", "|---|---|---|---|---|"]
    whole = [crop(pair, (480, 640), False) for pair in pairs]
    for size in SIZES:
        plain, scaled = average(with_input(card, focal=0), model, whole, size), average(card, model, whole, size)
        lines.append(f"| {size[0]} x {size[1]} | {_figures(*plain, scaled[0])} |")
    return lines


def report_shapes(model: Path, card: dict, pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[str]:
    """Crops of several shapes, each rule at the size it chooses; a crop looks like a picture taken with a longer lens.

    "scaled" is without a camera: each card then assumes the one its own frame (native size, pixel aspect) implies.
    """
    rules = {
        "squash": with_input(card, rule="squash"),
        "keep, square pixels": with_input(card, pixel_aspect=1.0),
        "keep, trained pixels": card,
    }
    lines = ["| picture | rule | size | AbsRel, unscaled | aligned | d1 | AbsRel, scaled | camera known |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for shape in CROPS:
        unknown, known = ([crop(pair, shape, camera) for pair in pairs] for camera in (False, True))
        for name, content in rules.items():
            size = OnnxPredictor(model, content).processing_size(shape)
            plain = average(with_input(content, focal=0), model, unknown)
            scaled = [average(content, model, pictures)[0] for pictures in (unknown, known)]
            lines.append(f"| {shape[0]} x {shape[1]} | {name} | {size[0]} x {size[1]} | {_figures(*plain, *scaled)} |")
    return lines


def _figures(*values: float) -> str:
    return " | ".join(f"{value:.4f}" for value in values)


def notes(model: Path, card: dict, pairs: list[tuple[np.ndarray, np.ndarray]]) -> str:
    raw, aligned, within = average(card, model, [crop(pair, (480, 640), False) for pair in pairs])
    return (
        f"On four NYUv2 pictures: AbsRel {raw:.3f}, {aligned:.3f} after scale and shift, d1 {within:.3f}. The input size and the "
        "resize rule were chosen on these same four, so these figures are no test result; the paper's own d1 is 0.771 on the NYUv2 "
        "test split. Other shapes of picture keep the shape and the number of the trained pixels. Where the picture brings a camera, "
        "metres are scaled by its focal length over NYUv2's; without one, it is taken for a crop of an NYUv2 picture."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder for the model and its card")
    arguments = parser.parse_args()
    source, model = arguments.shared / SOURCE, arguments.out / "indoor-small.onnx"
    pairs = read_pictures(arguments.shared / "data")
    network = load_source(source)
    worst = difference_to_source(source, network, [rgb for rgb, _ in pairs])
    print(f"source against torch: {worst:.2e} m at most")
    if worst > TOLERANCE:
        raise SystemExit(
            f"the rebuilt network differs from the source by {worst:.3g} m, at most {TOLERANCE:g} is allowed"
        )
    print(f"torch against ONNX:   {export_onnx(network, model, NATIVE):.2e} m at most")
    card = CARD | {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
    }
    print("\n".join((*report_sizes(model, card, pairs), "", *report_shapes(model, card, pairs))))
    card["notes"] = notes(model, card, pairs)
    model.with_suffix(".json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(card["notes"])


if __name__ == "__main__":
    main()
