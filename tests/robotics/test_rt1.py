from __future__ import annotations

import pytest
import torch

from surform import create_model, load_model
from surform.robotics.action_transformer import ActionTransformer
from surform.robotics.image_tokenizer import random_crop
from surform.robotics.policy import Policy
from surform.robotics.policy_net import Window
from tests.robotics.literal_rt1 import (
    LiteralState,
    literal_encoder,
    literal_learner,
    literal_logits,
)

SMALL = {
    "fields": (("move", 2, -1.0, 1.0), ("grip", 3)), "dim": 12, "depth": 2, "heads": 3,
    "head_dim": 5, "vocab_size": 7, "token_dim": 10, "frames": 3, "image_tokens": 2,
    "bottleneck": 6, "instruction_dim": 4, "encoder": "tf_efficientnet_b0", "image_size": 64,
}  # fmt: skip


def restless(net):
    """Every parameter and statistic of its own, so that each of them matters."""
    generator = torch.Generator().manual_seed(0)
    for name, value in net.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.is_floating_point() and "variance" not in name and "norm" not in name:
            value.add_(torch.randn(value.shape, generator=generator).to(value) * 0.03)
    return net


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return restless(create_model("rt1", **SMALL).double().eval())


def transformer(**given):
    torch.manual_seed(0)
    sizes = {
        "frames": 3, "image_tokens": 2, "action_tokens": 4, "vocab_size": 7, "token_dim": 6,
        "dim": 8, "depth": 2, "heads": 2, "head_dim": 5,
    }  # fmt: skip
    return restless(ActionTransformer(**sizes | given).double().eval())


def seen(batch=2, size=(48, 70), seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(256, (batch, 3, *size), generator=generator, dtype=torch.uint8)
    return {"image": image, "instruction": torch.randn(batch, 4, generator=generator).double()}


@pytest.mark.parametrize("size", [(64, 64), (50, 91)])
def test_the_tokenizer_computes_what_is_published(net, size):
    images = torch.rand(2, 3, *size).double()
    instruction = torch.randn(2, 4).double()
    with torch.no_grad():
        places = literal_encoder(net.tokenizer.encoder, images, instruction)
        tokens = literal_learner(net.tokenizer.learner, places)
        found = net.tokenizer(images, net.tokenizer.modulation(instruction))
    assert places.shape == (2, 4, 10)
    torch.testing.assert_close(found, tokens, rtol=1e-9, atol=1e-11)


def test_folded_batch_norms_change_nothing(net):
    folded = net.folded()
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules())
    observation = seen()
    ours, _ = folded.step(observation, folded.start(2))
    plain, _ = net.step(observation, net.start(2))
    torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-12)


def test_one_pass_gives_what_the_published_loop_gives():
    net = transformer()
    state, tokens = LiteralState(net, 2, torch.float64), None
    for step in range(5):
        new = torch.randn(2, 2, 6).double()
        tokens = new[:, None] if tokens is None else torch.cat((tokens, new[:, None]), 1)[:, -3:]
        with torch.no_grad():
            logits, chosen = state.step(new)
            found = net.last(tokens)
        torch.testing.assert_close(found, logits, rtol=1e-12, atol=1e-13, msg=f"step {step}")
        assert torch.equal(found.argmax(-1), chosen)


@pytest.mark.parametrize("given", [{}, {"depth": 1, "action_tokens": 1}, {"image_tokens": 5}])
def test_training_computes_what_is_published(given):
    net = transformer(**given)
    tokens = torch.randn(2, 3, net.image_tokens, 6).double().requires_grad_()
    slots = torch.randn(2, 3, net.action_tokens, 6).double()
    expected, found = literal_logits(net, tokens, slots), net(tokens)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)
    weights = torch.randn_like(found)
    (a,) = torch.autograd.grad((found * weights).sum(), tokens)
    (b,) = torch.autograd.grad((expected * weights).sum(), tokens)
    torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


def test_dropout_acts_in_training_only():
    tokens = torch.randn(2, 3, 2, 6).double()
    for share, alike in ((0.0, True), (0.5, False)):
        net = transformer(dropout=share)
        assert torch.allclose(net.train()(tokens), net.eval()(tokens)) == alike
        for block in net.blocks:  # of the weights, and after the linear map
            assert (block.attention.attend.dropout, block.dropout.p) == (share, share)


def test_streaming_gives_what_whole_histories_give(net):
    images = torch.randint(256, (2, 5, 3, 40, 40), dtype=torch.uint8)
    instruction = torch.randn(2, 4).double()
    memory = net.start(2)
    for step in range(5):
        given = {"image": images[:, step], "instruction": instruction}
        logits, memory = net.step(given, memory)
        window = images[:, max(0, step - 2) : step + 1]
        with torch.no_grad():
            whole = net(window, instruction)[:, -1]
        torch.testing.assert_close(logits, whole, rtol=1e-10, atol=1e-12)


