"""Files of models from the hub: fetched by id, revision and checksum, kept in its cache, with one clear line for whatever fails."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ID = r"[\w.-]+/[\w.-]+"  # owner/name, as the hub spells it
COMMIT = r"[0-9a-f]{40}"
OFFLINE = ("HF_HUB_OFFLINE", "KEENDEPTH_OFFLINE")  # environment variables that forbid the network


class HubError(ValueError):
    """A file of the hub that cannot be had. The message says which, why, and what to do, in one line."""


class MissingExtraError(HubError):
    """A package that is not installed. The message has the line that installs it."""


def require(package: str, extra: str, purpose: str) -> Any:
    """The module `package`; MissingExtraError with the line that installs it where it is not there."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtraError(
            f"{purpose} needs {package}, which is not installed: pip install 'keendepth[{extra}]'"
        ) from error


def installed(package: str) -> bool:
    """Whether a package is there, without importing it."""
    return importlib.util.find_spec(package) is not None


def is_offline() -> bool:
    """Whether the user forbade the network by `HF_HUB_OFFLINE=1` or `KEENDEPTH_OFFLINE=1`."""
    return any(os.environ.get(name, "").lower() in ("1", "true", "yes", "on") for name in OFFLINE)


def fetch(id: str, filename: str, revision: str | None = None, sha256: str = "") -> Path:
    """A file of the hub's repository `id` ("owner/name") at `revision` (branch, tag or commit; None: the newest), on this disk.

    What the cache holds of a commit is taken from there without asking the network. `sha256` is checked unless it is "" (not
    pinned). Raises HubError, or MissingExtraError without huggingface_hub.
    """
    if not re.fullmatch(ID, id):
        raise HubError(f"hub: expected an id like owner/name, found {id!r}")
    hub = require("huggingface_hub", "hub", f"fetching {id}")
    path = _cached(hub, id, filename, revision) or _download(hub, id, filename, revision)
    if sha256:
        check_sha256(path, sha256, f"{id}/{filename}")
    return path


def check_sha256(path: Path, sha256: str, name: str) -> None:
    """Raise HubError unless the file has this checksum (hexadecimal, any case)."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256.lower():
        raise HubError(
            f"{name} is damaged or was changed: expected sha256 {sha256.lower()}, found {found}; delete {path.resolve()} and try again"
        )


def _cached(hub: Any, id: str, filename: str, revision: str | None) -> Path | None:
    """The file from the cache, where a commit is asked for: it never changes, so nobody needs to be asked."""
    if not re.fullmatch(COMMIT, revision or ""):
        return None
    try:
        return Path(hub.hf_hub_download(id, filename, revision=revision, local_files_only=True))
    except Exception:  # not there, whatever the reason: the download says what is wrong
        return None


def _download(hub: Any, id: str, filename: str, revision: str | None) -> Path:
    try:
        with calm():
            return Path(hub.hf_hub_download(id, filename, revision=revision, local_files_only=is_offline()))
    except Exception as error:  # the package has a class for each failure, httpx and requests have more
        raise explain(error, id, filename, revision) from error


@contextmanager
def calm() -> Iterator[None]:
    """Without the package's ten lines about its retries: what failed in the end is one line of ours."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


# Names of classes, looked for among the bases of an error; the order is that of the questions a person would ask.
_REASONS = (
    ("GatedRepoError", "{id} is gated: accept its terms on its page on the hub, then sign in with `hf auth login`"),
    (
        "RevisionNotFoundError",
        "{id} has no revision {revision!r}: leave it out, or take a branch, tag or commit of its page",
    ),
    (
        "RepositoryNotFoundError",
        "the hub has no model {id}, or it is private: check the spelling (owner/name), or `hf auth login`",
    ),
    ("LocalEntryNotFoundError", "{offline}"),
    ("OfflineModeIsEnabled", "{offline}"),
    ("RemoteEntryNotFoundError", "{id} has no file {filename}{at}: is it a depth model in the hub's layout?"),
    ("EntryNotFoundError", "{id} has no file {filename}{at}: is it a depth model in the hub's layout?"),
    ("HFValidationError", "hub: expected an id like owner/name, found {id!r}"),
    ("ConnectionError", "{offline}"),
    ("ConnectError", "{offline}"),
    ("TimeoutException", "{offline}"),
    ("Timeout", "{offline}"),
    ("TimeoutError", "{offline}"),
    (
        "PermissionError",
        "{id}/{filename} cannot be written to the cache ({cause}): free it, or set HF_HOME to another folder",
    ),
)


def explain(error: BaseException, id: str, filename: str = "", revision: str | None = None) -> HubError:
    """The one line for what huggingface_hub (or what stands on it, as transformers) raised while it looked for `id`."""
    names = [base.__name__ for failure in _chain(error) for base in type(failure).__mro__]
    parts = {
        "id": id,
        "filename": filename or "of a model",
        "revision": revision,
        "at": f" at revision {revision}" if revision else "",
        "offline": _no_network(id, filename),
        "cause": str(error).splitlines()[0] if str(error) else type(error).__name__,
    }
    for name, text in _REASONS:
        if name in names:
            return HubError(text.format(**parts))
    return HubError(f"{id}: the hub gave no {parts['filename']}: {type(error).__name__}: {parts['cause']}")


def _chain(error: BaseException) -> list[BaseException]:
    """The error and those it came from; transformers wraps the hub's in an OSError."""
    found: list[BaseException] = []
    step: BaseException | None = error
    while step is not None and step not in found:
        found.append(step)
        step = step.__cause__ or step.__context__
    return found


def _no_network(id: str, filename: str) -> str:
    what = f"{id}/{filename}" if filename else id
    if is_offline():
        return f"{what} is not in the cache, and the network is forbidden ({' or '.join(OFFLINE)}): fetch it once with the network on"
    return f"{what} is not in the cache, and the hub cannot be reached: check the network, or give a local folder as the model"
