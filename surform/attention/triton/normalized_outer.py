"""[x LN(k)]^T [x LN(v)] per head in one pass over k and v, which are normalised in registers.

Plain torch reads k, writes LN(k), and reads it again for the product, and the same for v; these
kernels read k and v once, forward and backward (which recomputes the norms from k and v).  Checked
in Triton's interpreter; timings on a GPU have not been taken.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["normalized_outer"]

_PROGRAMS = 512  # wanted in all: a few for every multiprocessor


@triton.jit
def _norm_tile(
    ptr, weight_ptr, bias_ptr, x_ptr, rows, inside, stride_row, stride_x,
    P: tl.constexpr, W: tl.constexpr, BLOCK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """Rows of [x LN(a)]: (tile, whitened a, 1 / deviation, weight), in float32, zero outside."""
    columns = tl.arange(0, BLOCK)
    own = (columns >= P) & (columns < P + W)
    valid = inside[:, None] & own[None, :]
    at = rows[:, None] * stride_row + (columns - P)[None, :]
    a = tl.load(ptr + at, mask=valid, other=0.0).to(tl.float32)
    mean = tl.sum(a, 1) / W
    centred = tl.where(valid, a - mean[:, None], 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / W + EPS)
    white = centred * scale[:, None]
    weight = tl.load(weight_ptr + columns - P, mask=own, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + columns - P, mask=own, other=0.0).to(tl.float32)
    tile = tl.where(valid, white * weight[None, :] + bias[None, :], 0.0)
    if P > 0:
        front = inside[:, None] & (columns < P)[None, :]
        x = tl.load(x_ptr + rows[:, None] * stride_x + columns[None, :], mask=front, other=0.0)
        tile += x.to(tl.float32)
    return tile, white, scale, weight


@triton.jit
def _forward_kernel(
    k_ptr, v_ptr, wk_ptr, bk_ptr, wv_ptr, bv_ptr, x_ptr, mask_ptr, out_ptr,
    k_b, k_h, k_n, v_b, v_h, v_n, x_b, x_n, mask_b, heads, tokens, chunk,
    P: tl.constexpr, D: tl.constexpr, E: tl.constexpr, DP: tl.constexpr, EP: tl.constexpr,
    HAS_MASK: tl.constexpr, EPS: tl.constexpr, STEP: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    pair, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    b, h = pair // heads, pair % heads
    total = tl.zeros((DP, EP), dtype=tl.float32)
    for start in range(part * chunk, min(part * chunk + chunk, tokens), STEP):
        rows = start + tl.arange(0, STEP).to(tl.int64)
        inside = rows < tokens
        k, _, _, _ = _norm_tile(
            k_ptr + b * k_b + h * k_h, wk_ptr + h * D, bk_ptr + h * D, x_ptr + b * x_b,
            rows, inside, k_n, x_n, P, D, DP, EPS,
        )  # fmt: skip
        v, _, _, _ = _norm_tile(
            v_ptr + b * v_b + h * v_h, wv_ptr + h * E, bv_ptr + h * E, x_ptr + b * x_b,
            rows, inside, v_n, x_n, P, E, EP, EPS,
        )  # fmt: skip
        if HAS_MASK:
            keep = tl.load(mask_ptr + b * mask_b + rows, mask=inside, other=0)
            k = tl.where((keep != 0)[:, None], k, 0.0)
        dtype = k_ptr.dtype.element_ty
        k, v = k.to(dtype), v.to(dtype)
        total += tl.dot(tl.trans(k), v, input_precision=PRECISION)
    i, j = tl.arange(0, DP)[:, None], tl.arange(0, EP)[None, :]
    size = (P + D) * (P + E)
    at = (part * tl.num_programs(0) + pair) * size + i * (P + E) + j
    tl.store(out_ptr + at, total, mask=(i < P + D) & (j < P + E))


@triton.jit
def _norm_backward(grad, white, scale, weight, P: tl.constexpr, W: tl.constexpr):
    """Gradient of the rows of a from the gradient of LN(a); columns outside a hold nonsense."""
    inner = grad * weight[None, :]
    mean = tl.sum(inner, 1) / W
    along = tl.sum(inner * white, 1) / W
    return (inner - mean[:, None] - white * along[:, None]) * scale[:, None]


@triton.jit
def _store_gradient(
    grad_ptr, x_grad_ptr, grad, white, scale, weight, rows, inside, pair, tokens,
    P: tl.constexpr, W: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the gradients of one block of tokens; its share in those of weight and bias."""
    columns = tl.arange(0, BLOCK)
    own = (columns >= P) & (columns < P + W)
    wide = pair * tokens
    value = _norm_backward(grad, white, scale, weight, P, W)
    at = (wide + rows)[:, None] * W + (columns - P)[None, :]
    tl.store(grad_ptr + at, value, mask=inside[:, None] & own[None, :])
    if P > 0:
        front = inside[:, None] & (columns < P)[None, :]
        tl.store(x_grad_ptr + (wide + rows)[:, None] * P + columns[None, :], grad, mask=front)
    return tl.sum(grad * white, 0), tl.sum(grad, 0)


