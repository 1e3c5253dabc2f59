"""Diffusion transformer policy: official numbers, literal formulas, sampling, acting, faults."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from surform.hub.building import build_net
from surform.hub.official.dit_policy import SYSTEM
from surform.hub.official.fixture import Fixture
from surform.hub.recorded import recorded
from surform.hub.verify import find_cases, verify_case
from surform.registry import create_model
from surform.robotics.diffusion import Diffusion
from surform.robotics.dit_noise_net import DiTNoiseNet
from surform.robotics.dit_policy import DiTPolicy, masked_chunk_loss
from surform.robotics.policy import Policy
from surform.robotics.policy_net import Window
from surform.robotics.resnet_tokens import PatchTokens, ResNetTokens
from tests.robotics.literal_dit_policy import literal_noise, literal_sample, literal_schedule

GOLDEN = Path(__file__).parents[1] / "golden" / "dit_policy"
NET = {"dim": 16, "depth": 2, "heads": 2, "hidden": 24, "time_dim": 8}
SMALL = NET | {"action_dim": 3, "chunk": 4, "features": "patches", "feature_dim": 16}


def randomly(net: nn.Module) -> nn.Module:
    """Weights that all matter."""
    torch.manual_seed(0)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net.eval()


def policy(**options) -> DiTPolicy:
    return randomly(DiTPolicy(**SMALL | {"state_dim": 5} | options))


def observation(batch: int = 2, frames: int = 1, **extra) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    images = torch.randn(batch, frames, 3, 8, 8)
    return {"cam0": images, "state": torch.randn(batch, 5)} | extra


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("case", find_cases([GOLDEN]), ids=lambda path: path.stem)
def test_official_numbers(case: Path, dtype: torch.dtype):
    report = verify_case(Fixture.load(case), dtype)
    assert report.passed, report.problem or report.worst


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("tokens", [1, 5, 530])
def test_it_is_the_literal_formula(activation, tokens):
    net = randomly(DiTNoiseNet(3, 4, **NET, activation=activation)).double()
    weights = SYSTEM.to_official(dict(net.named_parameters()) | dict(net.named_buffers()), {})
    torch.manual_seed(2)
    actions = torch.randn(3, 4, 3).double().requires_grad_()
    seen = torch.randn(3, tokens, 16).double().requires_grad_()
    time = torch.tensor([0, 99, 7])
    ours = net(actions, time, seen)
    theirs = literal_noise(weights, actions, time, seen, 2, activation)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    leaves = [actions, seen, *net.parameters()]
    found = [torch.autograd.grad(y.square().sum(), leaves) for y in (ours, theirs)]
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("steps", [1, 7, 8, 100])
def test_sampling_is_the_literal_loop(steps):
    net = randomly(DiTNoiseNet(3, 4, **NET)).double()
    weights = SYSTEM.to_official(net.state_dict(), {})
    torch.manual_seed(2)
    tokens, start = torch.randn(2, 5, 16).double(), torch.randn(2, 4, 3).double()
    ours = net.sample(tokens, start, Diffusion(100), steps)
    theirs = literal_sample(weights, tokens, start, steps, 2)
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


def test_schedules():
    for steps in (1, 10, 100):
        assert torch.equal(Diffusion(steps).alphas_cumprod, literal_schedule(steps))
    assert Diffusion(100).times(8) == [84, 72, 60, 48, 36, 24, 12, 0]


def test_exact_noise_gives_the_clean_actions_back():
    diffusion = Diffusion(100)
    clean, noise = torch.rand(2, 4, 3) * 2 - 1, torch.randn(2, 4, 3)
    first = torch.full((2,), diffusion.times(50)[0])
    noisy = diffusion.add_noise(clean, noise, first)
    torch.testing.assert_close(
        diffusion.sample(lambda x, step: noise, noisy, 50), clean, rtol=0, atol=2e-3
    )


def test_exact_actions_come_back_from_any_noise():
    diffusion = Diffusion(100, "actions")
    clean = torch.rand(2, 4, 3) * 2 - 1
    start = 5 * torch.randn(2, 4, 3)
    for count in (1, 8, 100):
        assert torch.equal(diffusion.sample(lambda x, step: clean, start, count), clean)


@pytest.mark.parametrize("count", [1, 8, 50])
def test_noise_and_actions_are_two_words_for_one_estimate(count):
    """x = signal * actions + noise_share * noise: either says the other."""
    noisy = Diffusion(100)
    shares = noisy.table(count)

    def actions(x: torch.Tensor, step: int) -> torch.Tensor:
        return 0.9 * torch.tanh(x.flip(1) + step)  # inside [-1, 1]: nothing is clipped

    def noise(x: torch.Tensor, step: int) -> torch.Tensor:
        return (x - shares[step][1] * actions(x, step)) / shares[step][0]

    torch.manual_seed(0)
    start = torch.randn(2, 4, 3).double()
    torch.testing.assert_close(
        Diffusion(100, "actions").sample(actions, start, count), noisy.sample(noise, start, count)
    )


def test_the_loss_asks_for_what_is_predicted():
    seen, noise = observation(), torch.randn(2, 4, 3)
    actions, time = torch.rand(2, 4, 3) * 2 - 1, torch.tensor([3, 90])
    for predicts, target in (("noise", noise), ("actions", actions)):
        net = policy(predicts=predicts)
        found = net(seen, net.diffusion.add_noise(actions, noise, time), time)
        loss = net.loss(seen, actions, noise=noise, time=time)
        torch.testing.assert_close(loss, (found - target).square().sum(1).mean())
    with pytest.raises(ValueError, match=r"predicts is 'action', but must be one of .*'actions'"):
        policy(predicts="action")


def test_untrained_networks_say_nothing():
    net = DiTPolicy(**SMALL, state_dim=5)
    out = net(observation(), torch.randn(2, 4, 3), torch.tensor([1, 2]))
    assert out.abs().max() == 0
    layer = net.noise_net.decoder[0]
    x = torch.randn(2, 4, 16)
    assert torch.equal(layer(x, layer.modulation(torch.randn(2, 16))), x)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 5),
        ({"state_as": "pad"}, 4),
        ({"state_dim": None}, 4),
        ({"frames": 3}, 13),
        ({"frames": 3, "early_fusion": True}, 5),
        ({"cameras": ("cam0", "wrist")}, 9),
        ({"cameras": ("cam0", "wrist"), "shared_features": True}, 9),
        ({"cameras": ()}, 1),
        ({"feature_dim": 6, "token_norm": "layer"}, 5),
        ({"token_norm": "batch"}, 5),
    ],
)
def test_every_way_to_make_tokens(options, count):
    net = policy(**options)
    seen = observation(frames=options.get("frames", 1))
    seen["wrist"] = torch.randn(2, 3, 8, 8)
    assert net.tokens(seen).shape == (2, count, 16)
    assert net.sample(seen).shape == (2, 4, 3)
    shared = options.get("shared_features", False)
    assert len(net.tokens.features) == (1 if shared else len(net.cameras))


def test_frames_lie_side_by_side_in_the_channels():
    net = policy(frames=2, early_fusion=True, state_dim=None)
    seen = observation(frames=2)
    whole = torch.cat((seen["cam0"][:, 0], seen["cam0"][:, 1]), 1)
    wanted = net.tokens.features[0].conv(whole).flatten(2).transpose(1, 2)
    torch.testing.assert_close(net.tokens(seen), wanted)


def test_tokens_come_in_the_order_of_cameras_frames_and_places():
    net = policy(cameras=("b", "a"), frames=2)
    seen = {"a": torch.randn(2, 2, 3, 8, 8), "b": torch.randn(2, 2, 3, 8, 8)}
    seen["state"] = torch.randn(2, 5)
    b, a = (each.conv for each in net.tokens.features)
    parts = [b(seen["b"][:, 0]), b(seen["b"][:, 1]), a(seen["a"][:, 0]), a(seen["a"][:, 1])]
    wanted = [part.flatten(2).transpose(1, 2) for part in parts]
    wanted.append(net.tokens.state(seen["state"])[:, None])
    torch.testing.assert_close(net.tokens(seen), torch.cat(wanted, 1))


def test_instructions_act_through_film():
    torch.manual_seed(0)
    net = ResNetTokens(26, language_dim=7).eval()
    plain = ResNetTokens(26).eval()
    plain.load_state_dict(net.state_dict(), strict=False)
    images, told = torch.randn(1, 3, 32, 32), torch.randn(1, 7)
    assert net.width == 2048
    torch.testing.assert_close(net(images, told), plain(images))  # it begins without effect
    nn.init.normal_(net.film.weight, std=0.1)
    assert not torch.allclose(net(images, told), net(images, told + 1))
    torch.testing.assert_close(net(images, torch.zeros(1, 7)), plain(images))


def test_the_loss_sums_over_the_chunk_and_skips_padding():
    estimate, noise = torch.zeros(2, 4, 3), torch.ones(2, 4, 3)
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]]).bool()
    assert masked_chunk_loss(estimate, noise) == 4
    assert masked_chunk_loss(estimate, noise, mask) == 3
    assert masked_chunk_loss(estimate, noise, mask[..., None].expand(-1, -1, 3)) == 3
    net, seen, actions = policy(), observation(), torch.rand(2, 4, 3)
    fixed = {"noise": torch.randn(2, 4, 3), "time": torch.tensor([3, 50])}
    one = net.loss(seen, actions, mask, **fixed)
    actions[0, 2:] = 0.123  # padding
    other = net.loss(seen, actions, mask, **fixed)
    assert one.isfinite()
    assert other != one  # tokens of padding are seen by the others, as published


def test_training_learns_a_constant_action():
    torch.manual_seed(0)
    wide = {"dim": 32, "heads": 2, "hidden": 64, "time_dim": 32, "depth": 2}
    net = DiTPolicy(3, 4, (), state_dim=5, dropout=0.0, state_dropout=0.0, **wide)
    target = torch.tensor([0.5, -0.5, 0.2]).expand(64, 4, 3)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    seen = {"state": torch.randn(64, 5)}
    for _ in range(200):
        optimizer.zero_grad()
        net.loss(seen, target).backward()
        optimizer.step()
    assert all(p.grad.abs().max() > 0 for p in net.parameters())
    found = net.eval().sample(seen)
    assert (found - target).abs().mean() < 0.1


def test_dropout_acts_in_training_only():
    net = policy(dropout=0.3, token_dropout=0.3)
    call = (observation(), torch.randn(2, 4, 3), torch.tensor([1, 2]))
    assert torch.equal(net(*call), net(*call))
    net.train()
    assert not torch.equal(net(*call), net(*call))


def test_acting_remembers_frames_and_speaks_in_units():
    net = policy(frames=3)
    model = Policy(net)
    model.action.fit(torch.tensor([1.0, 2, 3]), torch.full((3,), 2.0))
    frames = torch.randn(4, 2, 3, 8, 8)
    state, memory = torch.randn(2, 5), model.start(2)
    for frame in frames:
        torch.manual_seed(3)
        actions, memory = model.act({"cam0": frame, "state": state}, memory)
    torch.manual_seed(3)
    direct = net.sample({"cam0": frames[1:].transpose(0, 1), "state": state})
    torch.testing.assert_close(actions, direct * 2 + torch.tensor([1.0, 2, 3]))
    _, first = model.act({"cam0": frames[0], "state": state}, model.start(2))
    assert torch.equal(first["cam0"], frames[0][:, None].expand(-1, 3, -1, -1, -1))


def test_sampling_compiles_as_one_program():
    net, seen, start = policy(depth=1, sampling_steps=3), observation(), torch.randn(2, 4, 3)
    compiled = torch.compile(net.sample, fullgraph=True, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(seen, start), net.sample(seen, start))


def test_half_precision():
    net, seen = policy(), observation()
    with torch.autocast("cpu", torch.bfloat16):
        loss = net.loss(seen, torch.rand(2, 4, 3))
    loss.backward()
    assert loss.isfinite()


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "dim is 16, but must be a multiple of heads = 3"),
        ({"time_dim": 7}, "time_dim is 7, but must be even"),
        ({"time_dim": 2}, "time_dim is 2, but must be a whole number >= 4"),
        ({"sampling_steps": 101}, "sampling_steps is 101, but there are 100 steps in training"),
        ({"features": "resnet19"}, "features is 'resnet19', but must be one of"),
        ({"cameras": "cam0"}, "cameras is 'cam0', but must be a list of different names"),
        ({"cameras": ("state",)}, "a camera cannot be called 'state'"),
        ({"cameras": (), "state_dim": None}, "there is nothing to observe"),
        ({"language_dim": 4}, "only cameras with a ResNet as features are told"),
        ({"activation": "glu"}, "activation is 'glu', but must be one of"),
        ({"chunk": 0}, "chunk is 0, but must be a whole number >= 1"),
        ({"token_norm": "group"}, "token_norm is 'group'"),
    ],
)
def test_policies_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        DiTPolicy(**SMALL | {"state_dim": 5} | options)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("seen", "message"),
    [
        ({"cam0": None}, "the observation lacks cam0; it has state"),
        ({"state": None}, "the observation lacks state; it has cam0"),
        ({"cam0": torch.zeros(2, 2, 3, 8, 8)}, "frames is 1"),
        ({"cam0": torch.zeros(2, 1, 8, 8)}, "images of cam0 have shape"),
        ({"cam0": torch.zeros(2, 3, 8, 8).byte()}, "must be normalised floats"),
        ({"cam0": torch.zeros(2, 3, 9, 8)}, "patch_size = 4 must divide both sides"),
        ({"state": torch.zeros(2, 4)}, "state_dim is 5"),
        ({"state": torch.zeros(3, 5)}, r"observations have different batches: \[2, 3, 3\]"),
    ],
)
def test_observations_that_are_refused(seen, message):
    given = {name: value for name, value in (observation() | seen).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        policy().sample(given)


@pytest.mark.fault
def test_actions_that_are_refused():
    net, seen, actions = policy(), observation(), torch.zeros(2, 4, 3)
    with pytest.raises(ValueError, match="chunks of 4 actions of 3 numbers"):
        net.loss(seen, torch.zeros(2, 5, 3))
    with pytest.raises(ValueError, match=r"the mask is torch\.float32"):
        net.loss(seen, actions, torch.ones(2, 4))
    with pytest.raises(ValueError, match="one for each of the 2 chunks"):
        net(seen, actions, torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match="3 chunks of actions for the tokens of 2"):
        net(seen, torch.zeros(3, 4, 3), torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match="3 chunks of actions for the tokens of 2"):
        net.sample(seen, torch.zeros(3, 4, 3))
    with pytest.raises(ValueError, match=r"noise of shape \(1, 4, 3\)"):
        net.loss(seen, actions, noise=torch.zeros(1, 4, 3))
    with pytest.raises(ValueError, match=r"target has shape \(1, 4, 3\), but must be \(2, 4, 3\)"):
        masked_chunk_loss(actions, torch.zeros(1, 4, 3))
    for time in (-1, 100):
        with pytest.raises(ValueError, match=f"a time is {time}, but must be 0 to 99"):
            net.loss(seen, actions, time=torch.tensor([3, time]))
    actions[1, 3, 0] = 1.5
    with pytest.raises(ValueError, match=r"an action is 1\.5, but must lie in \[-1, 1\]"):
        net.loss(seen, actions)
    padding = torch.ones(2, 4).bool()
    padding[1, 3] = False
    assert net.loss(seen, actions, padding).isfinite()


@pytest.mark.fault
def test_instructions_that_nobody_hears():
    images, told = torch.zeros(1, 3, 32, 32), torch.zeros(1, 7)
    with pytest.raises(ValueError, match="language is given, but language_dim is None"):
        ResNetTokens(18)(images, told)
    with pytest.raises(ValueError, match="language is missing, but language_dim is 7"):
        ResNetTokens(18, language_dim=7)(images)
    with pytest.raises(ValueError, match="patches take no instruction"):
        PatchTokens(8)(images, told)


@pytest.mark.fault
def test_images_that_are_too_small():
    with pytest.raises(ValueError, match="a ResNet needs at least 32 x 32 pixels"):
        ResNetTokens(18)(torch.zeros(1, 3, 16, 64))


@pytest.mark.parametrize("predicts", ["noise", "actions"])
def test_the_u_net_is_asked_for_what_it_predicts_and_saved_with_it(predicts):
    sizes = {"chunk": 4, "state_dim": 5, "dim": 8, "unet_channels": (8, 16), "unet_time_dim": 8}
    net = randomly(create_model("unet_policy", action_dim=3, **sizes, predicts=predicts))
    clean, all_count = torch.rand(2, 4, 3) * 2 - 1, torch.ones(2, 4, dtype=torch.bool)
    seen = {"state": torch.randn(2, 1, 5)}
    window = Window(seen, clean, all_count, clean[:, :0], all_count[:, :1])
    torch.manual_seed(3)
    loss = net.learn(window)
    torch.manual_seed(3)
    noise, time = torch.randn_like(clean), torch.randint(100, (2,))
    found = net(net.at_once(seen), net.diffusion.add_noise(clean, noise, time), time)
    target = {"noise": noise, "actions": clean}[predicts]
    torch.testing.assert_close(loss, (found - target).square().mean())
    again = build_net(recorded(net), "a saved model")
    again.load_state_dict(net.state_dict())
    start = torch.randn(2, 4, 3)
    assert torch.equal(again.eval().answer(window, start), net.answer(window, start))