def test_what_an_instruction_means_is_computed_once(net, monkeypatch):
    calls = []
    inner = net.tokenizer.modulation
    monkeypatch.setattr(net.tokenizer, "modulation", lambda x: calls.append(1) or inner(x))
    observation, memory = seen(1), net.start(1)
    for _ in range(3):
        _, memory = net.step(observation, memory)
    assert len(calls) == 1
    _, memory = net.step(observation | {"instruction": torch.ones(1, 4).double()}, memory)
    assert len(calls) == 2
    assert memory.tokens.shape == (1, 3, 2, 10)


def test_a_fresh_network_does_not_know_instructions_and_learns_them():
    torch.manual_seed(0)
    net = create_model("rt1", **SMALL | {"dropout": 0.0}).train()
    images = torch.rand(2, 2, 3, 40, 60)
    with torch.no_grad():
        torch.manual_seed(1)
        a = net(images, torch.zeros(2, 4))
        torch.manual_seed(1)
        b = net(images, torch.ones(2, 4))
    assert torch.equal(a, b)
    net(images, torch.ones(2, 4)).square().sum().backward()
    lost = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    # what all places share, the softmax over places cannot see: rounding alone is left of it
    assert not [n for n in lost if "trunk" not in n and n != "tokenizer.learner.out.bias"]
    assert net.tokenizer.encoder.film.weight.grad.abs().sum() > 0


def test_a_policy_acts_alike_after_it_was_saved(net, tmp_path):
    policy = Policy(net)
    policy.action.fit(torch.zeros(()), torch.ones(()))
    policy.save_pretrained(tmp_path / "policy")
    again = load_model(tmp_path / "policy").double()
    memory, remembered = policy.start(2), again.start(2)
    for step in range(2):
        actions, memory = policy.act(seen(seed=step), memory)
        same, remembered = again.act(seen(seed=step), remembered)
        assert actions.shape == (2, 1, 5)
        assert torch.equal(actions, same)


def test_images_keep_their_precision_under_autocast(net):
    single = create_model("rt1", **SMALL).eval()
    given = []
    single.tokenizer.encoder.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    with torch.autocast("cpu", torch.bfloat16):
        single.step({**seen(), "instruction": torch.randn(2, 4)}, single.start(2))
    assert torch.equal(given[0], seen()["image"].float() / 255)


def test_crops_move_all_alike_or_each_for_itself():
    torch.manual_seed(0)
    images = torch.rand(1, 1, 1, 32, 64).expand(4, 2, 3, 32, 64)
    moved = random_crop(images)
    assert moved.shape == images.shape
    assert all(torch.equal(moved[0], each) for each in moved)
    assert not torch.equal(moved, images)
    each = random_crop(images, per_sample=True)
    assert not torch.equal(each[0], each[1])
    assert torch.equal(each[0, 0], each[0, 1])


def test_it_compiles_without_a_break():
    net = transformer()
    compiled = torch.compile(net.last, fullgraph=True, backend="eager")
    tokens = torch.randn(1, 2, 2, 6).double()
    with torch.no_grad():
        torch.testing.assert_close(compiled(tokens), net.last(tokens))


