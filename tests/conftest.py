"""Shapes are checked at run time; `shared` is the folder of real pictures, where there is one."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

install_import_hook("keendepth", "checker.typechecked")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Copies of networks go to a folder of the tests, not to the user's."""
    os.environ["KEENDEPTH_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real pictures and weights; a test that wants it is skipped where it is missing, as users do not have it."""
    folder = Path(os.environ.get("KEENDEPTH_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("needs the real pictures of ../shared, which this machine does not have")
    return folder


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """A test that configures the server's log leaves no handler behind, whose stream is closed by the next test."""
    loggers = [logging.getLogger(name) for name in ("keendepth", "uvicorn")]
    before = [(list(one.handlers), one.level, one.propagate) for one in loggers]
    yield
    for one, (handlers, level, propagate) in zip(loggers, before, strict=True):
        one.handlers[:], one.propagate = handlers, propagate
        one.setLevel(level)
