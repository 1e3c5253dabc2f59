"""HPT: official numbers, literal formulas, heads, limits, freezing, sharing, acting, faults."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from surform.hub.official.fixture import Fixture
from surform.hub.official.hpt import SYSTEM
from surform.hub.verify import find_cases, verify_case
from surform.robotics.action_unet import ActionUNet
from surform.robotics.hpt import HPT
from surform.robotics.hpt_stem import _kept_table
from surform.robotics.limits import Limits
from tests.robotics.literal_hpt import literal_features, literal_mlp_head, literal_unet

GOLDEN = Path(__file__).parents[1] / "golden" / "hpt"
SMALL = {
    "action_dim": 3, "chunk": 4, "features": {"image": 6, "state": 5}, "tokens": 2,
    "dim": 16, "depth": 2, "heads": 4, "history": 3, "stem_hidden": (8,),
    "stem_heads": 2, "stem_head_dim": 4, "head_hidden": (12, 8), "unet_channels": (8, 16),
}  # fmt: skip
HEADS = {
    "mlp": {},
    "action_token": {"pooling": "action_token", "head_tanh": False},
    "decoder": {"head": "decoder", "pooling": "none"},
    "diffusion": {"head": "diffusion", "sampling_steps": 5, "unet_time_dim": 8},
}


def official(net: HPT) -> dict[str, torch.Tensor]:
    weights = dict(net.named_parameters()) | dict(net.named_buffers())
    return SYSTEM.to_official(weights, {"domain": "dom"})


def policy(**options) -> HPT:
    torch.manual_seed(0)
    net = HPT(**SMALL | options)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    for limits in net.limits.values():
        limits.fit(torch.randn(20, len(limits.scale)))
    return net.eval()


def observation(batch: int = 2, time: int = 3, views: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {
        "image": torch.randn(batch, time, views, 2, 6),
        "state": torch.randn(batch, time, 5),
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("case", find_cases([GOLDEN]), ids=lambda path: path.stem)
def test_official_numbers(case: Path, dtype: torch.dtype):
    report = verify_case(Fixture.load(case), dtype)
    assert report.passed, report.problem or report.worst


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("hidden", [(8,), (8, 7, 5)])
@pytest.mark.parametrize("pooling", ["action_token", "max", "last", "mean"])
def test_the_trunk_is_the_literal_formula(views, hidden, pooling):
    net = policy(pooling=pooling, stem_hidden=hidden).double()
    weights = official(net)
    seen = {name: x.double().requires_grad_() for name, x in observation(views=views).items()}
    every = literal_features(weights, seen, 4, 2)
    pooled = {
        "action_token": every[:, -4:], "max": every.amax(1), "last": every[:, -1],
        "mean": every.mean(1),
    }  # fmt: skip
    ours, theirs = net.encode(seen), pooled[pooling]
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    leaves = [*seen.values(), *net.stems.parameters(), *net.trunk.parameters()]
    found = [torch.autograd.grad(y.square().sum(), leaves) for y in (ours, theirs)]
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-11)


def same_gradients(ours, theirs, leaves):
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)
    found = [torch.autograd.grad(y.square().sum(), leaves) for y in (ours, theirs)]
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("hidden", [(9,), (9, 8, 7)])
@pytest.mark.parametrize(
    ("dropout", "norm", "tanh"), [(0.1, True, True), (0.0, False, False), (0.1, False, True)]
)
def test_the_mlp_head_is_the_literal_formula(hidden, dropout, norm, tanh):
    options = {"head_dropout": dropout, "head_norm": norm, "head_tanh": tanh}
    net = policy(head_hidden=hidden, **options).double()
    x = torch.randn(3, 16).double().requires_grad_()
    theirs = literal_mlp_head(official(net), x, dropout > 0, norm, tanh)
    same_gradients(net.head(x), theirs, [x, *net.head.parameters()])


@pytest.mark.parametrize(
    ("channels", "groups", "kernel", "count"), [((6,), 3, 5, 3), ((4, 8, 4), 2, 3, 8)]
)
def test_the_unet_is_the_literal_formula(channels, groups, kernel, count):
    options = {"unet_channels": channels, "unet_groups": groups, "unet_kernel": kernel}
    net = policy(head="diffusion", chunk=count, unet_time_dim=6, **options).double()
    x = torch.randn(2, count, 3).double().requires_grad_()
    known, time = torch.randn(2, 16).double().requires_grad_(), torch.tensor([0, 77])
    theirs = literal_unet(official(net), x, time, known, groups)
    same_gradients(net.head.net(x, time, known), theirs, [x, known, *net.head.parameters()])


@pytest.mark.parametrize("head", HEADS)
def test_every_head_learns_and_speaks_in_units(head):
    net = policy(**HEADS[head], drop_path=0.0, stem_dropout=0.0, head_dropout=0.0)
    seen, target = observation(8), torch.randn(8, 4, 3)
    found = net(seen)
    assert found.shape == (8, 4, 3)
    fixed = {}
    if head == "diffusion":
        fixed = {"noise": torch.randn(8, 4, 3), "time": torch.arange(8) * 12}
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        losses.append(net.loss(seen, target, **fixed))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]
    assert all(p.grad is not None for p in net.parameters())


def test_limits():
    limits = Limits(3)
    assert torch.equal(limits.normalize(torch.ones(2, 3)), torch.ones(2, 3))
    values = torch.tensor([[0.0, 5.0, -3.0], [4.0, 5.0, 1.0], [1.0, 5.0, -1.0]])
    limits.fit(values)
    inside = limits.normalize(values)
    assert torch.equal(inside[:, 1], torch.zeros(3))  # never varied: only moved
    assert inside[:, [0, 2]].amin() == -1
    assert inside[:, [0, 2]].amax() == 1
    torch.testing.assert_close(limits.denormalize(inside), values)


def test_it_compiles_and_exports_and_runs_on():
    net, seen = policy(), observation()
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    _kept_table.cache_clear()
    with torch.no_grad():
        exported = torch.export.export(net, (seen,)).module()
        plain = net(seen)
        assert type(plain) is torch.Tensor  # no stand-in of the export's
        torch.testing.assert_close(compiled(seen), plain)
        torch.testing.assert_close(exported(seen), plain)


def test_freezing_by_blocks():
    net = policy()

    def trained() -> list[bool]:
        return [block.norm1.weight.requires_grad for block in net.trunk.blocks]

    for count, wanted in ((1, [False, True]), (0, [True, True]), (None, [False, False])):
        net.trunk.freeze(count)
        assert trained() == wanted
    assert net.head.net[0].weight.requires_grad


def test_each_modality_has_its_stem_and_its_limits():
    net = policy(
        features={"state": 5, "prev_actions": 3},
        stem_hidden={"state": (4,), "prev_actions": (7, 6)},
        head="decoder", pooling="none", decoder_heads=3, decoder_head_dim=2,
    )  # fmt: skip
    assert net.stems["prev_actions"].net[2].weight.shape == (6, 7)
    assert net.head.queries.query.weight.shape == (6, 3)
    seen = {"state": torch.randn(2, 3, 5), "prev_actions": torch.randn(2, 3, 3)}
    found = net(seen)
    plain = policy(**net.arguments | {"normalize_state": False})
    plain.load_state_dict(net.state_dict(), strict=False)
    prepared = seen | {"state": net.limits["state"].normalize(seen["state"])}
    torch.testing.assert_close(plain(prepared), found)
    action, inside = net.limits["action"], net._seen(seen, "prev_actions")
    torch.testing.assert_close(action.denormalize(inside), seen["prev_actions"])
    assert not torch.equal(inside, seen["prev_actions"])


def test_two_robots_share_a_trunk():
    one = policy()
    other = policy(features={"state": 7}, action_dim=2)
    other.share_trunk(one.trunk)
    other({"state": torch.randn(1, 3, 7)}).sum().backward()
    assert one.trunk.blocks[0].attention.extra.grad.abs().max() > 0


def test_fewer_observations_at_random_in_training_only():
    net = policy(drop_path=0.0, stem_dropout=0.0, head_dropout=0.0)
    seen = observation()
    assert torch.equal(net(seen), net(seen))
    net.train()
    assert len({round(net(seen).sum().item(), 5) for _ in range(20)}) > 1
    net.random_history = False
    torch.testing.assert_close(net(seen), net.eval()(seen))


def test_the_latest_observations_are_those_that_are_seen(monkeypatch):
    net = policy(drop_path=0.0, stem_dropout=0.0, head_dropout=0.0)
    seen = observation()
    monkeypatch.setattr(torch, "randint", lambda *_: torch.tensor(2))
    recent = net.eval()({name: x[:, 1:] for name, x in seen.items()})
    torch.testing.assert_close(net.train()(seen), recent)


def test_an_instruction_has_no_history():
    net = policy(features={"state": 5, "language": 6}, drop_path=0.0, stem_dropout=0.0)
    told, states = torch.randn(2, 4, 6), torch.randn(2, 2, 5)
    memory = net.start(2)
    for time in range(2):
        actions, memory = net.act({"state": states[:, time], "language": told}, memory)
    first = states[:, :1]
    whole = {"state": torch.cat((first, first, states[:, 1:]), 1), "language": told[:, None]}
    torch.testing.assert_close(actions, net(whole))
    net.train()
    assert net._seen(whole, "language").shape == (2, 1, 4, 6)


def test_acting_remembers_the_last_observations():
    net, frames = policy(), observation(time=4)
    memory = net.start(2)
    for time in range(4):
        now = {name: x[:, time] for name, x in frames.items()}
        actions, memory = net.act(now, memory)
    last = {name: x[:, 1:] for name, x in frames.items()}
    torch.testing.assert_close(actions, net(last))


@pytest.mark.parametrize(("channels", "count"), [((8,), 4), ((8, 16), 4), ((8, 8, 16), 8)])
def test_unets_of_every_depth(channels, count):
    net = ActionUNet(3, 5, channels, time_dim=8)
    out = net(torch.randn(2, count, 3), torch.tensor([0, 50]), torch.randn(2, 5))
    assert out.shape == (2, count, 3)
    out.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "dim is 16, but must be a multiple of heads = 3"),
        ({"pooling": "attentive"}, "pooling is 'attentive', but must be one of"),
        ({"pooling": "none"}, "the head 'mlp' takes mean or max or last or action_token"),
        ({"head": "decoder"}, "the head 'decoder' takes none"),
        ({"head": "conv"}, "head is 'conv', but must be one of"),
        ({"features": {}}, "features is empty"),
        ({"tokens": {"image": 3}}, "tokens names image, but features names image, state"),
        ({"stem_hidden": ()}, "stem_hidden is empty"),
        ({"stem_hidden": {"image": (3,)}}, "stem_hidden names image, but features names image, st"),
        ({"features": {"prev_actions": 4}}, "prev_actions has the width 4, but actions 3"),
        ({"head": "diffusion", "chunk": 3}, "chunks have 3 actions, but the U-Net"),
        ({"head_hidden": ()}, "head_hidden is empty"),
        ({"head": "diffusion", "unet_channels": (9,)}, "must be multiples of groups = 8"),
        ({"head": "diffusion", "sampling_steps": 101}, "there are 100 steps in training"),
        ({"drop_path": 1.0}, r"drop_path is 1\.0"),
    ],
)
def test_policies_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        HPT(**SMALL | options)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("seen", "message"),
    [
        ({"state": None}, "the observation lacks state; it has image"),
        ({"state": torch.zeros(2, 3, 4)}, "state has shape"),
        ({"state": torch.zeros(2, 0, 5)}, "state has shape"),
        ({"image": torch.zeros(2, 6)}, "image has shape"),
        (
            {"image": torch.zeros(2, 3, 1, 2, 6).byte()},
            r"image is torch\.uint8, but must be floats",
        ),
        ({"image": torch.zeros(1, 3, 1, 2, 6)}, r"different batches: \{'image': 1, 'state': 2\}"),
    ],
)
def test_observations_that_are_refused(seen, message):
    given = {name: value for name, value in (observation() | seen).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        policy()(given)


@pytest.mark.fault
def test_what_else_is_refused():
    net = policy()
    with pytest.raises(ValueError, match=r"actions have shape \(2, 5, 3\)"):
        net.loss(observation(), torch.zeros(2, 5, 3))
    with pytest.raises(ValueError, match="there are 3 chunks for 2 observations"):
        net.loss(observation(), torch.zeros(3, 4, 3))
    with pytest.raises(ValueError, match="which this policy has not"):
        net(observation(), torch.zeros(2, 4, 3))
    with pytest.raises(ValueError, match=r"start has shape \(1, 4, 3\), but must be \(2, 4, 3\)"):
        policy(**HEADS["diffusion"])(observation(), torch.zeros(1, 4, 3))
    with pytest.raises(ValueError, match="the trunk has 2 to freeze"):
        net.trunk.freeze(3)
    with pytest.raises(ValueError, match="another dim or depth"):
        net.share_trunk(policy(depth=3).trunk)
    with pytest.raises(ValueError, match="not all finite"):
        net.limits["action"].fit(torch.tensor([[1.0, float("nan"), 2.0]]))
    with pytest.raises(ValueError, match=r"values have shape \(0, 3\)"):
        net.limits["action"].fit(torch.zeros(0, 3))
    with pytest.raises(ValueError, match="take a multiple of 2"):
        ActionUNet(3, 5, (8, 16))(torch.zeros(1, 3, 3), torch.zeros(1).long(), torch.zeros(1, 5))
    for known in (torch.zeros(2, 5), torch.zeros(1, 4)):
        with pytest.raises(ValueError, match=r"must be \(b, t, 3\), \(b,\) and \(b, 5\)"):
            ActionUNet(3, 5, (8,))(torch.zeros(1, 4, 3), torch.zeros(1).long(), known)
