"""Self-attention by name: every kind as a layer, what padding does, and what is refused."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from surform.layers.self_attention import AttentionKind, self_attention

KINDS = get_args(AttentionKind)
SMALL = {
    "lsh": {"bucket_size": 4, "rounds": 2},
    "multiresolution": {"block_size": 4, "blocks_per_row": 2},
    "delta": {"chunk_size": 4},
    "knn": {"top_k": 4},
}
OF_KERNELS = ({"kernel": "gmm_rks"}, {"kernel": "fastfood_rks"}, {"kernel": "fastfood_prf"})


def layer(kind: str, **options):
    torch.manual_seed(0)
    return self_attention(kind, 16, 2, options=SMALL.get(kind, {}) | options)


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_is_trained_and_evaluation_repeats(kind: str):
    module, x = layer(kind), torch.randn(2, 13, 16)
    mask = torch.arange(13) < torch.tensor([[13], [7]])
    module(x, mask=mask).sin().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    module.eval()
    with torch.no_grad():
        out = module(x, mask=mask)
        assert out.shape == x.shape
        assert torch.equal(out, module(x, mask=mask))


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_not_seen(kind: str):
    module, x = layer(kind).double().eval(), torch.randn(1, 16, 16, dtype=torch.float64)
    mask = torch.arange(16)[None] < 11
    with torch.no_grad():
        out = module(x, mask=mask)[:, :11]
        other = module(torch.where(mask[..., None], x, 7.0), mask=mask)[:, :11]
        if kind != "lsh":  # padding has buckets, too, which moves the borders of chunks
            torch.testing.assert_close(out, other)
        if kind not in ("lsh", "multiresolution"):  # as if padding were not there
            torch.testing.assert_close(out, module(x[:, :11]))


@pytest.mark.parametrize("options", OF_KERNELS, ids=lambda each: each["kernel"])
def test_kernels_of_other_features_train(options):
    module = layer("spectral", **options)
    module(torch.randn(2, 9, 16)).sin().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in module.attend.parameters())


@pytest.mark.parametrize(
    "options",
    [{"decay": True}, {"gate": True, "negative_eigenvalues": True}, {"conv_size": 0}],
    ids=str,
)
def test_the_delta_rule_in_all_its_forms_looks_back_only(options):
    module, x = layer("delta", **options).double(), torch.randn(1, 9, 16).double().requires_grad_()
    (gradient,) = torch.autograd.grad(module(x)[:, 4].sum(), x)
    assert gradient[:, :5].any(2).all()
    assert not gradient[:, 5:].any()


def test_hashing_is_drawn_anew_in_training_and_short_sequences_need_none():
    module, x = layer("lsh", full_below=8), torch.randn(1, 16, 16)
    assert not torch.equal(module(x), module(x))
    assert torch.equal(module(x[:, :8]), module(x[:, :8]))
    module.eval()
    assert torch.equal(module(x), module(x))


def test_nearest_keys_are_trained_as_softmax():
    near, full = layer("knn", top_k=2), layer("softmax")
    full.load_state_dict(near.state_dict())
    x = torch.randn(1, 9, 16)
    torch.testing.assert_close(near(x), full(x))
    assert not torch.allclose(near.eval()(x), full.eval()(x))


def test_noise_of_a_learned_kernel_is_drawn_as_often_as_asked_for():
    module, x = layer("spectral", redraw=2), torch.randn(1, 5, 16)
    drawn = [(module(x), module.attend.omega.clone())[1] for _ in range(4)]
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[2], drawn[3])
    assert not torch.equal(drawn[1], drawn[2])
    module.eval()
    module(x)
    assert torch.equal(module.attend.omega, drawn[3])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_layers_compile_and_run_in_mixed_precision(kind: str):
    module, x = layer(kind).eval(), torch.randn(1, 13, 16)
    torch.compiler.reset()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        expected = module(x)
        torch.testing.assert_close(compiled(x), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = module.train()(x)
        out.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.fault
def test_wrong_arguments_are_said_in_one_sentence():
    for message, call in (
        ("attention is 'delt', but must be one of .* did you mean 'delta'", lambda: layer("delt")),
        ("additive'?, which looks at all tokens at once", lambda: self_attention(
            "additive", 16, 2, causal=True)),
        ("reads tokens one after the other, but those of this model have no order",
         lambda: self_attention("delta", 16, 2, ordered=False)),
        ("lsh attention has no option 'buckets'", lambda: layer("lsh", buckets=3)),
        ("softmax attention has no option 'causal'", lambda: layer("softmax", causal=True)),
        ("heads is 3, but must divide dim = 16", lambda: self_attention("delta", 16, 3)),
        ("features is 8, but gmm_rks has four", lambda: layer(
            "spectral", kernel="gmm_rks", features=8)),
        ("fastfood_prf needs heads whose width is a power of two, not 6", lambda: self_attention(
            "spectral", 12, 2, options={"kernel": "fastfood_prf"})),
        ("kernel is 'rbf', but must be one of", lambda: layer("spectral", kernel="rbf")),
        ("top_k is 0", lambda: layer("knn", top_k=0)),
        ("blocks_per_row is 0", lambda: layer("multiresolution", blocks_per_row=0)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            call()
