"""Networks that decide in context: keys and values kept, what each row may see, wrong arguments."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from surform import create_model

KINDS = [
    ("dpt", {"backbone": "gpt2", "heads": 2}),
    ("dpt", {"backbone": "relu"}),
    ("in_context_bandit", {"backbone": "gpt2", "heads": 2, "features": 3}),
    ("in_context_bandit", {"backbone": "relu", "features": 3}),
]
A, N, B = 4, 6, 3


def built(name, given, **more):
    torch.manual_seed(0)
    net = create_model(name, actions=A, horizon=N, dim=8, depth=2, **given, **more)
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return net.double().eval()


def seen(rounds=N, seed=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    actions = torch.randint(A, (B, rounds), generator=generator)
    rewards = torch.randn(B, rounds, generator=generator, dtype=dtype)
    arms = torch.randn(B, A, 3, generator=generator, dtype=dtype)
    return arms, F.one_hot(actions, A).to(dtype), rewards


def everything(net, arms, actions, rewards):
    """Logits after 0, ..., n rounds, by one pass."""
    if net.situation == "arms":
        return net(arms, actions, rewards)
    one = rewards.new_ones(*rewards.shape, 1)
    return net(rewards.new_ones(len(rewards), 1), one, actions, one, rewards)


@pytest.mark.parametrize(("name", "given"), KINDS)
def test_round_after_round_gives_what_one_pass_gives(name, given):
    net = built(name, given)
    arms, actions, rewards = seen()
    expected = everything(net, arms, actions, rewards)
    assert expected.shape == (B, N + 1, A)
    situation = arms if net.situation == "arms" else rewards.new_ones(B, 1)
    with torch.no_grad():
        logits, memory = net.begin(situation)
        rows = [logits]
        for round_ in range(N):
            logits, memory = net.advance(actions[:, round_], rewards[:, round_], memory)
            rows.append(logits)
    torch.testing.assert_close(torch.stack(rows, 1), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("name", "given"), KINDS)
def test_a_row_sees_the_rounds_before_it_and_no_others(name, given):
    net = built(name, given)
    arms, actions, rewards = seen()
    rewards.requires_grad_()
    rows = everything(net, arms, actions, rewards)
    for row in range(N + 1):
        (grad,) = torch.autograd.grad(rows[:, row].sin().sum(), rewards, retain_graph=True)
        assert grad[:, :row].ne(0).all()
        assert not grad[:, row:].any()


@pytest.mark.parametrize(("name", "given"), KINDS)
def test_worlds_of_a_batch_do_not_meet(name, given):
    net = built(name, given)
    arms, actions, rewards = seen()
    alone = everything(net, arms[1:2], actions[1:2], rewards[1:2])
    torch.testing.assert_close(everything(net, arms, actions, rewards)[1:2], alone)


@pytest.mark.parametrize(("name", "given"), KINDS)
def test_half_precision_stays_close(name, given):
    net = built(name, given)
    exact = everything(net, *seen())
    inputs = (x.bfloat16() for x in seen())
    found = everything(net.bfloat16(), *inputs)
    assert found.dtype == torch.bfloat16
    assert (found.double() - exact).abs().mean() < 0.15 * exact.abs().mean()


@pytest.mark.parametrize(("name", "given"), KINDS)
def test_compiles_in_one_graph(name, given):
    torch.compiler.reset()
    net = built(name, given)
    expected = everything(net, *seen())
    net.compile(fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(everything(net, *seen()), expected)


@pytest.mark.parametrize(("name", "given"), KINDS[::3])
def test_exports(name, given):
    net = built(name, given)
    arms, actions, rewards = seen()
    one = rewards.new_ones(*rewards.shape, 1)
    inputs = (arms, actions, rewards)
    if net.situation != "arms":
        inputs = (one[:, 0], one, actions, one, rewards)
    program = torch.export.export(net, inputs)
    torch.testing.assert_close(program.module()(*inputs), net(*inputs))


def test_dropout_acts_in_training_only():
    net = built("dpt", {"heads": 2}, dropout=0.3)
    given = seen()
    assert torch.equal(everything(net, *given), everything(net, *given))
    net.train()
    assert not torch.equal(everything(net, *given), everything(net, *given))


def test_published_sizes():
    """The table of parameters of the papers' settings, without the unused table of words."""
    published = {"actions": 10, "features": 5, "horizon": 200, "dim": 32, "depth": 8}
    with torch.device("meta"):
        relu = create_model("in_context_bandit", **published)
        gpt2 = create_model("in_context_bandit", **published, backbone="gpt2", heads=4)
    count = lambda net: sum(p.numel() for p in net.parameters())  # noqa: E731
    assert (count(relu), count(gpt2)) == (70_602, 129_802)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"actions": 0}, "actions is 0"),
        ({"dim": 10, "heads": 3}, "multiple of heads = 3"),
        ({"backbone": "relu", "heads": 2}, "the relu backbone has one head"),
        ({"backbone": "relu", "dropout": 0.1}, "the relu backbone has none"),
        ({"backbone": "gpt3"}, "backbone is 'gpt3'"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_wrong_arguments(given, message):
    with pytest.raises(ValueError, match=message):
        create_model("dpt", **{"actions": 3, "dim": 8} | given)


@pytest.mark.fault
def test_wrong_shapes_are_named():
    arms, actions, rewards = seen()
    net = built("in_context_bandit", {"features": 3})
    with pytest.raises(ValueError, match=r"arms have the shape \(3, 4, 2\), but must be"):
        net(arms[..., :2], actions, rewards)
    with pytest.raises(ValueError, match=r"rewards have the shape \(3, 6, 1\)"):
        net(arms, actions, rewards.unsqueeze(-1))
    with pytest.raises(ValueError, match="7 rounds, but the network has a horizon of 6"):
        net(*seen(N + 1))
    net = built("dpt", {})
    one = rewards.new_ones(B, N, 1)
    with pytest.raises(ValueError, match=r"query has the shape \(3, 2\)"):
        net(rewards.new_ones(B, 2), one, actions, one, rewards)
    with pytest.raises(ValueError, match="7 transitions, but the network has a horizon of 6"):
        everything(net, *seen(N + 1))


@pytest.mark.fault
def test_rounds_beyond_the_room():
    net = built("dpt", {})
    _, actions, rewards = seen()
    _, memory = net.begin(rewards.new_ones(B, 1), rounds=1)
    net.advance(actions[:, 0], rewards[:, 0], memory)
    with pytest.raises(ValueError, match="room for 2 tokens, but 3 are needed"):
        net.advance(actions[:, 0], rewards[:, 0], memory)
    with pytest.raises(ValueError, match="tokens are asked for, but the network has 28 positions"):
        net.begin(rewards.new_ones(B, 1), rounds=100)
