"""Where a clip's files lie while they are made and when they are done, and what a later run needs to go on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np

from keendepth.io import FileError, record
from keendepth.io.atomic import atomic
from keendepth.video.outputs import SAVED, SUFFIXES, Plan, Sequence

END = 1 << 20  # bytes at a clip's start and end that tell it from another one


def fingerprint(clip: Path) -> dict[str, Any]:
    """Size and a hash of both ends of a file: enough to see that it was replaced."""
    size = clip.stat().st_size
    digest = hashlib.sha256()
    with clip.open("rb") as stream:
        digest.update(stream.read(END))
        stream.seek(max(0, size - END))
        digest.update(stream.read(END))
    return {"name": clip.name, "bytes": size, "ends_sha256": digest.hexdigest()}


@dataclass(frozen=True)
class Workplace:
    """A clip's place in an output folder. `settings`: all that decides about the bytes."""

    folder: Path
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        """The folder that is there only while the clip is not done."""
        return self.folder / f".{self.name}.video"

    @property
    def unfinished(self) -> bool:
        """Whether an earlier run was stopped."""
        return (self.work / "settings.json").is_file()

    @property
    def description(self) -> Path:
        """The clip's own description, written last."""
        return self.folder / f"{self.name}.video.json"

    @property
    def list(self) -> Path:
        """A line for each frame."""
        return self.folder / f"{self.name}.frames.jsonl"

    def target(self, saved: str) -> Path:
        """The mp4, or the folder of a sequence."""
        return self.folder / f"{self.name}{SAVED[saved]}"

    def sequences(self, saved: tuple[str, ...]) -> tuple[Sequence, ...]:
        """The folders of frames, of what is saved."""
        return tuple(Sequence(self.target(name), SUFFIXES[name]) for name in saved if name in SUFFIXES)

    def files(self, saved: tuple[str, ...]) -> tuple[Path, ...]:
        """All that is there when the clip is done."""
        return (*(self.target(name) for name in saved), self.list, self.description)

    def finished(self) -> dict[str, Any] | None:
        """The description, where the clip is done with these settings. FileError where it was done with others."""
        if self.unfinished or not self.description.is_file():
            return None
        found = record.load_json(self.description)
        if not isinstance(found, dict) or found.get("settings") != self._plain():
            raise FileError(
                self.description, f"was made {self._difference(found)}: overwrite it, or choose another folder"
            )
        return found

    def begin(self, overwrite: bool) -> None:
        """Make the place ready for a new run, or for going on with one that was stopped. FileError where something else is in the way."""
        if self.unfinished:
            found = record.load_json(self.work / "settings.json")
            if found == self._plain():
                self._mop()
                return
            if not overwrite:
                raise FileError(
                    self.work, f"a run was stopped here that was started {self._difference({'settings': found})}: go on with its "
                    "settings, or overwrite it"
                )  # fmt: skip
            shutil.rmtree(self.work)
        elif not overwrite:
            self._require_free()
        self._clear()
        self.work.mkdir(parents=True, exist_ok=True)
        self._mop()
        self._write(self.work / "settings.json", self._plain())

    def plan(self) -> Plan | None:
        """The plan of the run that was stopped."""
        path = self.work / "plan.json"
        return Plan.from_dict(record.load_json(path)) if path.is_file() else None

    def keep_plan(self, plan: Plan) -> None:
        """Remember the plan."""
        self._write(self.work / "plan.json", plan.to_dict())

    def keep(self, done: int, line: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> None:
        """Remember that `done` frames are in their places, with the stabiliser's state after them."""
        with (self.work / "frames.jsonl").open("a", encoding="ascii") as stream:
            stream.write(record.dumps(dict(line)) + "\n")
        with atomic(self.work / "state.npz") as temporary, temporary.open("wb") as out:
            np.savez(out, done=np.int64(done), **state)

    def kept(self) -> tuple[int, dict[str, np.ndarray]]:
        """(frames that are done, state after them); (0, {}) at the start. Lines of frames beyond are dropped."""
        path = self.work / "state.npz"
        done, state = 0, {}
        if path.is_file():
            with np.load(path, allow_pickle=False) as found:
                state = {name: found[name] for name in found.files if name != "done"}
                done = int(found["done"])
        lines = self.work / "frames.jsonl"
        if lines.is_file():
            with (
                lines.open(encoding="ascii") as stream,
                atomic(lines) as temporary,
                temporary.open("w", encoding="ascii") as out,
            ):
                out.writelines(line for number, line in enumerate(stream) if number < done)
        return done, state

    def lines(self) -> Iterator[dict[str, Any]]:
        """What is noted of each frame so far."""
        with (self.work / "frames.jsonl").open(encoding="ascii") as stream:
            yield from map(json.loads, stream)

    def finish(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Put the list of frames and the description in their places, and clear away; returns the description."""
        whole = {**facts, "settings": self._plain()}
        with atomic(self.list) as temporary:
            shutil.copyfile(self.work / "frames.jsonl", temporary)
        self._write(self.description, whole)
        shutil.rmtree(self.work)
        return whole

    def _plain(self) -> dict[str, Any]:
        return json.loads(json.dumps({"keendepth": record.version("keendepth"), **self.settings}))

    def _difference(self, found: Any) -> str:
        """In what settings of an earlier run differ, for people."""
        other = found.get("settings") if isinstance(found, dict) else None
        if not isinstance(other, dict):
            return "by something else"
        own = self._plain()
        named = [name for name in own if own[name] != other.get(name)]
        if "clip" in named:
            return "of another clip of this name"
        return "with " + ", ".join(f"{name} {other.get(name)!r} instead of {own[name]!r}" for name in named)

    def _require_free(self) -> None:
        for name in self.settings["save"]:
            target = self.target(name)
            if target.is_file() or (target.is_dir() and any(target.iterdir())):
                raise FileError(
                    target, "is there already and not from a run that can go on: overwrite it, or choose another folder"
                )

    def _clear(self) -> None:
        """Delete what an earlier run made, so that a shorter clip leaves no frames of a longer one."""
        for path in (self.description, self.list, self.target("mp4")):
            path.unlink(missing_ok=True)
        for sequence in self.sequences(tuple(SAVED)):
            if sequence.folder.is_dir():
                sequence.clear()
                if not any(sequence.folder.iterdir()):
                    sequence.folder.rmdir()

    def _mop(self) -> None:
        """Make the folders of frames, and delete what a killed run left half written."""
        for target in (self.target("mp4"), self.list, self.description):
            for leftover in self.folder.glob(f".{escape(target.name[:100])}.*.tmp"):
                leftover.unlink()
        for leftover in self.work.glob(".*.tmp"):
            leftover.unlink()
        for sequence in self.sequences(tuple(self.settings["save"])):
            sequence.folder.mkdir(exist_ok=True)
            sequence.clear(keep=self.kept()[0])

    def _write(self, path: Path, content: Mapping[str, Any]) -> None:
        with atomic(path) as temporary:
            temporary.write_text(record.dumps(dict(content), indent=2) + "\n", encoding="ascii")
