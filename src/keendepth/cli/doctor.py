"""`keendepth doctor`: the machine, the installed packages and extras, the shipped models, and a real run of the default pipeline."""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np

from keendepth import __version__
from keendepth.cli.batch import Report, say

BASE = ("numpy", "scipy", "pillow", "onnxruntime", "typer", "rich", "OpenEXR", "tifffile", "jaxtyping")
EXTRAS = {
    "heic": ("pillow_heif", "iPhone photos (HEIC)"),
    "datasets": ("h5py", "data sets in HDF5 (Hypersim, Spring, NYUv2's .mat)"),
    "scenes": ("numba", "rendered scenes"),
    "train": ("torch", "training and export"),
    "hub": ("transformers", "depth models of the model hub"),
    "diffusion": ("diffusers", "Marigold, Lotus and the diffusion sharpener"),
    "app": ("gradio", "the web app and the API"),
    "video": ("av", "video"),
    "ray": ("ray", "clusters"),
}


def examine() -> dict[str, Any]:
    """All facts as one JSON-able dictionary; `healthy` says whether the main job works."""
    packages = {name: _version(name) for name in BASE}
    run = _try_default()
    return {
        "keendepth": __version__,
        "machine": _machine(),
        "packages": packages,
        "extras": {name: util.find_spec(module) is not None for name, (module, _) in EXTRAS.items()},
        "default_pipeline": run,
        "contracts": _contracts(),
        "healthy": all(packages.values()) and "error" not in run,
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _machine() -> dict[str, Any]:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    import onnxruntime

    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30, 1) or None,
        "onnxruntime_providers": onnxruntime.get_available_providers(),
    }


def _try_default() -> dict[str, Any]:
    from keendepth import pipeline
    from keendepth.core.types import Image

    rgb = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    start = time.perf_counter()
    try:
        depth = pipeline.load()(Image(rgb))
    except Exception as error:  # whatever it is, the doctor's business is to tell
        return {"error": f"{type(error).__name__}: {error}"}
    return {"model": pipeline.DEFAULT, "kind": depth.kind, "seconds": round(time.perf_counter() - start, 2)}


def _contracts() -> dict[str, str]:
    """Every model that runs without a download, and every refiner, on a small picture: "ok" or what is wrong. A user's own (`--load`) are among them."""
    from keendepth import predictors, refiners
    from keendepth.cli import contracts

    results = {name: contracts.check_predictor(name) for name in predictors.shipped()}
    return results | {name: contracts.check_refiner(name) for name in refiners.registry}


def examine_film(folder: Path, gap: int, as_json: bool) -> int:
    """Say what is wrong with each film of a folder; the exit code, 1 where one would fail."""
    from keendepth.cli.train import need_training

    need_training()
    from keendepth.data.clip import film_of
    from keendepth.training import film_doctor

    found = {clip.frames[0].parent: film_doctor.examine(clip, gap) for clip in film_of(folder)}
    if as_json:
        Report.print_json({str(path): [vars(one) for one in findings] for path, findings in found.items()})
    else:
        for path, findings in found.items():
            for line in film_doctor.report(path, findings):
                say(line, output=True)
    return int(any(film_doctor.worst(findings) == "fail" for findings in found.values()))


def show(facts: dict[str, Any]) -> None:
    """The facts for people."""
    machine = facts["machine"]
    memory = f", {machine['memory_gib']} GiB" if machine["memory_gib"] else ""
    say(f"keendepth {facts['keendepth']} on Python {machine['python']}, {machine['system']}", output=True)
    say(
        f"{machine['cores']} cores{memory}; ONNX Runtime runs on {', '.join(machine['onnxruntime_providers'])}",
        output=True,
    )
    for name, version in facts["packages"].items():
        say(f"  {name:12} {version or 'MISSING: pip install --force-reinstall keendepth'}", output=True)
    for name, there in facts["extras"].items():
        what = EXTRAS[name][1]
        say(
            f"  {'has' if there else 'no '} {name:10} {what}{'' if there else ': pip install ' + repr(f'keendepth[{name}]')}",
            output=True,
        )
    for name, verdict in facts["contracts"].items():
        say(f"  {name:14} {verdict}", output=True)
    run = facts["default_pipeline"]
    say(f"default pipeline: {run.get('error') or '{model} works ({seconds} s)'.format(**run)}", output=True)
