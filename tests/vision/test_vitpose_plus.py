"""ViTPose+: the literal mixture, routing, one data set's plain network, mixed batches."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from surform.registry import create_model
from surform.vision.vitpose import SIZES
from surform.vision.vitpose_plus import DATASETS
from tests.vision.literal_vitpose import literal_forward
from tests.vision.nets import crops, plus_net

MIXED = torch.tensor([2, 0, 1, 2, 0])
BATCHES = [
    pytest.param(MIXED, id="mixed"),
    pytest.param(torch.tensor([0, 0, 1, 2, 2]), id="in order"),
    pytest.param(torch.tensor([1, 1, 1, 1, 1]), id="one data set"),
]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dataset", BATCHES)
@pytest.mark.parametrize("options", [{}, {"decoder": "simple", "knowledge_dim": 7}])
def test_every_head_is_that_of_the_literal_mixture(
    options: dict[str, Any], dataset: Tensor, training: bool
):
    net = plus_net(**options).double().train(training)
    twin = copy.deepcopy(net)
    a, b = (crops(5).double().requires_grad_() for _ in range(2))
    ours, theirs = net.all_heads(a, dataset), literal_forward(twin, b, dataset)
    for found, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    for name, value in net.named_buffers():
        torch.testing.assert_close(value, twin.get_buffer(name))
    sum(maps.square().sum() for maps in ours).backward()  # type: ignore[union-attr]
    sum(maps.square().sum() for maps in theirs).backward()  # type: ignore[union-attr]
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-7, atol=1e-9)
    for name, value in net.named_parameters():
        expected = twin.get_parameter(name).grad
        assert value.grad is not None, name
        assert expected is not None
        atol = 1e-9 * (1 + expected.abs().max().item())
        torch.testing.assert_close(value.grad, expected, rtol=1e-7, atol=atol)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dataset", BATCHES)
def test_the_output_is_each_samples_own_head(dataset: Tensor, training: bool):
    net, images = plus_net().double().train(training), crops(5).double()
    heads = copy.deepcopy(net).all_heads(images, dataset)
    out = net(images, dataset)
    assert out.shape == (5, 6, 12, 8)
    for sample, number in enumerate(dataset.tolist()):
        own = heads[number][sample]
        torch.testing.assert_close(out[sample, : len(own)], own)
        assert not out[sample, len(own) :].any()
    assert net.joint_counts(dataset).tolist() == [(5, 3, 6)[n] for n in dataset.tolist()]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_merged_network_is_exactly_equal(number: int):
    net, images = plus_net().eval(), crops(3)
    plain = net.merged(number)
    assert not plain.training
    assert torch.equal(plain(images), net(images, number))
    assert torch.equal(net.merged(number, joints=2)(images), net(images, number)[:, :2])
    rebuilt = create_model("vitpose", **plain.arguments)
    rebuilt.load_state_dict(plain.state_dict())
    assert torch.equal(rebuilt.eval()(images), plain(images))


def test_a_sample_is_the_same_in_any_company():
    net, images = plus_net().double().eval(), crops(5).double()
    out = net(images, MIXED)
    for sample, number in enumerate(MIXED.tolist()):
        alone = net(images[sample : sample + 1], number)[0]
        torch.testing.assert_close(out[sample, : len(alone)], alone, rtol=1e-10, atol=1e-10)


def test_only_the_chosen_expert_and_head_are_evaluated():
    net = plus_net().eval()
    with torch.no_grad():
        for block in net.backbone.blocks:
            block.feed_forward.experts.weight[1] = torch.nan  # type: ignore[union-attr]
        net.heads[1].final.weight.fill_(torch.nan)  # type: ignore[union-attr]
    others = MIXED[MIXED != 1]
    assert net(crops(len(others)), others).isfinite().all()
    assert net(crops(), 2).isfinite().all()
    assert net(crops(), 1).isnan().all()


def test_one_head_may_serve_all_experts():
    net = plus_net(joints=(4,)).eval()
    out = net(crops(5), MIXED)
    assert out.shape == (5, 4, 12, 8)
    torch.testing.assert_close(out[1:2], net(crops(5)[1:2], 0), rtol=1e-4, atol=1e-4)
    assert torch.equal(net.merged(2)(crops()), net(crops(), 2))
    assert net.joint_counts(MIXED).tolist() == [4] * 5


def test_with_drop_path_the_expert_goes_with_its_sample():
    """All samples are alike but for their expert: each result is that of some pattern of depth."""
    net = plus_net(drop_path=0.5, depth=1, joints=(4,)).double()
    net.backbone.blocks[0].drop_path.rate = 0.5  # the first block of a network never drops
    net.heads.eval()
    images = crops(1).double().expand(12, -1, -1, -1)
    numbers = torch.arange(3).repeat(4)
    torch.manual_seed(0)
    both, kept = 0, []
    with torch.no_grad():
        out = net.backbone.train()(images, numbers.sort()[0]).flatten(1)
        block = net.backbone.blocks[0]
        x = net.backbone.patch(images[:1]).flatten(2).transpose(1, 2)
        x = x + net.backbone.positions[:, 1:] + net.backbone.positions[:, :1]
        for sample, number in enumerate(numbers.sort()[0].tolist()):
            found = []
            for a in (0, 2):
                middle = x + a * block._attend(x)  # type: ignore[operator]
                for b in (0, 2):
                    y = middle + b * block._feed(middle, number)  # type: ignore[operator]
                    found.append(net.backbone.norm(y).transpose(1, 2).flatten())
            errors = torch.stack([(f - out[sample]).abs().max() for f in found])
            assert errors.min() < 1e-9
            kept.append(int(errors.argmin()) % 2)
            both += 1
    assert 0 < sum(kept) < both


def test_a_batch_that_skips_a_block_still_differentiates_it():
    net = plus_net(drop_path=0.999).train()
    net(crops(3), torch.tensor([2, 0, 1])).square().sum().backward()
    assert all(value.grad is not None for value in net.parameters())


def test_it_compiles_to_one_graph_for_any_mixture():
    net, images = plus_net(decoder="simple", depth=1).eval(), crops(5)
    torch.compiler.reset()
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    for dataset in (MIXED, MIXED.flip(0)):
        expected = net(images, dataset)
        torch.testing.assert_close(compiled(images, dataset), expected, rtol=1e-4, atol=1e-4)
    compiled(images, MIXED).square().sum().backward()
    assert all(value.grad.isfinite().all() for value in net.parameters())


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({**SIZES["s"], "part_features": 96, "joints": (17,)}, 33_143_697),
        ({**SIZES["b"], "joints": (17,)}, 125_395_473),
        ({**SIZES["h"], "part_features": 320}, 930_917_078),
    ],
)
def test_the_published_sizes(options: dict[str, Any], count: int):
    with torch.device("meta"):
        net = create_model("vitpose_plus", **options)
    assert sum(value.numel() for value in net.parameters()) == count
    assert net.joints in ((17,), tuple(DATASETS.values()))


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"joints": (5, 3)}, r"joints \(5, 3\) must have one entry for each of the 3 experts"),
        ({"part_features": 16}, "must leave shared features of dim = 16"),
        ({"part_features": 0}, "part_features is 0"),
        ({"experts": 0}, "experts is 0"),
    ],
)
def test_impossible_arguments_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        plus_net(**options)


@pytest.mark.fault
def test_impossible_data_sets_are_refused():
    net = plus_net().eval()
    with pytest.raises(ValueError, match="dataset is 3, but must be one of 0 to 2"):
        net(crops(), 3)
    with pytest.raises(ValueError, match="dataset is -1"):
        net(crops(), torch.tensor([0, -1]))
    with pytest.raises(ValueError, match=r"shape \(3,\) and type torch.int64.*each of the 2 imag"):
        net(crops(), torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match=r"type torch\.float32"):
        net(crops(), torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match="joints is 9, but the head of data set 1 has 3"):
        net.merged(1, joints=9)
