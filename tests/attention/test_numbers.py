"""16-bit numbers: a mean over many keys neither overflows nor rounds their number."""

from __future__ import annotations

import pytest
import torch

from surform import attention

KEYS = 100_000  # more than the largest number of float16, 65504


def calls(kind: str, dtype: torch.dtype, masked: bool):
    """(the value that every entry has, call), for q = k = v = 1."""
    torch.manual_seed(0)
    k = torch.ones(2, 2, KEYS, 4, dtype=dtype)
    q, mask = k[:, :, :3], torch.ones(2, KEYS, dtype=torch.bool) if masked else None
    if kind == "linear":
        return 4.0, lambda: attention.linear(q, k, k, mask=mask)
    if kind == "keysum":
        return 1.0, lambda: attention.linear(q, k, k, mask=mask, normalizer="keysum")
    if kind == "fourier":
        return 2.0, lambda: attention.fourier(q, k, k, mask=mask)
    affine = torch.zeros(2, 4, dtype=dtype), torch.ones(2, 4, dtype=dtype)
    return 4.0, lambda: attention.normalized_linear(
        q, k, k, norm_k=affine, norm_v=affine, mask=mask
    )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", ["linear", "keysum", "fourier", "normalized_linear"])
def test_many_keys_in_float16(kind, masked):
    expected, call = calls(kind, torch.float16, masked)
    names = {one.name for one in attention.kernels("linear" if kind == "keysum" else kind)}
    for name in sorted(names - {"scores", "folded", "triton"}):
        with attention.use(name):
            out = call()
        assert out.dtype == torch.float16
        torch.testing.assert_close(out, torch.full_like(out, expected), rtol=5e-3, atol=0)


@pytest.mark.parametrize("kind", ["linear", "fourier", "normalized_linear"])
def test_the_number_of_keys_is_not_rounded_to_bfloat16(kind):
    k = torch.eye(515, dtype=torch.bfloat16)[None, None, :, :1] * 512
    q, one = torch.ones_like(k), torch.ones(1, 1, dtype=torch.bfloat16)
    mask = torch.ones(1, 515, dtype=torch.bool)
    if kind == "normalized_linear":
        affine = torch.zeros_like(one), one
        outs = [
            attention.normalized_linear(q, k, k, norm_k=affine, norm_v=affine, mask=m)
            for m in (mask, None)
        ]
    else:
        outs = [getattr(attention, kind)(q, k, q, mask=m) for m in (mask, None)]
    assert torch.equal(*outs)
