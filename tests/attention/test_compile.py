"""The dispatcher leaves nothing behind in compiled and exported programs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from surform import attention

B, H, N, D = 2, 2, 24, 4


def tokens(q, k, v, kind):
    mask = torch.arange(q.shape[2], device=q.device).expand(q.shape[0], -1) != 1
    return getattr(attention, kind)(q, k, v, mask=mask)


def axial(v, first, second):
    return attention.axial(v, (first, second))


def parallel(v, first, second):
    return attention.axial(v, (first, second), parallel=True)


def normalized(q, k, v):
    ones = q.new_ones(q.shape[1], q.shape[3])
    return attention.normalized_linear(q, k, v, norm_k=(ones, ones), norm_v=(ones, ones))


def calls():
    q, k, v = (torch.randn(B, N, H, D).transpose(1, 2).requires_grad_() for _ in range(3))
    for kind in ("softmax", "linear", "fourier"):
        yield kind, lambda q, k, v, kind=kind: tokens(q, k, v, kind), (q, k, v)
    yield "normalized_linear", normalized, (q, k, v)
    for n in (6, 64):  # 64: large enough for heads one by one
        grids = [torch.randn(1, H, n, n, requires_grad=True) for _ in range(2)]
        yield f"axial-{n}", axial, (torch.randn(1, H, n, n, 16, requires_grad=True), *grids)
    yield "axial-parallel", parallel, (torch.randn(1, H, n, n, 16, requires_grad=True), *grids)


CALLS = {name: (function, inputs) for name, function, inputs in calls()}


@pytest.mark.parametrize("name", CALLS)
def test_compiles_without_graph_break(name: str):
    function, inputs = CALLS[name]
    torch.compiler.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    out, expected = compiled(*inputs), function(*inputs)
    torch.testing.assert_close(out, expected)
    cotangent = torch.randn_like(expected)
    ours = torch.autograd.grad(out, inputs, cotangent)
    for mine, theirs in zip(ours, torch.autograd.grad(expected, inputs, cotangent), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("name", ["softmax", "linear", "fourier"])
def test_one_graph_serves_every_number_of_tokens(name: str):
    function, _ = CALLS[name]
    torch.compiler.reset()
    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend=counter)
    for n in (24, 5, 160):
        q = torch.randn(B, H, n, D)
        torch.testing.assert_close(compiled(q, q, q), function(q, q, q))
    assert counter.frame_count == 1


def test_a_request_reaches_compiled_code():
    torch.compiler.reset()
    function, inputs = CALLS["linear"]
    compiled = torch.compile(function, fullgraph=True, backend="eager")
    automatic = compiled(*inputs)
    with attention.use("reference"):
        torch.testing.assert_close(compiled(*inputs), automatic)
    with attention.use("flex"):  # not a kernel of this kind
        compiled(*inputs)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_exports_plain_torch_operations(name: str, strict: bool):
    function, inputs = CALLS[name]

    class Module(nn.Module):
        def forward(self, *tensors):
            return function(*tensors)

    shapes = None
    if "axial" not in name:
        n = torch.export.Dim("n", min=2, max=4096)
        shapes = {"tensors": tuple({2: n} for _ in inputs)}
    program = torch.export.export(Module(), inputs, dynamic_shapes=shapes, strict=strict)
    torch.testing.assert_close(program.module()(*inputs), function(*inputs))
    assert not [node for node in program.graph.nodes if "surform" in str(node.target)]