@pytest.mark.fault
@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"encoder": "resnet50"}, "encoder is 'resnet50', but must be one of timm's"),
        ({"encoder": "tf_efficientnet_cc_b0_4e"}, "but must be one of timm's"),
        ({"image_size": 31}, "image_size is 31"),
        ({"image_tokens": -1}, "image_tokens is -1"),
        ({"head_dim": 0}, "head_dim is 0"),
        ({"frames": 0}, "frames is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_networks_that_cannot_be(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        create_model("rt1", **SMALL | given)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"image": torch.zeros(2, 40, 40, 3)}, r"must be \(batch, 3, height, width\)"),
        ({"image": torch.zeros(2, 3, 40, 40).int()}, "images are torch.int32"),
        ({"image": torch.full((2, 3, 40, 40), 255.0)}, "beyond 0 to 1: give uint8"),
        ({"image": torch.full((2, 3, 40, 40), -0.5)}, "beyond 0 to 1: give uint8"),
        ({"image": torch.full((2, 3, 40, 40), torch.nan)}, "beyond 0 to 1: give uint8"),
        ({"instruction": torch.zeros(2, 5)}, r"\(batch, instruction_dim\) = \(2, 4\)"),
        ({"instruction": torch.zeros(1, 4)}, r"instructions have shape \(1, 4\)"),
    ],
)
def test_observations_of_another_kind(net, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        net.act(seen() | change, net.start(2))


@pytest.mark.fault
def test_an_observation_that_lacks_its_camera(net):
    with pytest.raises(ValueError, match="lacks 'image'; it has instruction"):
        net.act({"instruction": torch.zeros(1, 4)}, net.start(1))


@pytest.mark.fault
def test_a_memory_of_other_episodes(net):
    with pytest.raises(ValueError, match="2 images for 3 episodes"):
        net.act(seen(), net.start(3))


@pytest.mark.fault
def test_longer_histories_than_there_are_positions(net):
    images = torch.zeros(1, 4, 3, 40, 40, dtype=torch.uint8)
    with pytest.raises(ValueError, match="there are 4 frames, but must be 1 to 3"):
        net(images, torch.zeros(1, 4).double())


@pytest.mark.fault
def test_no_history_and_no_pixels(net):
    with pytest.raises(ValueError, match="there are 0 frames, but must be 1 to 3"):
        net(torch.zeros(1, 0, 3, 40, 40, dtype=torch.uint8), torch.zeros(1, 4).double())
    with pytest.raises(ValueError, match=r"shape \(1, 1, 3, 0, 40\)"):
        net(torch.zeros(1, 1, 3, 0, 40, dtype=torch.uint8), torch.zeros(1, 4).double())


@pytest.mark.fault
def test_tokens_of_another_width():
    with pytest.raises(ValueError, match=r"must be \(batch, steps, 2, 6\)"):
        transformer()(torch.zeros(1, 2, 2, 5).double())


@pytest.fixture(scope="module")
def fed():
    torch.manual_seed(0)
    return restless(create_model("rt1", **SMALL, feed_action_tokens=True).double().eval())


def test_fed_actions_are_seen_by_what_comes_after_alone():
    net = transformer(feed=True)
    tokens, actions = torch.randn(2, 3, 2, 6).double(), torch.randint(7, (2, 3, 4))
    with torch.no_grad():
        logits = net.action_logits(tokens, actions)
        for step, place in ((0, 0), (1, 2), (2, 3)):
            other = actions.clone()
            other[:, step, place] = (other[:, step, place] + 1) % 7
            apart = (net.action_logits(tokens, other) != logits).any(-1).any(0).flatten()
            first = 4 * step + place + 1  # in the row of all tokens of actions
            assert not apart[:first].any()
            assert apart[first:].all()
        found = net.next_logits(tokens, actions[:, :2])
        chosen = torch.cat((actions[:, :2], found.argmax(-1)[:, None]), 1)
        torch.testing.assert_close(found, net.action_logits(tokens, chosen)[:, -1])


def test_fed_actions_are_remembered(fed):
    images = torch.randint(256, (2, 5, 3, 40, 40), dtype=torch.uint8)
    instruction, memory, done = torch.randn(2, 4).double(), fed.start(2), []
    for step in range(5):
        given = {"image": images[:, step], "instruction": instruction}
        logits, memory = fed.step(given, memory)
        done.append(logits.argmax(-1))
        first = max(0, step - 2)
        with torch.no_grad():
            whole = fed(images[:, first : step + 1], instruction, torch.stack(done[first:], 1))
        torch.testing.assert_close(logits, whole[:, -1], rtol=1e-10, atol=1e-12)
    assert memory.actions.shape == (2, 3, 3)


@pytest.mark.fault
def test_actions_that_are_fed_or_not(net, fed):
    images, told = torch.zeros(2, 2, 3, 40, 40), torch.zeros(2, 4).double()
    with pytest.raises(ValueError, match=r"actions are fed .* give their tokens, too"):
        fed(images, told)
    with pytest.raises(ValueError, match="actions are given, but never enter"):
        net(images, told, torch.zeros(2, 2, 3, dtype=torch.long))
    with pytest.raises(
        ValueError, match=r"actions have shape \(2, 1, 3\), but must be \(2, 2, 3\)"
    ):
        fed(images, told, torch.zeros(2, 1, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="needs to be asked for an action at every step"):
        fed.observe(seen(), fed.start(2))


def test_windows_feed_what_was_done(fed):
    images = torch.randint(256, (2, 3, 3, 40, 40), dtype=torch.uint8)
    grip = torch.eye(3)[torch.randint(3, (2, 3))].double()
    done = torch.cat((torch.rand(2, 3, 2).double() * 2 - 1, grip), -1)
    seen = torch.tensor([[False, True, True], [True, True, True]])
    window = Window(
        {"image": images, "language": torch.randn(2, 4).double()},
        done[:, 2:], torch.ones(2, 1).bool(), done[:, :2], seen,
    )  # fmt: skip
    labels = fed.actions.encode(done)
    with torch.no_grad():
        found = fed.answer(window)
        loss = fed.learn(window)
        for row, first in ((0, 1), (1, 0)):
            told = window.observation["language"][row : row + 1]
            tokens = fed._tokens(images[row : row + 1, first:], told)
            logits = fed.transformer.next_logits(tokens, labels[row : row + 1, first:2])
            torch.testing.assert_close(found[row], fed.actions.decode(logits.argmax(-1))[0][None])
        before = torch.cat((-done[:, :1, :2], done[:, :1, 2:]), -1)
        window.past = torch.cat((before, done[:, 1:2]), 1)
        assert fed.learn(window) != loss
