"""Public ONNX exports of depth networks on the hub: their cards, and what each needs besides the plain adapter; fetched at the first picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from keendepth.core import geometry
from keendepth.core.types import Camera, Card, DepthKind, DepthMap, Image
from keendepth.predictors import hub
from keendepth.predictors.card import InputRule, ModelCard, OutputRule
from keendepth.predictors.onnx import OnnxPredictor

EXTRA = "hub"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Export:
    """A file on the hub with its card. A card's sha256 of "" is not pinned: the revision alone says which file it is."""

    repository: str
    filename: str
    revision: str | None
    model: ModelCard


class PublicOnnx(OnnxPredictor):
    """An export of the hub, fetched when the first picture comes; `revision` replaces the card's own (and drops its checksum)."""

    def __init__(
        self, export: Export, revision: str | None = None, providers: Sequence[str] | str = (), threads: int = 0
    ) -> None:
        super().__init__(Path(export.filename), export.model, providers, threads)
        self.export = replace(export, revision=revision or export.revision)
        self._sha256 = export.model.card.sha256 if revision in (None, export.revision) else ""

    def _check_file(self) -> None:
        self.path = hub.fetch(self.export.repository, self.export.filename, self.export.revision, self._sha256)


class MogeOnnx(PublicOnnx):
    """MoGe-2's raw outputs made metric: an affine point map, whose z lacks an offset, a mask, and metres per unit.

    The offset is the one with which the points project to their own pixels (Wang et al., MoGe, CVPR 2025, section 3.2: the
    focal length and the shift are recovered together); with the picture's own focal length only the shift is.
    """

    def predict(self, image: Image, size: tuple[int, int] | None = None) -> DepthMap:
        """METRIC, at the picture's size; +inf where the network masks the sky out; the model's camera where the picture has none."""
        height, width = self.processing_size(image.size, size)
        outputs = [output.name for output in self._session.get_outputs()]
        named = dict(
            zip(outputs, self._session.run(None, self._feeds(self._tensor(image.rgb, (height, width)))), strict=True)
        )
        points = np.asarray(named["points"], np.float64).reshape(height, width, 3)
        mask = np.asarray(named["mask"]).reshape(height, width) > 0.5
        given = image.camera.fx * width / image.size[1] if image.camera else None
        focal, shift = focal_and_shift(points, mask, given)
        z = (points[..., 2] + shift) * float(np.asarray(named["metric_scale"]).ravel()[0])
        values = np.where(mask, np.where(z > 0, z, np.nan), np.inf).astype(np.float32)
        camera = image.camera or Camera.from_focal(focal * image.size[1] / width, image.size[1], image.size[0], "model")
        return DepthMap(geometry.resize_depth(values, image.size), DepthKind.METRIC, camera, self.card)

    def _feeds(self, tensor: np.ndarray) -> dict[str, np.ndarray]:
        """The picture, and the number of 14 x 14 patches to work with."""
        tokens = (tensor.shape[2] // 14) * (tensor.shape[3] // 14)
        feeds = {given.name: np.asarray(tokens, np.int64) for given in self._session.get_inputs()}
        return feeds | {"image": tensor}

    def _check_inputs(self, inputs: Sequence[Any]) -> None:
        names = [given.name for given in inputs]
        if "image" not in names:
            raise ValueError(
                f"{self.path.name}: expected MoGe-2's export with an input 'image', found {', '.join(names)}"
            )


def focal_and_shift(
    points: Float[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"], focal: float | None = None
) -> tuple[float, float]:
    """(focal length in pixels, z shift) with which affine points fall on their own pixels: f x = u (z + s), f y = v (z + s).

    Linear in f and s; solved a few times with weights 1 / (z + s), so that it is the error in pixels that is least. `focal`
    keeps one that is known. A mask without points gives (the longer side, 0).
    """
    height, width = mask.shape
    u, v = geometry.pixel_grid(height, width)
    step = max(1, max(height, width) // 64)
    some = mask[::step, ::step]
    x, y, z = points[::step, ::step][some].T
    centred = np.broadcast_arrays((u - width / 2)[None, ::step], (v - height / 2)[::step, None])
    right, down = centred[0][some], centred[1][some]
    if not len(z):
        return focal or float(max(height, width)), 0.0
    found, shift = focal or 0.0, 0.0
    for _ in range(10):
        weight = 1 / np.maximum(z + shift, 1e-3 * max(float(np.ptp(z)), 1e-6))
        xy, uv, weights = np.r_[x, y], np.r_[right, down], np.r_[weight, weight]
        target = uv * np.r_[z, z] * weights
        if focal:
            slope = uv * weights
            shift = float((slope * (xy * focal * weights - target)).sum() / max((slope**2).sum(), 1e-12))
        else:
            design = np.stack([xy * weights, -uv * weights], axis=1)
            found, shift = (float(part) for part in np.linalg.lstsq(design, target, rcond=None)[0])
    return (found if found > 0 else float(max(height, width))), shift


_VIT = InputRule(stride=14, rule="cover", method="pillow-cubic", mean=MEAN, std=STD)
_SEEN = "62 million unlabelled photos labelled by a teacher that saw 595 000 synthetic pictures"
_BLIND = "mirrors, glass and pictures of pictures; no metres, and the offset of 1/z is unknown"


def _depth_anything(size: str, parameters: int, licence: str, revision: str, sha256: str = "") -> Export:
    card = Card(
        name=f"depth-anything-v2-{size}-onnx",
        summary=f"Depth Anything V2 {size.capitalize()} for ONNX Runtime, no torch needed",
        license=licence,
        paper="Depth Anything V2, Yang et al., NeurIPS 2024",
        kind=DepthKind.DISPARITY,
        trained_on=_SEEN,
        fails_on=_BLIND,
        parameters=parameters,
        native_size=(518, 518),
        sha256=sha256,
    )
    model = ModelCard(card, _VIT, OutputRule(name="predicted_depth"))
    return Export(f"onnx-community/depth-anything-v2-{size}", "onnx/model.onnx", revision, model)


def _moge(size: str, letter: str, parameters: int, sha256: str) -> Export:
    card = Card(
        name=f"moge-2-{size}-onnx",
        summary=f"MoGe-2 ViT-{letter.upper()} for ONNX Runtime: metres, a camera and a sky mask; focal length and shift are recovered here",
        license="MIT",
        paper="MoGe-2: Accurate Monocular Geometry with Metric Scale and Sharp Details, Wang et al., 2025",
        kind=DepthKind.METRIC,
        trained_on="24 public data sets, indoors and outdoors, real and synthetic",
        fails_on="lenses that are no pinhole; thin things against the sky may be masked out",
        parameters=parameters,
        native_size=(588, 588),
        sha256=sha256,
    )
    rule = InputRule(
        stride=14, rule="keep"
    )  # the network normalises by itself; 42 x 42 patches, of its range of 1200 to 3600
    return Export(f"Ruicheng/moge-2-vit{letter}-normal-onnx", "model.onnx", None, ModelCard(card, rule))


# Revisions and checksums as the hub's own pages (and, for MoGe-2, two programs that pin them) name them; those of "" nobody could be asked for.
_SMALL_SHA256 = "afb6a5c28f3b6bf1618c6e43f02073ef9dfdc70e937502d51603e57b0a1df10c"
_PLAIN = (
    _depth_anything("small", 24_785_089, "Apache-2.0", "02504fff2a0de682e3162e5e89bdeab034e1b96d", _SMALL_SHA256),
    _depth_anything("base", 97_470_785, "CC-BY-NC-4.0", "70fc6025110462412a23f8f647d2cd708d6ecc2e"),
    _depth_anything("large", 335_315_649, "CC-BY-NC-4.0", "58f6f567efd3eacfeddec1dcc21cf77f67e4eaa9"),
    Export(
        "Xenova/dpt-hybrid-midas",
        "onnx/model.onnx",
        "2221f404096c54082821f2a213c65c7d32e5542f",
        ModelCard(
            Card(
                name="midas-onnx",
                summary="MiDaS 3.0 (DPT hybrid) for ONNX Runtime: the classic, 384 x 384",
                license="Apache-2.0",
                paper="Vision Transformers for Dense Prediction, Ranftl et al., ICCV 2021",
                kind=DepthKind.DISPARITY,
                trained_on="1.4 million pictures of ten data sets (MIX 6)",
                fails_on="thin things and sharp edges; no metres, and the offset of 1/z is unknown",
                parameters=123_000_000,
                native_size=(384, 384),
            ),
            InputRule(mean=HALF, std=HALF),
            OutputRule(name="predicted_depth"),
        ),
    ),
    Export(
        "onnx-community/metric3d-vit-small",
        "onnx/model.onnx",
        "ee63b95d92d2f629b3e019e88f57eea7c1e97d4b",
        ModelCard(
            Card(
                name="metric3d-v2-small-onnx",
                summary="Metric3D v2 ViT-S for ONNX Runtime: metres for a camera of 1000 pixels, undone for yours (give --fov or --focal)",
                license="BSD-2-Clause code; weights: commercial use by agreement with the authors",
                paper="Metric3D v2, Hu et al., TPAMI 2024",
                kind=DepthKind.METRIC,
                trained_on="16 million pictures of 18 data sets with known cameras",
                fails_on="a wrong focal length makes all metres wrong by its ratio; the sky gets a wall",
                parameters=37_500_000,
                native_size=(616, 1064),
            ),
            # 0..255 as they are: the graph normalises. Metres hold for 1000 pixels (Metric3D's canonical camera).
            InputRule(stride=28, rule="keep", focal=1000.0, range=(0.0, 255.0)),
            OutputRule(name="predicted_depth"),
        ),
    ),
)
_DEPTH_PRO = Export(
    "onnx-community/DepthPro-ONNX",
    "onnx/model_fp16.onnx",
    "0fb46fadde862e9b7e4e735eed1e99ea69780920",
    ModelCard(
        Card(
            name="depth-pro-onnx",
            summary="Depth Pro for ONNX Runtime, half precision (1.9 GB): metres, sharp edges and the focal length, at 1536 x 1536",
            license="Apple (apple-amlr: research use; the export's page says apple-ascl)",
            paper="Depth Pro: Sharp Monocular Metric Depth in Less Than a Second, Bochkovskii et al., ICLR 2025",
            kind=DepthKind.METRIC,
            trained_on="21 data sets, the last stage on synthetic ones only",
            fails_on="glass, volumetric things as smoke; far metres where the focal length is guessed wrong",
            parameters=952_000_000,
            native_size=(1536, 1536),
        ),
        InputRule(mean=HALF, std=HALF),
        OutputRule(name="predicted_depth", focal="focallength_px"),
    ),
)
_MOGE = (
    _moge("small", "s", 35_000_000, "24eacb5dc7a2c54c7bc98f7de085ffbed79ad006ea5b664c2c2cdc02ff3a52f0"),
    _moge("base", "b", 104_000_000, "bbf14e07a30f11e69d36ab861590123f5598ababcbc8946a063eb4a966f35a21"),
    _moge("large", "l", 331_000_000, "afbc4ccc3450298f3afb35b90f015f4c4f552dea21dc6470d5f7b78b77e2d751"),
)


def _entry(kind: type[PublicOnnx], export: Export) -> tuple[Card, Callable[..., PublicOnnx]]:
    return export.model.card, partial(kind, export)


CARDS: tuple[tuple[Card, Callable[..., PublicOnnx]], ...] = (
    *(_entry(PublicOnnx, export) for export in _PLAIN),
    _entry(PublicOnnx, _DEPTH_PRO),
    *(_entry(MogeOnnx, export) for export in _MOGE),
)
REPOSITORIES = {export.repository: export.model.card.name for export in (*_PLAIN, _DEPTH_PRO, *_MOGE)}
