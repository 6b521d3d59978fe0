"""Short names for the depth networks on the hub that transformers can run, each with its card; plain data, nothing heavy."""

from __future__ import annotations

from keendepth.core.types import Card, DepthKind

# Licences are of the weights, as the model's page and the authors' README state them; where the two differ, both are named and the
# stricter one counts. Parameters are the authors' figures, or the size of the weights' file over the bytes of a number; 0: not known.
SIZES = {"small": 24_800_000, "base": 97_500_000, "large": 335_300_000}
V1 = "Yang et al., Depth Anything, CVPR 2024, arXiv 2401.10891"
V2 = "Yang et al., Depth Anything V2, NeurIPS 2024, arXiv 2406.09414"
DISTILL = "He et al., Distill Any Depth, 2025, arXiv 2502.19204"
DPT = "Ranftl et al., Vision Transformers for Dense Prediction, ICCV 2021, arXiv 2103.13413"
MIDAS31 = "Birkl et al., MiDaS v3.1, 2023, arXiv 2307.14460"
ZOE = "Bhat et al., ZoeDepth, 2023, arXiv 2302.12288"
PRO = "Bochkovskii et al., Depth Pro, ICLR 2025, arXiv 2410.02073"
GLPN = "Kim et al., Global-Local Path Networks, 2022, arXiv 2201.07436"
PROMPT = "Lin et al., Prompt Depth Anything, CVPR 2025, arXiv 2412.14015"
NC = "CC-BY-NC-4.0"
NC_README = "CC-BY-NC-4.0 by the authors' README (the model's page says Apache-2.0)"
FIXED_FOCAL = "never sees a focal length: a wide or long lens moves its metres"
Entry = tuple[str, Card]  # (hub id, card)


def _disparity() -> list[Entry]:
    entries = []
    for size, count in SIZES.items():
        first = Card(
            f"depth-anything-v1-{size}",
            f"Depth Anything V1 {size}: relative disparity for any photo",
            "Apache-2.0",
            V1,
            DepthKind.DISPARITY,
            trained_on="1.5 M labelled and 62 M unlabelled photos",
            fails_on="thin things and glass; no unit",
            parameters=count,
            native_size=(518, 518),
        )
        second = Card(
            f"depth-anything-v2-{size}",
            f"Depth Anything V2 {size}: relative disparity for any photo, finer than V1",
            "Apache-2.0" if size == "small" else NC,
            V2,
            DepthKind.DISPARITY,
            trained_on="595 K rendered pictures, then 62 M photos with a teacher's labels",
            fails_on="no unit; far things share few values",
            parameters=count,
            native_size=(518, 518),
        )
        entries += [(f"LiheYoung/depth-anything-{size}-hf", first)]
        entries += [(f"depth-anything/Depth-Anything-V2-{size.title()}-hf", second)]
    return entries


def _v2_metric() -> list[Entry]:
    entries = []
    for where, data, limit in (("indoor", "Hypersim", 20), ("outdoor", "Virtual KITTI 2", 80)):
        for size, count in SIZES.items():
            card = Card(
                f"depth-anything-v2-metric-{where}-{size}",
                f"Depth Anything V2 {size} in metres, {where}: up to {limit} m",
                "Apache-2.0" if size == "small" else NC_README,
                V2,
                DepthKind.METRIC,
                trained_on=data,
                fails_on=f"beyond {limit} m; {FIXED_FOCAL}",
                parameters=count,
                native_size=(518, 518),
            )
            entries.append((f"depth-anything/Depth-Anything-V2-Metric-{where.title()}-{size.title()}-hf", card))
    return entries


def _distilled() -> list[Entry]:
    return [
        (
            f"xingyang1/Distill-Any-Depth-{size.title()}-hf",
            Card(
                f"distill-any-depth-{size}",
                f"Distill Any Depth {size}: relative disparity, distilled from several teachers",
                "Apache-2.0 or MIT as stated, distilled from weights under CC-BY-NC-4.0",
                DISTILL,
                DepthKind.DISPARITY,
                trained_on="200 K unlabelled photos of SA-1B with teachers' labels",
                fails_on="no unit",
                parameters=SIZES[size],
                native_size=(518, 518),
            ),
        )
        for size in ("small", "large")
    ]


