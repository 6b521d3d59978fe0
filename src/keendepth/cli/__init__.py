"""The command line: `keendepth depth`, `refine`, `convert`, `models`, `doctor`; heavy packages load only in the command that needs them."""

from __future__ import annotations

import sys

from keendepth.cli.commands import app, split_lists


def main() -> None:
    """Entry point of the `keendepth` command."""
    sys.argv[1:] = split_lists(sys.argv[1:])
    app()
