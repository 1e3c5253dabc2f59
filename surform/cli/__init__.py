"""The `surform` command: a thin front that imports neither torch nor lightning (see main.py)."""

from surform.cli.main import main

__all__ = ["main"]