def _midas() -> list[Entry]:
    rows = (
        ("dpt-large", "Intel/dpt-large", "DPT-Large (MiDaS 3)", "Apache-2.0", DPT, 343_000_000, 384),
        ("midas", "Intel/dpt-hybrid-midas", "MiDaS 3 DPT-Hybrid", "Apache-2.0", DPT, 123_000_000, 384),
        ("midas-3.1", "Intel/dpt-beit-large-512", "MiDaS 3.1 BEiT-Large", "MIT", MIDAS31, 345_000_000, 512),
    )
    return [
        (
            hub_id,
            Card(
                name,
                f"{title}: relative disparity for any photo",
                license,
                paper,
                DepthKind.DISPARITY,
                trained_on="ten data sets, 1.4 M pictures" if side == 384 else "twelve data sets",
                fails_on="fine detail; no unit",
                parameters=count,
                native_size=(side, side),
            ),
        )
        for name, hub_id, title, license, paper, count, side in rows
    ]


def _metric() -> list[Entry]:
    rows = (
        ("zoedepth-nyu", "Intel/zoedepth-nyu", "MIT", ZOE, "NYU", 345_000_000, (384, 512)),
        ("zoedepth-kitti", "Intel/zoedepth-kitti", "MIT", ZOE, "KITTI", 345_000_000, (384, 512)),
        ("zoedepth-nyu-kitti", "Intel/zoedepth-nyu-kitti", "MIT", ZOE, "NYU and KITTI", 345_000_000, (384, 512)),
        ("glpn-nyu", "vinvino02/glpn-nyu", "Apache-2.0", GLPN, "NYU", 61_000_000, (480, 640)),
        ("glpn-kitti", "vinvino02/glpn-kitti", "Apache-2.0", GLPN, "KITTI", 61_000_000, (352, 1216)),
    )
    return [
        (
            hub_id,
            Card(
                name,
                f"{name.split('-')[0].upper().replace('ZOEDEPTH', 'ZoeDepth')} in metres, for pictures like {data}'s",
                license,
                paper,
                DepthKind.METRIC,
                trained_on=data,
                fails_on=f"other cameras than {data}'s: {FIXED_FOCAL}",
                parameters=count,
                native_size=native,
            ),
        )
        for name, hub_id, license, paper, data, count, native in rows
    ]


def _single() -> list[Entry]:
    pro = Card(
        "depth-pro",
        "Depth Pro: sharp metric depth and the field of view; uses the focal length of a picture that has one",
        "Apple AMLR: research only",
        PRO,
        DepthKind.METRIC,
        trained_on="about 20 real and rendered data sets",
        fails_on="far outdoor scenes; needs 1536 x 1536 pixels: slow without a GPU",
        parameters=952_000_000,
        native_size=(1536, 1536),
    )
    prompts = [
        (
            f"depth-anything/prompt-depth-anything-{trunk}-hf",
            Card(
                name,
                f"Prompt Depth Anything ({trunk}): a phone's lidar, made sharp and dense, in metres; needs `prompt`",
                "Apache-2.0",
                PROMPT,
                DepthKind.METRIC,
                trained_on="ScanNet++ and ARKitScenes with simulated lidar, Hypersim",
                fails_on="without a prompt; where the prompt is wrong",
                parameters=count,
                native_size=(756, 756),
            ),
        )
        for name, trunk, count in (
            ("prompt-depth-anything", "vits", 25_000_000),
            ("prompt-depth-anything-large", "vitl", 340_000_000),
        )
    ]
    return [("apple/DepthPro-hf", pro), *prompts]


ALIASES: dict[str, Entry] = {
    card.name: (hub_id, card)
    for hub_id, card in (*_disparity(), *_v2_metric(), *_distilled(), *_midas(), *_metric(), *_single())
}
HUB_IDS: dict[str, Card] = dict(ALIASES.values())
