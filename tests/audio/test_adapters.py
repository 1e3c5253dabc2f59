"""Adapters on transformers of the package: what they compute, what learns, what is kept."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from surform.layers.adapted import Adapted
from surform.layers.adapter_mixtures import DenseMixture, SoftMixture
from surform.layers.adapters import Bottleneck, Convpass, make_adapter
from surform.registry import create_model
from tests.audio.literal_audio import literal_soft_moa

AST: dict[str, Any] = {
    "patch_size": 8, "stride": 6, "dim": 16, "depth": 2, "heads": 4,
}  # fmt: skip
VIT: dict[str, Any] = {"dim": 16, "depth": 2, "heads": 2, "mlp_ratio": 2.0}
SOUND: dict[str, Any] = {"options": AST, "frames": 32, "mel_bins": 20, "num_classes": 3}
IMAGE: dict[str, Any] = {"options": VIT, "image_size": 16, "in_channels": 3, "num_classes": 3}
POSE: dict[str, Any] = VIT | {"joints": 4, "deconv_channels": (8, 8)}
NETS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "ast": (SOUND, (32, 20)),
    "passt": (SOUND, (32, 20)),
    "vit_lite": (IMAGE, (3, 16, 16)),
    "cvt": (IMAGE, (3, 16, 16)),
    "cct": (IMAGE | {"options": VIT | {"kernel_size": 3}}, (3, 16, 16)),
    "vitpose": ({"options": POSE, "image_size": (32, 32)}, (3, 32, 32)),
}
EVERY = pytest.mark.parametrize("base", NETS)


def adapted(base: str = "ast", **options: Any) -> Any:
    torch.manual_seed(0)
    return Adapted(base, **NETS[base][0], **{"reduction": 4, "count": 2, **options}).eval()


def inputs(base: str = "ast", batch: int = 2) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(batch, *NETS[base][1])


def stirred(net: Any) -> Any:
    torch.manual_seed(2)
    with torch.no_grad():
        for weight in net.adapters.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return net


@EVERY
@pytest.mark.parametrize("mixture", ["soft", "dense", "none"])
def test_it_begins_as_the_network_and_then_adapters_matter(base: str, mixture: str) -> None:
    net, x = adapted(base, mixture=mixture, at="both"), inputs(base)
    with torch.no_grad():
        before = net.net(x)
        plain = create_model(base, **net.net.arguments).eval()
        plain.load_state_dict(net.net.state_dict())
        torch.testing.assert_close(before, plain(x), rtol=1e-5, atol=1e-6)
        moved = (stirred(net)(x) - before).abs().max()
        assert moved > 1e-2 * before.abs().max()


@EVERY
def test_only_adapters_their_norms_and_what_follows_learn(base: str) -> None:
    net = stirred(adapted(base, at="both")).train()
    frozen = {n: p.clone() for n, p in net.state_dict().items()}
    loss = net(inputs(base, 4)).square().mean()
    loss.backward()
    moved = {n for n, p in net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    for name in moved:
        inside = ".blocks." in name
        norm = any(part.startswith(("norm", "pre_norm")) for part in name.split("."))
        assert name.startswith("adapters.") or not inside or norm, name
    assert any(n.startswith("adapters.0.") for n in moved)
    assert any(".blocks.0." in n for n in moved)
    assert any(".head." in n for n in moved)
    assert not net.net.training
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    optimizer.step()
    after = net.state_dict()
    changed = {n for n in frozen if not torch.equal(frozen[n], after[n])}
    assert changed <= set(net.trained_names())


def test_a_mixture_at_the_attention_is_added_twice_unless_asked_otherwise() -> None:
    twice, once = (stirred(adapted(double_add=value)) for value in (True, False))
    once.load_state_dict(twice.state_dict())
    x = inputs()
    block, net = twice.blocks[0], twice.net
    seen: list[Tensor] = []
    block.register_forward_hook(lambda _, given, out: seen.extend((given[0], out)))
    twice(x)
    h, out = seen
    moa = twice.adapters[0].attention(block.norm1(h))
    q, k, v = block.attention.qkv(block.norm1(h)).chunk(3, -1)
    q, k, v = (t.unflatten(-1, (4, -1)).transpose(1, 2) for t in (q, k, v))
    plain = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    h1 = h + block.attention.out(plain.transpose(1, 2).flatten(2)) + moa
    torch.testing.assert_close(out, h1 + block.feed_forward(block.norm2(h1)) + moa)
    assert not torch.allclose(once(x), twice(x))
    assert net.blocks[0] is block


def test_mixtures_are_the_formulas_written_out() -> None:
    torch.manual_seed(0)
    make = lambda: Bottleneck(6, 3)  # noqa: E731
    soft, dense = SoftMixture(make, 6, 3, 2), DenseMixture(make, 6, 3)
    for module in (soft, dense):
        for weight in module.parameters():
            nn.init.normal_(weight)
    x = torch.randn(2, 5, 6)
    logits = torch.einsum("bmd,dnp->bmnp", x, soft.slots)
    given = torch.einsum("bmd,bmnp->bnpd", x, logits.softmax(1))
    made = torch.stack([a(given[:, n]) for n, a in enumerate(soft.adapters)], 1)
    weights = logits.flatten(2).softmax(-1).unflatten(-1, (3, 2))
    torch.testing.assert_close(soft(x), torch.einsum("bnpd,bmnp->bmd", made, weights))
    every = torch.stack([a(x) for a in dense.adapters], -1)
    torch.testing.assert_close(dense(x), (every * dense.router(x).softmax(-1)[:, :, None]).sum(-1))


@pytest.mark.parametrize("slots", [1, 3])
def test_soft_mixtures_of_adapters_in_a_network_are_the_literal_formulas(slots: int) -> None:
    net, x = stirred(adapted(count=3, slots=slots)).double(), inputs().double()
    ours, theirs = net(x), literal_soft_moa(net, x)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)
    leaves = [p for p in net.parameters() if p.requires_grad]
    found = [torch.autograd.grad(y.square().sum(), leaves) for y in (ours, theirs)]
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-10)


def test_the_official_zero_start_leaves_the_maps_where_they_are() -> None:
    for legacy in (True, False):
        module = Bottleneck(6, 3, legacy_zero=legacy)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        for _ in range(5):
            optimizer.zero_grad()
            (module(torch.randn(4, 6)) - 1).square().mean().backward()
            optimizer.step()
        assert bool(module.up.weight.abs().sum() == 0) == legacy
        assert module.up.bias.abs().sum() > 0


def test_official_slips_are_options() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 9, 8)
    for kind, option in (("convpass", "apply_conv"), ("conformer", "apply_norm")):
        ignored, applied = (make_adapter(kind, 8, 4, **{option: v}).eval() for v in (False, True))
        for module in (ignored, applied):
            torch.manual_seed(1)
            for weight in module.parameters():
                nn.init.normal_(weight)
        assert not torch.allclose(ignored(x), applied(x))
    conv = Convpass(8, 4)
    assert not conv.conv.weight.requires_grad
    assert Convpass(8, 4, apply_conv=True).conv.weight.requires_grad


def test_weights_of_the_network_without_adapters_are_taken() -> None:
    net = adapted()
    plain = create_model("ast", **net.net.arguments)
    state = net.adapted(dict(plain.state_dict()), plain)
    missing = net.load_state_dict(state, strict=False).missing_keys
    assert all(name.startswith("adapters.") for name in missing)


def test_copies_have_adapters_of_their_own() -> None:
    net = stirred(adapted())
    other = copy.deepcopy(net)
    torch.testing.assert_close(other(inputs()), net(inputs()))
    with torch.no_grad():
        for weight in other.adapters.parameters():
            weight.zero_()
    assert not torch.allclose(other(inputs()), net(inputs()))


@pytest.mark.slow
def test_it_exports() -> None:
    net, x = stirred(adapted()), inputs()
    program = torch.export.export(net, (x,))
    torch.testing.assert_close(program.module()(x), net(x))


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adapter": "conformer"}, "conformer', which mixtures do not take"),
        ({"sequential": True}, "sequential is for single adapters"),
        ({"add_input": True, "mixture": "dense"}, "add_input is for single adapters"),
        ({"apply_conv": True, "adapter": "convpass"}, "would convolve over slots"),
        ({"reduction": 64}, "leaves no channel of dim = 16"),
        ({"adapter": "lora"}, "adapter is 'lora', but must be one of"),
        ({"normalize": "yes"}, "normalize is 'yes', but must be one of"),
        ({"at": "mhsa"}, "at is 'mhsa', but must be one of"),
        ({"kernel_size": 4, "adapter": "conformer", "mixture": "none"}, "kernel_size is 4"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        adapted(**options)
    assert message in str(error.value)


@pytest.mark.fault
def test_networks_without_a_place_for_adapters() -> None:
    with pytest.raises(ValueError, match="bc_mlp has no blocks with the branches"):
        Adapted("bc_mlp", {"state_dim": 2, "action_dim": 2, "chunk": 1})
    with pytest.raises(ValueError, match="ast takes no option 'widht': valid are frames"):
        Adapted("ast", {"widht": 3})