@triton.jit
def _store_sums(ptr, weight, bias, slot, P: tl.constexpr, W: tl.constexpr, BLOCK: tl.constexpr):
    columns = tl.arange(0, BLOCK)
    own = (columns >= P) & (columns < P + W)
    to = ptr + slot * 2 * W + columns - P
    tl.store(to, weight, mask=own)
    tl.store(to + W, bias, mask=own)


@triton.jit
def _backward_kernel(
    grad_ptr, k_ptr, v_ptr, wk_ptr, bk_ptr, wv_ptr, bv_ptr, x_ptr, mask_ptr,
    dk_ptr, dv_ptr, dxk_ptr, dxv_ptr, sums_k_ptr, sums_v_ptr,
    k_b, k_h, k_n, v_b, v_h, v_n, x_b, x_n, mask_b, heads, tokens, chunk,
    P: tl.constexpr, D: tl.constexpr, E: tl.constexpr, DP: tl.constexpr, EP: tl.constexpr,
    HAS_MASK: tl.constexpr, EPS: tl.constexpr, STEP: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    pair, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    b, h = pair // heads, pair % heads
    slot = part * tl.num_programs(0) + pair
    i, j = tl.arange(0, DP)[:, None], tl.arange(0, EP)[None, :]
    at = pair * (P + D) * (P + E) + i * (P + E) + j
    dtype = k_ptr.dtype.element_ty
    grad = tl.load(grad_ptr + at, mask=(i < P + D) & (j < P + E), other=0.0).to(dtype)
    sum_wk, sum_bk = tl.zeros((DP,), tl.float32), tl.zeros((DP,), tl.float32)
    sum_wv, sum_bv = tl.zeros((EP,), tl.float32), tl.zeros((EP,), tl.float32)
    for start in range(part * chunk, min(part * chunk + chunk, tokens), STEP):
        rows = start + tl.arange(0, STEP).to(tl.int64)
        inside = rows < tokens
        k, k_white, k_scale, k_weight = _norm_tile(
            k_ptr + b * k_b + h * k_h, wk_ptr + h * D, bk_ptr + h * D, x_ptr + b * x_b,
            rows, inside, k_n, x_n, P, D, DP, EPS,
        )  # fmt: skip
        v, v_white, v_scale, v_weight = _norm_tile(
            v_ptr + b * v_b + h * v_h, wv_ptr + h * E, bv_ptr + h * E, x_ptr + b * x_b,
            rows, inside, v_n, x_n, P, E, EP, EPS,
        )  # fmt: skip
        dk = tl.dot(v.to(dtype), tl.trans(grad), input_precision=PRECISION)
        if HAS_MASK:
            keep = tl.load(mask_ptr + b * mask_b + rows, mask=inside, other=0) != 0
            k = tl.where(keep[:, None], k, 0.0)
            dk = tl.where(keep[:, None], dk, 0.0)
        dv = tl.dot(k.to(dtype), grad, input_precision=PRECISION)
        weight, bias = _store_gradient(
            dk_ptr, dxk_ptr, dk, k_white, k_scale, k_weight, rows, inside, pair, tokens, P, D, DP
        )
        sum_wk += weight
        sum_bk += bias
        weight, bias = _store_gradient(
            dv_ptr, dxv_ptr, dv, v_white, v_scale, v_weight, rows, inside, pair, tokens, P, E, EP
        )
        sum_wv += weight
        sum_bv += bias
    _store_sums(sums_k_ptr, sum_wk, sum_bk, slot, P, D, DP)
    _store_sums(sums_v_ptr, sum_wv, sum_bv, slot, P, E, EP)


def _tokens_per_step(k: Tensor, width: int) -> int:
    """As many as fit: compiled for compute capability 9.0, a step of 64 tokens of width 128 in
    float32 asks for 256 kB of shared memory, more than any GPU has; 16 tokens for 64 kB."""
    if k.dtype.itemsize < 4:
        return 64
    return 32 if width <= 64 else 16


def _plan(k: Tensor, v: Tensor, x: Tensor | None, mask: Tensor | None, eps: float):
    """(grid, sizes, constants): how tokens are shared out, and what both kernels are told."""
    b, h, n, d = k.shape
    e, p = v.shape[3], 0 if x is None else x.shape[2]
    step = _tokens_per_step(k, p + max(d, e))
    steps = triton.cdiv(n, step)
    parts = max(1, min(steps, _PROGRAMS // (b * h)))
    chunk = triton.cdiv(steps, parts) * step
    parts = triton.cdiv(n, chunk)
    strides = (
        *k.stride()[:3], *v.stride()[:3],
        *((0, 0) if x is None else x.stride()[:2]),
        0 if mask is None or mask.shape[0] == 1 else mask.stride(0),
    )  # fmt: skip
    constants = {
        "P": p, "D": d, "E": e,
        "DP": max(16, triton.next_power_of_2(p + d)),
        "EP": max(16, triton.next_power_of_2(p + e)),
        "HAS_MASK": mask is not None, "EPS": eps, "STEP": step,
        "PRECISION": "tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee",
        "num_warps": 8 if max(d, e) + p > 64 else 4,
    }  # fmt: skip
    return (b * h, parts), (*strides, h, n, chunk), constants


def _rows(x: Tensor) -> Tensor:
    """The kernels step through the last axis with stride 1."""
    return x if x.stride(-1) == 1 else x.contiguous()


@torch.library.custom_op("surform::normalized_outer", mutates_args=())
def _outer(
    k: Tensor, v: Tensor, wk: Tensor, bk: Tensor, wv: Tensor, bv: Tensor,
    x: Tensor | None, mask: Tensor | None, eps: float,
) -> Tensor:  # fmt: skip
    k, v = _rows(k), _rows(v)
    x = None if x is None else _rows(x)
    mask = None if mask is None else _rows(mask)
    grid, sizes, constants = _plan(k, v, x, mask, eps)
    p = constants["P"]
    shape = (grid[1], *k.shape[:2], p + k.shape[3], p + v.shape[3])
    out = torch.empty(shape, dtype=torch.float32, device=k.device)
    weights = [one.contiguous() for one in (wk, bk, wv, bv)]
    launch: Any = _forward_kernel[grid]
    launch(
        k, v, *weights, k if x is None else x, k if mask is None else mask, out, *sizes, **constants
    )
    return out.sum(0)


@_outer.register_fake
def _outer_shape(k, v, wk, bk, wv, bv, x, mask, eps):
    p = 0 if x is None else x.shape[2]
    return k.new_empty(*k.shape[:2], p + k.shape[3], p + v.shape[3], dtype=torch.float32)


@torch.library.custom_op("surform::normalized_outer_backward", mutates_args=())
def _outer_backward(
    grad: Tensor, k: Tensor, v: Tensor, wk: Tensor, bk: Tensor, wv: Tensor, bv: Tensor,
    x: Tensor | None, mask: Tensor | None, eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of k, v, (weight, bias) of k, (weight, bias) of v, and x."""
    k, v = _rows(k), _rows(v)
    x = None if x is None else _rows(x)
    mask = None if mask is None else _rows(mask)
    grid, sizes, constants = _plan(k, v, x, mask, eps)
    b, h, n, d = k.shape
    e, p = v.shape[3], constants["P"]
    dk, dv = k.new_empty(b, h, n, d), v.new_empty(b, h, n, e)
    dxk, dxv = (k.new_empty(b, h, n, p, dtype=torch.float32) for _ in range(2))
    sums_k = k.new_empty(grid[1], b, h, 2, d, dtype=torch.float32)
    sums_v = k.new_empty(grid[1], b, h, 2, e, dtype=torch.float32)
    weights = [one.contiguous() for one in (wk, bk, wv, bv)]
    launch: Any = _backward_kernel[grid]
    launch(
        grad.contiguous(), k, v, *weights, k if x is None else x, k if mask is None else mask,
        dk, dv, dxk if p else dk, dxv if p else dv, sums_k, sums_v, *sizes, **constants,
    )  # fmt: skip
    dx = (dxk + dxv).sum(1).to(k.dtype)
    return dk, dv, sums_k.sum((0, 1)).to(k.dtype), sums_v.sum((0, 1)).to(k.dtype), dx


@_outer_backward.register_fake
def _outer_backward_shape(grad, k, v, wk, bk, wv, bv, x, mask, eps):
    b, h, n, d = k.shape
    e, p = v.shape[3], 0 if x is None else x.shape[2]
    return (
        k.new_empty(b, h, n, d),
        v.new_empty(b, h, n, e),
        k.new_empty(h, 2, d),
        k.new_empty(h, 2, e),
        k.new_empty(b, n, p),
    )


def _keep(ctx, inputs, output) -> None:
    *tensors, eps = inputs
    ctx.save_for_backward(*tensors)
    ctx.eps = eps


def _backward(ctx, grad: Tensor):
    saved = ctx.saved_tensors  # under activation checkpointing they are given once
    dk, dv, norm_k, norm_v, dx = _outer_backward(grad, *saved, ctx.eps)
    dx = dx if saved[6] is not None else None
    return dk, dv, norm_k[:, 0], norm_k[:, 1], norm_v[:, 0], norm_v[:, 1], dx, None, None


_outer.register_autograd(_backward, setup_context=_keep)


def _backward_twice(ctx, *outer: Tensor):
    raise ValueError(
        "normalized_linear attention: the Triton kernel has no second derivative; run the forward "
        "pass under surform.attention.use(second_order=True)"
    )


_outer_backward.register_autograd(_backward_twice)


def normalized_outer(
    k: Tensor,
    v: Tensor,
    norm_k: tuple[Tensor, Tensor],
    norm_v: tuple[Tensor, Tensor],
    x: Tensor | None,
    mask: Tensor | None,
    eps: float,
) -> Tensor:
    """[x LN(k)]^T [x LN(v)] over the kept tokens: float32 (b, h, p + d, p + e), differentiable
    once."""
    return _outer(k, v, *norm_k, *norm_v, x, mask, eps)
