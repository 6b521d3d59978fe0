"""A model's files, from a folder or from the hub by id and revision; every way that this can fail is one clear line."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keendepth.predictors.hub import ID, HubError, MissingExtraError, fetch, installed

CONFIG, PREPROCESSOR, PAGE, PIPELINE = "config.json", "preprocessor_config.json", "README.md", "model_index.json"
OPTIONAL = (PREPROCESSOR, PAGE, PIPELINE)
INDEX = "model.safetensors.index.json"
WEIGHTS = ("model.safetensors", INDEX, "pytorch_model.bin")  # in order of preference
EXTRA = ("torch", "transformers", "huggingface_hub", "safetensors")


class ModelError(HubError):
    """A model that cannot be had or used. One line: which model, what is wrong, what to do."""


def check_extra(name: str) -> None:
    """MissingExtraError unless the packages of the extra `hub` are installed; imports none of them."""
    lacking = [package for package in EXTRA if not installed(package)]
    if lacking:
        raise MissingExtraError(f"{name}: needs {', '.join(lacking)}: pip install 'keendepth[hub]'")


@dataclass
class Files:
    """The files of one model: `source` is a folder in the hub's layout, or a hub id as owner/name."""

    source: str
    revision: str | None = None
    folder: Path | None = field(init=False)  # None until the first file of a hub id is there

    def __post_init__(self) -> None:
        path = Path(self.source).expanduser()
        self.folder = path if self.source and path.is_dir() else None
        self.local = self.folder is not None
        if not self.local and not re.fullmatch(ID, self.source):
            raise ModelError(f"{self.source or 'the model'}: no such folder, nor a hub id (owner/name)")
        if self.local and self.revision:
            raise ModelError(f"{self.source}: a revision ({self.revision!r}) belongs to a hub id; this is a folder")

    def json(self, name: str, required: bool = False) -> dict[str, Any] | None:
        """The table in a JSON file; None where the model has no such file. ModelError if it is damaged, or missing but required."""
        path = self.path(name)
        if path is None:
            if required:
                raise ModelError(
                    f"{self.source}: has no {name}: not a model in the layout of transformers{self._hint()}"
                )
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"{self.source}: {name} is damaged ({error}): fetch it again") from error
        if not isinstance(content, dict):
            raise ModelError(f"{self.source}: {name} is damaged: expected a table, found {type(content).__name__}")
        return content

    def _hint(self) -> str:
        return f" (it has {PIPELINE}: a diffusers pipeline)" if self.path(PIPELINE) else ""

    def license(self) -> str:
        """The licence that the model's page states in its header; "" for none."""
        path = self.path(PAGE)
        text = path.read_text(encoding="utf-8", errors="replace") if path else ""
        header = re.match(r"---\r?\n(.*?)\r?\n---", text, re.DOTALL)
        found = dict(
            re.findall(r"^(license|license_name):\s*[\"']?([\w.-]+)", header[1] if header else "", re.MULTILINE)
        )
        return found.get("license_name") or found.get("license", "")

    def weights(self) -> Path:
        """The folder with everything in it, weights included. ModelError where there are none."""
        for name in WEIGHTS:
            path = self.path(name)
            if path is None:
                continue
            if name == INDEX:
                for part in sorted(set((self.json(INDEX) or {}).get("weight_map", {}).values())):
                    if self.path(part) is None:
                        raise ModelError(f"{self.source}: the weights' part {part} is missing: fetch the model again")
            return path.parent
        raise ModelError(f"{self.source}: has no weights (expected {' or '.join(WEIGHTS)})")

    def path(self, name: str) -> Path | None:
        """Where the file is on this machine, fetched if need be; None where the model has none of that name."""
        if not self.local:
            return self._fetch(name)
        path = Path(self.folder or "") / name
        return path if path.is_file() else None

    def _fetch(self, name: str) -> Path | None:
        try:
            path = fetch(self.source, name, self.revision)
        except HubError as error:
            reasons = {base.__name__ for base in type(error.__cause__).__mro__}
            offline = "LocalEntryNotFoundError" in reasons
            if "EntryNotFoundError" in reasons and not offline:
                return None
            if offline and self.folder is not None and name in OPTIONAL:
                return None  # the rest was fetched on an earlier day, when the model had no such file
            raise
        self.folder = path.parent
        return path


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
