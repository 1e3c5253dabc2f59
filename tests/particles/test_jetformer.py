"""JetFormer: its formulas, its mask, what does not change its answer, what it refuses."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from surform.particles.jetformer import JetFormer
from tests.particles.literal_jetformer import literal_forward
from tests.particles.nets import particles, small_net

NORMS = ("batch", "layer", "none")


def gradients(net, logits, x):
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2)).double()
    wanted = [*net.parameters(), x]
    found = torch.autograd.grad((logits * weights).sum(), wanted, allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for w, g in zip(wanted, found, strict=True)]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("activation", "depth"), [("relu", 2), ("silu", 1)])
def test_the_formulas(training, masked, norm, activation, depth):
    net = small_net(norm=norm, activation=activation, depth=depth, mask_padding=masked)
    net.train(training)
    x, keep = particles()
    x.requires_grad_()
    literal = literal_forward(net, x, keep if masked else None)
    ours = net(x, keep)
    torch.testing.assert_close(ours, literal, rtol=1e-10, atol=1e-12)
    for found, wanted in zip(gradients(net, ours, x), gradients(net, literal, x), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("masked", [False, True])
def test_training_moves_the_statistics_that_evaluation_uses(masked):
    net = small_net(depth=1, mask_padding=masked).train()
    x, keep = particles()
    h = torch.cat((net.cls_token.expand(len(x), -1, -1), net.embedding(x)), 1)
    kept = h[F.pad(keep, (1, 0), value=True)] if masked else h.flatten(0, 1)
    norm = net.blocks[0].norm
    mean = 0.9 * norm.running_mean + 0.1 * kept.mean(0)
    variance = 0.9 * norm.running_var + 0.1 * kept.var(0)
    net(x, keep)
    torch.testing.assert_close(norm.running_mean, mean.detach())
    torch.testing.assert_close(norm.running_var, variance.detach())
    assert norm.num_batches_tracked == 1


def test_the_order_of_particles_is_of_no_matter():
    net = small_net().eval()
    x, _ = particles()
    order = torch.randperm(x.shape[1])
    torch.testing.assert_close(net(x[:, order]), net(x))


@pytest.mark.parametrize("norm", NORMS)
def test_masked_padding_is_as_if_it_were_not_there(norm):
    net = small_net(norm=norm, mask_padding=True).eval()
    x, keep = particles()
    logits = net(x, keep)
    other = torch.where(keep[..., None], x, torch.full_like(x, 1e3))
    assert torch.equal(net(other, keep), logits)
    count = int(keep[2].sum())
    torch.testing.assert_close(net(x[2:3, :count], keep[2:3, :count]), logits[2:3])


def test_without_the_option_the_mask_changes_nothing():
    net = small_net().eval()
    x, keep = particles()
    assert torch.equal(net(x, keep), net(x))


@pytest.mark.parametrize(("particles_", "dead"), [(150, 136_806), (30, 5766)])
def test_parameters_are_the_published_ones_without_the_dead_norms(particles_, dead):
    net = JetFormer(in_channels=16, dim=64, depth=3)
    count = sum(p.numel() for p in net.parameters())
    assert count == 101_637
    assert 3 * 2 * (particles_ + 1) ** 2 == dead


@pytest.mark.slow
def test_it_exports_and_runs_in_bfloat16():
    net = small_net(mask_padding=True).float().eval()
    x, keep = (value.float() if value.is_floating_point() else value for value in particles())
    batch = torch.export.Dim("batch", min=2)
    shapes = {"x": {0: batch}, "keep": {0: batch}}
    program = torch.export.export(net, (x, keep), dynamic_shapes=shapes).module()
    torch.testing.assert_close(program(x[:3], keep[:3]), net(x[:3], keep[:3]))
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(x, keep)
    assert (rough.float() - net(x, keep)).abs().max() < 0.1


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 9}, "dim is 9, but must be a multiple of heads = 2"),
        ({"norm": "group"}, "norm is 'group', but must be one of"),
        ({"activation": "tanh"}, "activation is 'tanh', but must be one of"),
        ({"depth": 0}, "depth is 0, but must be a whole number >= 1"),
        ({"dropout": 1.0}, r"dropout is 1.0, but must lie in \[0, 1\)"),
    ],
)
def test_networks_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        small_net(**options)


@pytest.mark.fault
def test_jets_that_do_not_fit():
    net = small_net()
    x, keep = particles(features=4)
    with pytest.raises(ValueError, match=r"jets have shape \(5, 7, 4\).*in_channels is 3"):
        net(x)
    with pytest.raises(ValueError, match=r"keep has shape \(5, 6\), but jets and particles are"):
        net(x[..., :3], keep[:, :6])
