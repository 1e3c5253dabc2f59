"""A training script run by one process, then by two over gloo: the weights must be the same."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

from surform.training.checkpoint import read_checkpoint

__all__ = ["require_same_weights", "run_by_one_and_two"]


def require_same_weights(source: str, folder: Path) -> None:
    """Run `source` as `script.py DEVICES FOLDER/DEVICES`; each run leaves end.ckpt there.

    Raises:
        AssertionError: a weight differs by more than 1e-6.
    """
    run_by_one_and_two(source, folder)
    one, two = (read_checkpoint(folder / n / "end.ckpt")["state_dict"] for n in ("1", "2"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-6, atol=1e-6, msg=name)


def run_by_one_and_two(source: str, folder: Path) -> None:
    """Run `source` as `script.py DEVICES FOLDER/DEVICES` by one process, then by two."""
    script = folder / "script.py"
    script.write_text(source)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "MASTER_PORT": str(port)}
    for devices in ("1", "2"):
        (folder / devices).mkdir()
        command = [sys.executable, str(script), devices, str(folder / devices)]
        subprocess.run(command, check=True, env=environment, cwd=folder, timeout=500)
