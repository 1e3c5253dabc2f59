"""Multi-head attention, feed-forward block and post-norm layer against their formulas."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from surform import attention
from surform.layers.feed_forward import FeedForward
from surform.layers.multihead import CrossAttention, SelfAttention
from surform.layers.postnorm_encoder import EncoderLayer


def literal_heads(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Attention head by head on projected (b, n, heads * d), heads in (b, heads, n, d)."""
    found = []
    for q1, k1, v1 in zip(*(t.chunk(heads, -1) for t in (q, k, v)), strict=True):
        scores = torch.einsum("bnd,bmd->bnm", q1, k1) / q1.shape[-1] ** 0.5
        found.append(torch.softmax(scores, -1) @ v1)
    return torch.stack(found, 1)


@pytest.mark.parametrize(("dim", "heads"), [(12, 3), (10, 4)])
def test_self_attention_equals_the_definition(dim, heads):
    layer = SelfAttention(dim, heads, attention.softmax).double()
    x = torch.randn(2, 5, dim).double()
    maps = zip(layer.qkv.weight.chunk(3), layer.qkv.bias.chunk(3), strict=True)
    q, k, v = (F.linear(x, w, b) for w, b in maps)
    merged = literal_heads(q, k, v, heads).transpose(1, 2).flatten(2)
    assert merged.shape[-1] == heads * (dim // heads)
    torch.testing.assert_close(layer(x), layer.out(merged))
    out, weights = layer.forward_with_map(x)
    torch.testing.assert_close(out, layer(x))
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, heads, 5).double())
    assert weights.shape == (2, heads, 5, 5)


def test_queries_keys_and_values_may_come_without_bias():
    layer = SelfAttention(4, 2, attention.softmax, qkv_bias=False)
    assert layer.qkv.bias is None
    assert layer.out.bias is not None


def test_mixing_reads_heads_in_memory_order():
    torch.manual_seed(0)
    layer = SelfAttention(6, 2, lambda q, k, v: v, mix=True).double()
    x = torch.randn(1, 4, 6).double()
    v = F.linear(x, layer.qkv.weight[12:], layer.qkv.bias[12:])
    heads = torch.stack(v.chunk(2, -1), 1)  # (1, 2, 4, 3)
    torch.testing.assert_close(layer(x), layer.out(heads.contiguous().view(1, 4, 6)))


def test_cross_attention_equals_the_definition():
    layer = CrossAttention(12, 3, attention.softmax).double()
    x, memory = torch.randn(2, 5, 12).double(), torch.randn(2, 7, 12).double()
    k, v = layer.key_value(memory).chunk(2, -1)
    merged = literal_heads(layer.query(x), k, v, 3).transpose(1, 2).flatten(2)
    torch.testing.assert_close(layer(x, memory), layer.out(merged))


def test_options_reach_the_attention():
    layer = EncoderLayer(SelfAttention(8, 2, attention.softmax), 8, 16).double()
    x = torch.randn(1, 5, 8).double()
    alone = layer(x[:, :3])
    mask = torch.tensor([[True, True, True, False, False]])
    torch.testing.assert_close(layer(x, mask=mask)[:, :3], alone)


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_layer_equals_the_definition(activation):
    torch.manual_seed(0)
    mix = SelfAttention(8, 2, attention.softmax)
    layer = EncoderLayer(mix, 8, 20, dropout=0.3, activation=activation).double().eval()
    x = torch.randn(2, 5, 8).double()
    y = F.layer_norm(x + mix(x), (8,), layer.norm1.weight, layer.norm1.bias, 1e-5)
    function = {"gelu": F.gelu, "relu": F.relu}[activation]
    ff = layer.feed_forward
    z = F.linear(function(F.linear(y, ff.up.weight, ff.up.bias)), ff.down.weight, ff.down.bias)
    expected = F.layer_norm(y + z, (8,), layer.norm2.weight, layer.norm2.bias, 1e-5)
    torch.testing.assert_close(layer(x), expected)
    out, _ = layer.forward_with_map(x)
    torch.testing.assert_close(out, expected)
    assert not torch.equal(layer.train()(x), layer(x))  # dropout acts in training


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SelfAttention(4, 5, attention.softmax), "heads is 5, but dim = 4"),
        (lambda: CrossAttention(4, 0, attention.softmax), "heads is 0"),
        (lambda: FeedForward(4, 0), "hidden is 0"),
        (lambda: FeedForward(4, 4, dropout=1.0), "dropout is 1.0"),
        (lambda: EncoderLayer(torch.nn.Identity(), 4, 4, dropout=-1), "dropout is -1"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
