"""Arrows point down: which layer may import which, and where heavy packages may be imported."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import keendepth

PACKAGE = Path(keendepth.__file__).parent
# From top to bottom; those of one row may not import each other.
ROWS = (
    ("cli",),
    ("app",),
    ("cluster",),
    ("training",),
    ("export",),  # what a run ships
    ("evaluation",),
    ("video",),
    ("pipeline",),
    ("calibration",),
    ("refiners",),
    ("predictors",),
    ("data", "nn", "losses"),
    ("io", "viz", "temporal"),
    ("core",),
)
LEVEL = {layer: level for level, row in enumerate(ROWS) for layer in row}
TORCH_AT_TOP = {"nn", "losses", "training", "export"}
SERVER = {"gradio", "fastapi", "starlette", "uvicorn", "prometheus_client"}  # in app alone, and there at the top
HEAVY = {
    "torch",
    "transformers",
    "diffusers",
    "gradio",
    "fastapi",
    "starlette",
    "uvicorn",
    "prometheus_client",
    "ray",
    "av",
    "trimesh",
    "OpenEXR",
    "tifffile",
    "numba",
    "moderngl",
}


def layer_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(node: ast.AST, file: Path) -> list[str]:
    """Full module names that an import statement names, relative ones resolved."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    if node.level:
        parts = ["keendepth", *file.relative_to(PACKAGE).parts[:-1]]
        base = ".".join(parts[: len(parts) - node.level + 1] + ([node.module] if node.module else []))
    else:
        base = node.module or ""
    return [f"{base}.{alias.name}" for alias in node.names] if base == "keendepth" else [base]


def offences(tree: ast.AST, file: Path) -> list[str]:
    """Imports that point up or sideways, and heavy packages at the top of a module that must stay light."""
    found, own = [], layer_of(file)
    for node in ast.walk(tree):
        for name in imported(node, file):
            target = name.split(".")[1] if name.startswith("keendepth.") else None
            if name.split(".")[0] in SERVER and own != "app":
                found.append(f"{file.name}: {own} imports {name}")
            if target in LEVEL and target != own and LEVEL[target] <= LEVEL.get(own, -1):
                found.append(f"{file.name}: {own} imports {name}")
    for node in tree.body:
        for name in imported(node, file):
            root = name.split(".")[0]
            if root in HEAVY and not ((root == "torch" and own in TORCH_AT_TOP) or (root in SERVER and own == "app")):
                found.append(f"{file.name}: imports {root} at its top")
    return found


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_point_down(file: Path) -> None:
    allowed_on_top = {
        "data/scenes/casting.py"
    }  # numba's decorators have to be at the top; nothing light imports that file
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = [
        text
        for text in offences(tree, file)
        if "numba" not in text or str(file.relative_to(PACKAGE)) not in allowed_on_top
    ]
    assert not found


@pytest.mark.parametrize(
    "text",
    [
        "import keendepth.pipeline",
        "from keendepth import pipeline",
        "from keendepth.pipeline import load",
        "from .. import pipeline",
        "from ..pipeline import load",
        "def f():\n    from keendepth import cli",
        "import torch",
        "def f():\n    import gradio",
    ],
)
def test_the_layer_test_catches(text: str) -> None:
    assert offences(ast.parse(text), PACKAGE / "core" / "made_up.py")


@pytest.mark.parametrize("arguments", [["--help"], ["models"]])
def test_the_command_line_starts_light(arguments: list[str]) -> None:
    code = "\n".join(
        (
            f"import sys; sys.argv[1:] = {arguments!r}",
            "from keendepth.cli import main",
            "try:",
            "    main()",
            "finally:",
            "    print(sorted(sys.modules), file=sys.stderr)",
        )
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(ast.literal_eval(done.stderr.strip().splitlines()[-1]))
    assert "numpy" in loaded or arguments == ["--help"]
    assert not loaded & {
        "torch",
        "transformers",
        "diffusers",
        "gradio",
        "ray",
        "fastapi",
        "starlette",
        "uvicorn",
        "prometheus_client",
        "trimesh",
        "onnxruntime",
        "scipy.ndimage",
    }
