"""Short names for the models of research packages, each with its card; plain data, nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from keendepth.core.types import Card, DepthKind


@dataclass(frozen=True)
class _Family:
    """What the models of one package share on their cards."""

    title: str
    license: str
    paper: str
    fails_on: str
    native_size: tuple[int, int] | None = None


NC = "CC-BY-NC-4.0 (code and weights)"
ASK = "BSD-2-Clause (for commercial use the authors ask to be contacted)"
APACHE_NC = "Apache-2.0 (code), CC-BY-NC-4.0 (weights)"
FAMILIES = {
    "unidepth-v1": _Family(
        "UniDepth V1",
        NC,
        "Piccinelli et al., CVPR 2024, arXiv 2403.18913",
        "thin things and edges: it sees 462 x 616",
        (462, 616),
    ),
    "unidepth-v2": _Family(
        "UniDepth V2", NC, "Piccinelli et al., 2025, arXiv 2502.20110", "sky; pictures beyond 1:2 and 5:2"
    ),
    "unik3d": _Family(
        "UniK3D",
        NC,
        "Piccinelli et al., CVPR 2025, arXiv 2503.16591",
        "edges at low resolution; here pinhole views only",
    ),
    "moge-1": _Family("MoGe-1", "MIT", "Wang et al., CVPR 2025, arXiv 2410.19115", "metres, which it does not know"),
    "moge-2": _Family(
        "MoGe-2", "MIT", "Wang et al., 2025, arXiv 2507.02546", "reflections; a principal point off the middle"
    ),
    "metric3d": _Family(
        "Metric3D",
        ASK,
        "Yin et al., ICCV 2023, arXiv 2307.10984; Hu et al., TPAMI 2024, arXiv 2404.15506",
        "pictures without a camera: its metres follow the focal length",
    ),
    "da3-metric": _Family(
        "Depth Anything 3",
        "Apache-2.0",
        "Lin et al., 2025, arXiv 2511.10647",
        "pictures without a camera: its metres follow the focal length",
        (504, 504),
    ),
    "da3-mono": _Family(
        "Depth Anything 3",
        "Apache-2.0",
        "Lin et al., 2025, arXiv 2511.10647",
        "metres, which it does not know",
        (504, 504),
    ),
    "da3": _Family(
        "Depth Anything 3",
        "Apache-2.0",
        "Lin et al., 2025, arXiv 2511.10647",
        "sky, unless nested; scale from one picture",
        (504, 504),
    ),
}
METRIC, RATIO, AFFINE = DepthKind.METRIC, DepthKind.SCALE_INVARIANT, DepthKind.AFFINE_INVARIANT
# (alias, adapter, what the package loads, kind, parameters by the authors or 0 where they give none, what it is)
_ROWS = (
    ("unidepth-v1", "unidepth-v1", "lpiccinelli/unidepth-v1-vitl14", METRIC, 350_000_000, "ViT-L"),
    ("unidepth-v1-convnext", "unidepth-v1", "lpiccinelli/unidepth-v1-cnvnxtl", METRIC, 239_000_000, "ConvNeXt-L"),
    ("unidepth-v2", "unidepth-v2", "lpiccinelli/unidepth-v2-vitl14", METRIC, 0, "ViT-L"),
    ("unidepth-v2-base", "unidepth-v2", "lpiccinelli/unidepth-v2-vitb14", METRIC, 0, "ViT-B"),
    ("unidepth-v2-small", "unidepth-v2", "lpiccinelli/unidepth-v2-vits14", METRIC, 0, "ViT-S"),
    ("unik3d", "unik3d", "lpiccinelli/unik3d-vitl", METRIC, 0, "ViT-L"),
    ("unik3d-base", "unik3d", "lpiccinelli/unik3d-vitb", METRIC, 0, "ViT-B"),
    ("unik3d-small", "unik3d", "lpiccinelli/unik3d-vits", METRIC, 0, "ViT-S"),
    ("moge-1", "moge-1", "Ruicheng/moge-vitl", RATIO, 314_000_000, "ViT-L"),
    ("moge-2", "moge-2", "Ruicheng/moge-2-vitl-normal", METRIC, 331_000_000, "ViT-L"),
    ("moge-2-base", "moge-2", "Ruicheng/moge-2-vitb-normal", METRIC, 104_000_000, "ViT-B"),
    ("moge-2-small", "moge-2", "Ruicheng/moge-2-vits-normal", METRIC, 35_000_000, "ViT-S"),
    ("metric3d-v1", "metric3d", "metric3d_convnext_large", METRIC, 0, "v1, ConvNeXt-L"),
    ("metric3d-v1-tiny", "metric3d", "metric3d_convnext_tiny", METRIC, 0, "v1, ConvNeXt-T"),
    ("metric3d-v2", "metric3d", "metric3d_vit_large", METRIC, 0, "v2, ViT-L"),
    ("metric3d-v2-small", "metric3d", "metric3d_vit_small", METRIC, 0, "v2, ViT-S"),
    ("metric3d-v2-giant", "metric3d", "metric3d_vit_giant2", METRIC, 1_378_000_000, "v2, ViT-g"),
    (
        "depth-anything-3-metric",
        "da3-metric",
        "depth-anything/DA3METRIC-LARGE",
        METRIC,
        350_000_000,
        "metric, ViT-L, finds sky",
    ),
    ("depth-anything-3-mono", "da3-mono", "depth-anything/DA3MONO-LARGE", AFFINE, 350_000_000, "mono, ViT-L"),
    ("depth-anything-3-small", "da3", "depth-anything/DA3-SMALL", RATIO, 26_000_000, "any view, ViT-S"),
    ("depth-anything-3-base", "da3", "depth-anything/DA3-BASE", RATIO, 120_000_000, "any view, ViT-B"),
    ("depth-anything-3-large", "da3", "depth-anything/DA3-LARGE-1.1", RATIO, 350_000_000, "any view, ViT-L"),
    ("depth-anything-3-giant", "da3", "depth-anything/DA3-GIANT-1.1", RATIO, 1_150_000_000, "any view, ViT-g"),
    (
        "depth-anything-3-nested",
        "da3",
        "depth-anything/DA3NESTED-GIANT-LARGE-1.1",
        METRIC,
        1_400_000_000,
        "metric, nested",
    ),
)


def _card(alias: str, adapter: str, kind: DepthKind, parameters: int, what: str) -> Card:
    family = FAMILIES[adapter]
    heavy = alias.removeprefix("depth-anything-3-") in (
        "large",
        "giant",
        "nested",
    )  # only these of Depth Anything 3 are not Apache
    return Card(
        name=alias,
        summary=f"{family.title} ({what}), through its authors' package",
        license=APACHE_NC if heavy else family.license,
        paper=family.paper,
        kind=kind,
        fails_on=family.fails_on,
        parameters=parameters,
        native_size=family.native_size,
    )


# (adapter, what its package loads, card) of each alias.
MODELS: tuple[tuple[str, str, Card], ...] = tuple(
    (adapter, model, _card(alias, adapter, kind, parameters, what))
    for alias, adapter, model, kind, parameters, what in _ROWS
)
HUB_IDS = {model: card.name for _, model, card in MODELS if "/" in model}
