"""The server's private folder: where uploads and answers lie while libraries want a path; gone with the process, even after kill -9."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Waits until the server's end of the pipe closes, which the system does for a killed process too, then clears up.
_CARETAKER = "import shutil, sys; sys.stdin.read(); shutil.rmtree(sys.argv[1], ignore_errors=True)"


class Desk:
    """A folder that only this user can read, with a caretaker process that removes it when the server is gone."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="keendepth-app-"))
        self._caretaker = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _CARETAKER, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C and a kill of the group leave it to its work
        )

    @contextmanager
    def place(self) -> Iterator[Path]:
        """An empty folder for one piece of work, removed after it."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Remove everything and send the caretaker home."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._caretaker.stdin:
            self._caretaker.stdin.close()
        self._caretaker.wait(timeout=10)
