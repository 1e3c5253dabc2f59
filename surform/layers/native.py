"""Native CPU kernels (`surform/native`): built at first use, loaded, and called with pointers.

They serve eager float32 work on Linux. Where they cannot be built, torch does the same work; the
reason is what `surform doctor` shows. SURFORM_NATIVE=0 switches them off. The library is kept in
the user's cache folder under a hash of its source, flags, compiler and processor.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from surform.layers.blocking import works_in_blocks
from surform.layers.compiler import find_compiler, missing_compiler
from surform.layers.pages import large_empty

__all__ = ["fields", "library", "pointer", "pointers", "reason", "serves", "thread_sums"]

logger = logging.getLogger(__name__)

_SOURCE = Path(__file__).parent.parent / "native"
_FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC"),
    *("-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fno-exceptions"),
)
_SECONDS = 300  # for the compiler


class _UnavailableError(Exception):
    """Why there are no native kernels."""


def library() -> ctypes.CDLL | None:
    """The loaded kernels; None where torch does the work (see `reason`)."""
    return _found()[0] if switched_on() else None


def reason() -> str | None:
    """Why there are no native kernels, in one sentence; None where there are."""
    return _found()[1] if switched_on() else "SURFORM_NATIVE=0 switches them off"


def switched_on() -> bool:
    """Whether the environment allows native kernels."""
    return os.environ.get("SURFORM_NATIVE", "1").strip().lower() not in ("0", "off", "false", "no")


def serves(x: Tensor, widths: Iterable[int]) -> bool:
    """True for eager float32 work on the CPU whose numbers of channels are whole panels."""
    if x.dtype != torch.float32 or not works_in_blocks(x):
        return False
    found = library()
    return found is not None and all(w % found.surform_panel() == 0 for w in widths)


def pointer(x: Tensor | None) -> int | None:
    """The address of a contiguous float32 tensor, whose owner must outlive the call."""
    if x is None:
        return None
    if x.dtype != torch.float32 or not x.is_contiguous() or x.device.type != "cpu":
        raise ValueError(f"native kernels take contiguous float32 CPU tensors, not {x.dtype}")
    return x.data_ptr()


def pointers(*tensors: Tensor | None) -> list[_Address]:
    """What ctypes passes for these tensors; keeps them alive until the call is over."""
    return [_Address(x) for x in tensors]


class _Address(ctypes.c_void_p):
    def __init__(self, x: Tensor | None) -> None:
        super().__init__(pointer(x))
        self.owner = x


def fields(kind: type, *names: str) -> list[tuple[str, type]]:
    """Fields of one type of a ctypes structure."""
    return [(name, kind) for name in names]


def thread_sums(count: int, like: Tensor) -> Tensor:
    """Zeros (threads, count): each thread of a kernel adds to its own row."""
    return large_empty((torch.get_num_threads(), count), like).zero_()


@functools.cache
def _found() -> tuple[ctypes.CDLL | None, str | None]:
    try:
        return _load(_build()), None
    except _UnavailableError as why:
        logger.info("no native kernels: %s", why)
        return None, str(why)


def _load(path: Path) -> ctypes.CDLL:
    try:
        # torch's OpenMP runtime is loaded already and is found under the same name
        found = ctypes.CDLL(str(path))
        found.surform_panel.restype = ctypes.c_int
    except (OSError, AttributeError) as error:
        raise _UnavailableError(f"{path} cannot be loaded: {error}") from error
    return found


def _build() -> Path:
    """The library's path; built if it is not there yet."""
    if sys.platform != "linux":
        raise _UnavailableError(f"they are built on Linux only, this is {sys.platform}")
    compiler = find_compiler()
    if compiler is None:
        raise _UnavailableError(str(missing_compiler()))
    try:
        target = _folder() / f"kernels-{_fingerprint(compiler)}.so"
        if not target.exists():
            _compile(compiler, target)
    except OSError as error:
        raise _UnavailableError(f"they cannot be built: {error}") from error
    return target


def _folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME", "").strip()
    return (Path(cache) if cache else Path.home() / ".cache") / "surform" / "native"


def _fingerprint(compiler: str) -> str:
    """Of all that the machine code depends on."""
    found = hashlib.sha256(" ".join(_FLAGS).encode())
    for path in sorted(_SOURCE.iterdir()):
        if path.suffix in (".h", ".cpp"):
            found.update(path.read_bytes())
    real = Path(compiler).resolve()
    found.update(f"{real} {real.stat().st_mtime_ns} {_processor()}".encode())
    return found.hexdigest()[:20]


def _processor() -> str:
    """Name and features of the processor: a home folder may be shared by several machines."""
    with open("/proc/cpuinfo") as lines:
        kept = [x for x in lines if x.startswith(("model name", "flags", "Features", "CPU part"))]
    return platform.machine() + "".join(sorted(set(kept)))


def _compile(compiler: str, target: Path) -> None:
    """Under a temporary name, then renamed: another process may build at the same time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        part = Path(folder) / target.name
        command = [compiler, *_FLAGS, str(_SOURCE / "kernels.cpp"), "-o", str(part)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS, text=True)
        except subprocess.CalledProcessError as error:
            lines = [x for x in error.stderr.splitlines() if "error" in x] or [
                f"exit {error.returncode}"
            ]
            raise _UnavailableError(f"{compiler} fails on them: {lines[0].strip()}") from error
        except subprocess.TimeoutExpired as error:
            raise _UnavailableError(f"{compiler} takes more than {_SECONDS} s for them") from error
        os.replace(part, target)
