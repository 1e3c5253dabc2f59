"""`surform doctor`: is this installation complete, and what can this machine do?"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import logging
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

__all__ = ["EXAMPLE", "HELP", "Finding", "add_arguments", "run"]

HELP = "Check Python, torch, compilers, optional packages, memory and disk; exit code 1 on a fault."
EXAMPLE = "surform doctor --quick"


class Finding(NamedTuple):
    """One line: state is "ok", "note" (works without) or "fault"."""

    state: str
    what: str
    text: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--quick only."""
    parser.add_argument("--quick", action="store_true", help="import nothing heavy (no torch)")


def run(args: argparse.Namespace) -> int:
    """Print the findings; 1 when one is a fault."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
    checks = [_python, _packages, _compiler, _threads, _memory, _disk]
    if not args.quick:
        checks += [_torch, _imports, _native, _compile, _triton]
    faults = 0
    for finding in (finding for check in checks for finding in _guarded(check)):
        faults += finding.state == "fault"
        color = {"ok": "green", "note": "yellow", "fault": "red"}[finding.state]
        console.print(f"[{color}]{finding.state:<5}[/{color}] {finding.what:<14}", end=" ")
        console.print(finding.text, markup=False, soft_wrap=True)
    console.print("1 fault" if faults == 1 else f"{faults} faults" if faults else "no faults")
    return 1 if faults else 0


def _guarded(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A check that breaks is itself a finding: the doctor always reaches its last line."""
    try:
        yield from check()
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        yield Finding("fault", check.__name__.strip("_"), f"{type(error).__name__}: {reason}")


def _python() -> Iterator[Finding]:
    text = f"{platform.python_version()} on {platform.platform(terse=True)}, {sys.executable}"
    yield Finding("ok" if sys.version_info >= (3, 11) else "fault", "python", text)


def _requirements() -> Iterator[tuple[str, str]]:
    """(distribution, its first extra or "") of all that surform declares, for users' extras."""
    found: dict[str, str] = {}
    for line in importlib.metadata.requires("surform") or ():
        name = re.match(r"[\w.-]+", line)
        extra = re.search(r"extra == ['\"](\w+)['\"]", line)
        if name and name.group() != "surform" and not (extra and extra.group(1) in ("dev", "docs")):
            asked = extra.group(1) if extra else ""
            first = found.setdefault(name.group(), asked)
            found[name.group()] = first if asked else ""
    yield from found.items()


def _packages() -> Iterator[Finding]:
    found: list[str] = []
    for name, extra in _requirements():
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            if extra:
                hint = f"not installed: pip install 'surform[{extra}]'"
                yield Finding("note", name, hint)
            else:
                yield Finding("fault", name, f"missing: pip install {name}")
    yield Finding("ok", "packages", ", ".join(found))


def _compiler() -> Iterator[Finding]:
    from surform.layers.compiler import find_compiler, missing_compiler

    reason = missing_compiler()
    if reason:
        text = f"{reason}: models run, but not with --model.compile true"
        yield Finding("note", "C++ compiler", text)
    else:
        yield Finding("ok", "C++ compiler", f"{find_compiler()} (for torch.compile on the CPU)")


def _native() -> Iterator[Finding]:
    from surform.layers import native

    reason = native.reason()
    if reason:
        yield Finding("note", "native kernels", f"none: {reason}; torch does their work")
    else:
        yield Finding("ok", "native kernels", "built and loaded (SURFORM_NATIVE=0 for none)")


def _threads() -> Iterator[Finding]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limits = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    set_to = ", ".join(f"{name}={os.environ[name]}" for name in limits if name in os.environ)
    yield Finding("ok", "cores", f"{usable} usable" + (f", {set_to}" if set_to else ""))


def _memory() -> Iterator[Finding]:
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    yield Finding("ok" if total >= 2 else "note", "memory", f"{total:.1f} GiB")


def _disk() -> Iterator[Finding]:
    for place in dict.fromkeys((os.getcwd(), tempfile.gettempdir())):
        free = shutil.disk_usage(place).free / 2**30
        state = "ok" if free >= 1 else "note"
        if not os.access(place, os.W_OK):
            yield Finding("note", "disk", f"{place} is not writable")
        else:
            yield Finding(state, "disk", f"{free:.1f} GiB free in {place}")


def _torch() -> Iterator[Finding]:
    start = time.perf_counter()
    import torch

    took = time.perf_counter() - start
    yield Finding("ok", "torch", f"{torch.__version__}, imported in {took:.1f} s")
    if not torch.cuda.is_available():
        yield Finding("note", "CUDA", "no usable GPU: everything runs on the CPU")
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        memory = device.total_memory / 2**30
        yield Finding("ok", f"GPU {index}", f"{device.name}, {memory:.0f} GiB")


def _imports() -> Iterator[Finding]:
    """Installed is not yet loadable: import each package."""
    modules = {"PyYAML": "yaml", "neuraloperator": "neuralop", "jsonargparse": "jsonargparse"}
    bad = 0
    for name, extra in _requirements():
        module = modules.get(name, name.replace("-", "_"))
        if importlib.util.find_spec(module) is None:
            continue
        try:
            importlib.import_module(module)
        except Exception as error:
            bad += 1
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            yield Finding("note" if extra else "fault", name, f"cannot be imported: {reason}")
    if not bad:
        yield Finding("ok", "imports", "every installed package can be imported")


def _compile() -> Iterator[Finding]:
    import torch

    # It warns of a CUDA toolkit without a GPU, of which the findings above say all there is to.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    start = time.perf_counter()
    try:
        torch.compile(lambda x: (x * 2).sin())(torch.ones(8))
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        yield Finding("note", "torch.compile", f"does not work here: {reason[:150]}")
    else:
        yield Finding("ok", "torch.compile", f"works ({time.perf_counter() - start:.1f} s)")


def _triton() -> Iterator[Finding]:
    try:
        triton = importlib.import_module("triton")
    except ImportError:
        yield Finding("note", "triton", "not installed: GPUs use torch's own kernels")
    else:
        yield Finding("ok", "triton", triton.__version__)
