"""Where and with what a run was made: versions, machine, command."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

import surform

__all__ = ["environment", "peak_memory"]

_PACKAGES = ("torch", "lightning", "jsonargparse", "numpy", "xarray", "zarr", "h5py", "safetensors")


def environment() -> dict[str, Any]:
    """Plain values: versions, processor or GPU, threads, the command line."""
    found: dict[str, Any] = {"surform": surform.__version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    found |= {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "command": shlex.join([_program(), *sys.argv[1:]]),
    }
    return found


def _program() -> str:
    """What was started; `surform` where Python itself was, by -m or -c."""
    name = os.path.basename(sys.argv[0])
    return "surform" if name in ("-c", "-m", "__main__.py") else name


def peak_memory() -> dict[str, float]:
    """Largest memory use of this process so far [MB]: resident, and on the GPU if there is one."""
    try:
        import resource
    except ImportError:  # Windows
        return {}
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak = {"memory_MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}
    if torch.cuda.is_available():
        peak["gpu_memory_MB"] = torch.cuda.max_memory_allocated() / 2**20
    return peak
