"""`python -m keendepth` is the `keendepth` command."""

from keendepth.cli import main

main()
