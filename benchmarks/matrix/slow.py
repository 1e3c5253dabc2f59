"""What a model can be put through, on the smallest call of its golden cases or of our own.

A cell says "yes", with the error where there is one, or why not in a few words.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from benchmarks.matrix.call import Call, reason, tensors
from benchmarks.matrix.choices import Made, Repeated
from benchmarks.matrix.distributed import gradients_of_two
from benchmarks.matrix.recorded_calls import callable_models, first_call

__all__ = ["SLOW", "cell", "measure"]

_BF16 = 0.05  # of the largest output


def bf16(call: Call) -> str:
    """Forward and backward in bfloat16 by autocast, with weights in float32."""
    call = call.to(torch.float32)
    with torch.no_grad(), Made() as made:
        exact = call.run()
    with torch.autocast("cpu", torch.bfloat16):
        found = call.run()
    loss: Any = sum(value.float().square().mean() for value in found if value.requires_grad)
    loss.backward()
    gradients = [p.grad for p in call.model.parameters() if p.grad is not None]
    if not all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
        return "gradients are not finite"
    error = max(_error(a.float(), b) for a, b in zip(found, exact, strict=True))
    if error < _BF16:
        return f"yes, {error:.0e}"
    if not made.indices:
        return f"error {error:.0e}"
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), Repeated(made):
        found = call.run()
    same = max(_error(a.float(), b) for a, b in zip(found, exact, strict=True))
    return f"error {error:.0e}: rounding changes which are the largest; with the same, {same:.0e}"


def compiled(call: Call) -> str:
    """Whether TorchDynamo takes the whole forward pass as one graph."""
    torch._dynamo.reset()
    call = call.to(torch.float32)
    found = torch._dynamo.explain(call.model)(*call.arguments, **call.keywords)
    if not found.graph_break_count:
        return "yes"
    reason = str(found.break_reasons[0].reason).splitlines()[0]
    return f"{found.graph_break_count} breaks: {reason[:80]}"


def exported(call: Call) -> str:
    """Whether torch.export writes a program that gives the same."""
    call = call.to(torch.float32)
    call.model.eval()
    bound = _Bound(call)
    with torch.no_grad():
        exact = call.run()
        program = torch.export.export(bound, tuple(bound.inputs), strict=False)
        found = tensors(program.module()(*bound.inputs))
    error = max(_error(a, b) for a, b in zip(found, exact, strict=True))
    return "yes" if error < 1e-5 else f"error {error:.0e}"


class _Bound(nn.Module):
    """A call whose tensors are the inputs; what else it was called with stays as it was."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.model = call.model
        self.leaves, self.structure = tree_flatten((call.arguments, call.keywords))
        self.places = [n for n, leaf in enumerate(self.leaves) if isinstance(leaf, Tensor)]
        self.inputs = [self.leaves[place] for place in self.places]

    def forward(self, *inputs: Tensor) -> Any:
        leaves = list(self.leaves)
        for place, value in zip(self.places, inputs, strict=True):
            leaves[place] = value
        arguments, keywords = tree_unflatten(leaves, self.structure)
        return self.model(*arguments, **keywords)


def cuda(call: Call) -> str:
    """The same on a GPU."""
    if not torch.cuda.is_available():
        return "no GPU where this was made"
    call = call.to(torch.float32)
    with torch.no_grad():
        exact = call.run()
        found = call.on("cuda").run()
    error = max(_error(a.cpu(), b) for a, b in zip(found, exact, strict=True))
    return f"yes, {error:.0e}"


SLOW: dict[str, Callable[[Call], str]] = {
    "bf16": bf16,
    "one graph": compiled,
    "torch.export": exported,
    "CUDA": cuda,
}


def measure(only: list[str] | None = None) -> list[dict[str, Any]]:
    """A row of cells per model that can be called.

    Raises:
        ValueError: there is no such model, or no call of it.
    """
    known = callable_models()
    strange = [name for name in only or () if name not in known]
    if strange:
        raise ValueError(f"no call of {', '.join(strange)}: there are {', '.join(sorted(known))}")
    cases = {name: paths for name, paths in known.items() if not only or name in only}
    shared = gradients_of_two(cases)
    rows = []
    for name, paths in sorted(cases.items()):
        begun = time.perf_counter()
        row: dict[str, Any] = {"model": name}
        row |= {column: cell(check, name, paths) for column, check in SLOW.items()}
        rows.append(row | {"DDP": shared[name]})
        print(f"{time.perf_counter() - begun:.0f} s {rows[-1]}", flush=True)
    return rows


def cell(check: Callable[[Call], str], name: str, paths: list[Path]) -> str:
    """A check of the first call that a case makes of the whole model."""
    call = first_call(name, paths)
    if call is None:
        return "its cases call parts of it"
    torch.manual_seed(0)
    try:
        return check(call)
    except Exception as error:  # whatever it is, it is the cell's reason
        return reason(error)


def _error(found: Tensor, exact: Tensor) -> float:
    difference = (found.detach() - exact.detach()).abs().max().item()
    return difference / max(exact.detach().abs().max().item(), 1e-30)
