"""Triton kernels in Triton's interpreter, in a process of its own: it is chosen at import."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

SCRIPT = """
import torch
from surform import attention

# uninitialised memory becomes NaN: whatever a kernel forgets to write shows up
torch.utils.deterministic.fill_uninitialized_memory = True
torch.use_deterministic_algorithms(True)

def run(name, leaves, cotangent, **options):
    q, k, v, wk, bk, wv, bv, *x = leaves
    with attention.use(normalized_linear=name):
        out = attention.normalized_linear(
            *(t.transpose(1, 2) for t in (q, k, v)), norm_k=(wk, bk), norm_v=(wv, bv), eps=1e-2,
            coordinates=x[0] if x else None, **options,
        )
    return out.detach(), *torch.autograd.grad(out, leaves, cotangent)

SIZES = [(2, 3, 70, 8, 6, 2), (1, 2, 33, 16, 16, 0), (2, 2, 1, 4, 7, 1)]

for seed, (b, h, n, d, e, p) in enumerate(SIZES):
    torch.manual_seed(seed)
    sizes = [(b, n, h, d), (b, n, h, d), (b, n, h, e), (h, d), (h, d), (h, e), (h, e)]
    sizes += [(b, n, p)] if p else []
    leaves = [torch.randn(size, requires_grad=True) for size in sizes]
    mask = torch.rand(b, n) > 0.3
    dropout = (torch.rand(b, h, p + d, p + e) > 0.5) * 2.0
    whole = {"mask": mask[:1], "normalizer": "none", "score_dropout": dropout}
    cotangent = torch.randn(b, h, n, p + e)
    for options in ({}, {"mask": mask}, whole):
        expected = run("reference", leaves, cotangent, **options)
        for ours, theirs in zip(run("triton", leaves, cotangent, **options), expected):
            scale = max(1.0, theirs.abs().max().item())
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4 * scale)
print("all equal")
"""


@pytest.mark.skipif(not find_spec("triton"), reason="triton is not installed")
def test_kernels_equal_the_reference_in_the_interpreter():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "all equal", done.stderr
