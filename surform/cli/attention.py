"""`surform attention`: the kernels of this machine, how fast they are, which one is taken."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = "Show the attention kernels of this machine; with a kind and sizes, time them."
_FACTFORMER = (
    "FactFormer layers on a CPU compute axial attention together with the linear maps around it, "
    "in blocks of their own, unless SURFORM_ATTENTION or attention.use asks for a kernel."
)
EXAMPLE = "surform attention softmax --batch 1 --heads 8 --tokens 1024 --width 64 --backward"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    sizes = "without it, only the table of kernels is shown"
    parser.add_argument("kind", nargs="?", help=f"kind of attention to time, e.g. softmax; {sizes}")
    parser.add_argument("--batch", type=int, default=1, help="samples (default: %(default)s)")
    parser.add_argument("--heads", type=int, default=8, help="heads (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=1024, help="queries (default: %(default)s)")
    parser.add_argument("--keys", type=int, help="keys and values (default: as many as queries)")
    parser.add_argument("--width", type=int, default=64, help="of a head (default: %(default)s)")
    parser.add_argument("--grid", default="64x64", help="for axial (default: %(default)s)")
    parser.add_argument("--dtype", default="float32", help="float32, float64, bfloat16 or float16")
    parser.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    parser.add_argument("--backward", action="store_true", help="time forward and backward")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Print the table; 0 unless the arguments are wrong (ValueError)."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler, which counts memory, is chatty
    import torch

    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = _dtype(args.dtype)
    _check_sizes(args)
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device {device}: this machine has no CUDA device that torch can use")
    if args.kind is None:
        _show_all(device, dtype)
    else:
        _show_timings(args, device, dtype)
    return 0


def _dtype(name: str) -> torch.dtype:
    import torch

    valid = ("float32", "float64", "bfloat16", "float16")
    if name not in valid:
        raise ValueError(f"--dtype {name} is none of {', '.join(valid)}")
    return getattr(torch, name)


def _check_sizes(args: argparse.Namespace) -> None:
    for name in ("batch", "heads", "tokens", "keys", "width", "repeats"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name} is {value}, expected 1 or more")


def _grid(text: str) -> tuple[int, ...]:
    try:
        grid = tuple(int(n) for n in text.lower().split("x"))
    except ValueError:
        grid = ()
    if not grid or min(grid) < 1:
        raise ValueError(f"--grid {text!r} is no list of sizes such as 64x64 or 32x32x32")
    return grid


def _show_all(device: str, dtype: torch.dtype) -> None:
    """Every kernel of every kind, for a call of the default sizes."""
    import torch
    from rich.console import Console
    from rich.table import Table

    from surform.attention.dispatch import Sizes, example, explain, kinds

    table = Table("kind", "kernel", "here", "why", title=f"attention kernels ({_where(device)})")
    for kind in kinds():
        args, kwargs = example(kind, Sizes(tokens=256, grid=(64, 64)), _make(device, dtype))
        for row, (name, verdict, why) in enumerate(explain(kind, *args, **kwargs).rows):
            table.add_row(kind if row == 0 else "", name, _colored(verdict), why)
        table.add_section()
    Console().print(table)
    Console().print(
        "chosen: for a plain call of common size; `surform attention KIND` with sizes times them. "
        f"torch {torch.__version__}."
    )


def _show_timings(args: argparse.Namespace, device: str, dtype: torch.dtype) -> None:
    """Every kernel of one kind that can run these sizes, timed."""
    from rich.console import Console
    from rich.table import Table

    from surform.attention import dispatch
    from surform.attention.timing import time_kernels

    sizes = dispatch.Sizes(
        args.batch, args.heads, args.tokens, args.keys, args.width, _grid(args.grid)
    )
    if args.kind not in dispatch.kinds():
        dispatch.kernels(args.kind)  # names the closest kinds
    call, options = dispatch.example(args.kind, sizes, _make(device, dtype))
    explanation = dispatch.explain(args.kind, *call, **options)
    times = time_kernels(args.kind, call, options, backward=args.backward, repeats=args.repeats)
    what = "forward + backward" if args.backward else "forward"
    table = Table("kernel", "here", "time", "vs reference", "extra memory", "why")
    table.title = f"{args.kind}, {what}, {_shapes(call)}, {args.dtype} ({_where(device)})"
    reference = times["reference"].milliseconds
    for name, verdict, why in explanation.rows:
        cells = ["", "", ""]
        if name in times:
            taken = times[name]
            cells = [f"{taken.milliseconds:.3g} ms", f"{reference / taken.milliseconds:.2f}x", ""]
            if taken.extra_bytes is not None:
                cells[2] = f"{taken.extra_bytes / 2**20:.1f} MB"
        table.add_row(name, _colored(verdict), *cells, why)
    Console().print(table)
    fastest = min(times, key=lambda name: times[name].milliseconds)
    reasons = {name: why for name, _, why in explanation.rows}
    if not explanation.chosen:
        wanted = dispatch.requested(args.kind) or ""
        raise ValueError(
            f"the kernel {wanted!r} was asked for but cannot run: {reasons[wanted]} "
            f"(fastest here: {fastest})"
        )
    why = reasons[explanation.chosen]
    Console().print(f"chosen: {explanation.chosen} ({why}); fastest here: {fastest}.")
    if args.kind == "axial" and device == "cpu":
        Console().print(_FACTFORMER)


def _make(device: str, dtype: torch.dtype) -> Any:
    from surform.attention.timing import heads_inside

    return lambda *shape: heads_inside(*shape, device=device, dtype=dtype)


def _shapes(call: tuple[Any, ...]) -> str:
    first = [one for one in call if not isinstance(one, (tuple, list))]
    return ", ".join("x".join(map(str, one.shape)) for one in first)


def _where(device: str) -> str:
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads"


def _colored(verdict: str) -> str:
    color = {"chosen": "green", "refused": "red"}.get(verdict, "default")
    return f"[{color}]{verdict}[/{color}]"
