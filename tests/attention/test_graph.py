"""Attention along edges: kernels against the definition, lone nodes, envelopes, dropout."""

from __future__ import annotations

import pytest
import torch

from surform import attention


def call(seed=0, e=9, n=4, h=2, r=3, s=5, d=2, *, framed=True, smooth=False):
    g = torch.Generator().manual_seed(seed)

    def make(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64).requires_grad_()

    target = torch.randint(n, (e,), generator=g)
    options = {}
    if framed:
        options["frames"] = make(e, r, s)
    if smooth:
        options["envelope"] = torch.rand(e, generator=g, dtype=torch.float64).requires_grad_()
    return (make(e, h), make(e, r, h, d), target, n), options


def leaves(args, options):
    return [*args[:2], *options.values()]


def by_hand(args, options):
    """Node after node."""
    scores, v, target, nodes = args
    frames, envelope = options.get("frames"), options.get("envelope")
    out = []
    for node in range(nodes):
        own = (target == node).nonzero().flatten().tolist()
        width = v.shape[1] if frames is None else frames.shape[2]
        total = v.new_zeros(width, *v.shape[2:])
        smooth = [1.0 if envelope is None else envelope[e] for e in own]
        exponentials = [scores[e].exp() * c for e, c in zip(own, smooth, strict=True)]
        for e, c, x in zip(own, smooth, exponentials, strict=True):
            p = c * x / sum(exponentials)
            value = v[e] if frames is None else torch.einsum("rs,rhd->shd", frames[e], v[e])
            total = total + p[None, :, None] * value
        out.append(total)
    return torch.stack(out)


@pytest.mark.parametrize("framed", [True, False])
@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("e", [9, 1, 0])
def test_every_kernel_is_the_definition(framed, smooth, e):
    args, options = call(e=e, framed=framed, smooth=smooth)
    expected = by_hand(args, options)
    names = [name for name, verdict, _ in attention.explain("graph", *args, **options).rows
             if verdict != "refused"]  # fmt: skip
    assert names == (["nodes", "reference"] if framed else ["reference"])
    for name in names:
        with attention.use(graph=name):
            found = attention.graph(*args, **options)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)
        if not e:
            assert not found.any()
            continue
        ours, theirs = (
            torch.autograd.grad(x.sin().sum(), leaves(args, options), retain_graph=True)
            for x in (found, expected)
        )
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["nodes", "reference"])
def test_first_and_second_derivatives_are_right(name):
    args, options = call(e=5, n=3, smooth=True)

    def run(scores, v, frames, envelope):
        with attention.use(graph=name):
            return attention.graph(scores, v, *args[2:], frames=frames, envelope=envelope)

    inputs = leaves(args, options)
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


def test_large_scores_and_dropout():
    (scores, v, target, nodes), _ = call(framed=False)
    with torch.no_grad():
        expected = attention.graph(scores, v, target, nodes)
        shifted = attention.graph(scores + 1e4, v, target, nodes)
        torch.testing.assert_close(shifted, expected, atol=1e-9, rtol=0)
        torch.manual_seed(0)
        mean = sum(attention.graph(scores, v, target, nodes, dropout_p=0.3) for _ in range(4000))
        torch.testing.assert_close(mean / 4000, expected, atol=0.1, rtol=0)


@pytest.mark.fault
def test_wrong_arguments_are_named():
    (scores, v, target, nodes), options = call()
    with pytest.raises(ValueError, match=r"do not fit \(e, h\), \(e, r, h, d\) and \(e,\)"):
        attention.graph(scores, v[:, :, :1], target, nodes)
    with pytest.raises(ValueError, match="frames have shape"):
        attention.graph(scores, v, target, nodes, frames=options["frames"][:, :2])
    with pytest.raises(ValueError, match="envelope has shape"):
        attention.graph(scores, v, target, nodes, envelope=torch.ones(2).double())
    with pytest.raises(TypeError, match="all tensors need one dtype"):
        attention.graph(scores, v.float(), target, nodes)
