"""The API's reference as one page without scripts, made from its OpenAPI description: the usual viewers want a CDN."""

from __future__ import annotations

from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 52rem; margin: 0 auto; padding: 1rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { overflow-x: auto; padding: .75rem; border: 1px solid #8886; border-radius: 6px; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid #8884; }
h2 { margin-top: 2.5rem; } h2 code { padding: .1rem .4rem; border-radius: 4px; background: #8882; }
"""
EXAMPLE = """curl -F image=@photo.jpg {base}/v1/depth -o depth.png
curl -F image=@photo.jpg -F format=json {base}/v1/depth
curl -F image=@photo.jpg -F fov=65 -H 'Accept: model/gltf-binary' {base}/v1/depth -o mesh.glb
curl -F image=@photo.jpg -F depth=@lidar.png -F units=mm -F format=exr {base}/v1/refine -o sharp.exr"""


def page(description: dict[str, Any], root: str) -> str:
    """The page for an OpenAPI description; `root` is where a proxy has put the server."""
    routes = "".join(
        _route(path, method, route, description)
        for path, methods in description["paths"].items()
        for method, route in methods.items()
    )
    about = "".join(f"<p>{_code(part)}</p>" for part in description["info"]["description"].split("\n\n"))
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>keendepth API</title>"
        f"<meta name='viewport' content='width=device-width, initial-scale=1'><style>{STYLE}</style></head><body>"
        f"<h1>keendepth {escape(description['info']['version'])}</h1>{about}"
        f"<p><a href='{escape(root)}/openapi.json'>openapi.json</a> · <a href='{escape(root)}/'>the workbench</a></p>"
        f"<pre>{escape(EXAMPLE.format(base='http://localhost:7860' + root))}</pre>{routes}</body></html>"
    )


def _route(path: str, method: str, route: dict[str, Any], description: dict[str, Any]) -> str:
    fields = [*_parameters(route), *_body(route, description)]
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code>{' *' if needed else ''}</td><td>{_code(text)}</td></tr>"
        for name, text, needed in fields
    )
    table = f"<div class='table'><table><tr><th>field</th><th></th></tr>{rows}</table></div>" if rows else ""
    codes = ", ".join(
        f"{code}: {escape(str(answer.get('description', '')))}" for code, answer in route["responses"].items()
    )
    return f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{_code(route.get('description', ''))}</p>{table}<p><small>{codes}</small></p>"


def _parameters(route: dict[str, Any]) -> list[tuple[str, str, bool]]:
    return [
        (f"{found['name']} ({found['in']})", found.get("description", ""), found.get("required", False))
        for found in route.get("parameters", [])
    ]


def _body(route: dict[str, Any], description: dict[str, Any]) -> list[tuple[str, str, bool]]:
    content = route.get("requestBody", {}).get("content", {})
    found = []
    for media in content.values():
        schema = media["schema"]
        name = schema.get("$ref", "").rpartition("/")[2]
        schema = description["components"]["schemas"].get(name, schema)
        needed = schema.get("required", [])
        for field, facts in schema.get("properties", {}).items():
            found.append((field, facts.get("description", ""), field in needed))
    return found


def _code(text: str) -> str:
    """Escaped, with what stands in backticks as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
