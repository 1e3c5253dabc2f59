from __future__ import annotations

import math

import pytest
import torch

from surform.robotics.action_tokens import PUBLISHED_FIELDS, ActionTokens, action_loss

REACH = (("move", 2, -1.0, 1.0), ("grip", 3), ("turn", 1, 0.0, 4.0))


def test_numbers_fall_into_bins_and_choices_are_one_token():
    actions = ActionTokens(REACH, 5)
    given = torch.tensor([[-1.0, 0.49, 0, 1, 0, 4.0], [7.0, -9.0, 0, 0, 1, 1.0]])
    tokens = actions.encode(given)
    assert tokens.tolist() == [[0, 2, 1, 4], [4, 0, 2, 1]]
    assert actions.decode(tokens).tolist() == [[-1, 0, 0, 1, 0, 4], [1, -1, 0, 0, 1, 1]]


def test_decoding_is_wrong_by_a_bin_at_most():
    torch.manual_seed(0)
    actions = ActionTokens(PUBLISHED_FIELDS)
    parts = []
    for name, size, *bounds in PUBLISHED_FIELDS:
        if bounds:
            low, high = bounds
            parts.append((low + (high - low) * torch.rand(50, size), (high - low) / 255))
        else:
            assert name == "terminate_episode"
            parts.append((torch.eye(size)[torch.randint(size, (50,))], 0.0))
    given = torch.cat([part for part, _ in parts], -1)
    bins = torch.cat([torch.full((part.shape[1],), width) for part, width in parts])
    lost = given - actions.decode(actions.encode(given))
    assert bool((lost >= -1e-5).all())
    assert bool((lost <= bins + 1e-5).all())
    assert (actions.count, actions.width) == (11, 13)


def test_whole_numbers_are_numbers():
    actions = ActionTokens((("turn", 2, -0.5, 2.5),), 7)
    assert actions.encode(torch.tensor([0, 3])).tolist() == [1, 6]


def test_a_choice_that_does_not_exist_is_the_first():
    actions = ActionTokens(REACH, 5)
    assert actions.split(actions.decode(torch.tensor([0, 0, -1, 0])))["grip"].tolist() == [1, 0, 0]
    assert actions.split(actions.decode(torch.tensor([0, 0, 4, 0])))["grip"].tolist() == [1, 0, 0]


def test_fields_go_by_their_names_whatever_their_order():
    actions = ActionTokens(REACH)
    named = {"turn": torch.ones(4, 1), "grip": torch.eye(3)[:1].expand(4, 3).int()}
    named["move"] = torch.zeros(4, 2)
    back = actions.split(actions.join(named))
    assert all(torch.equal(back[name], named[name].float()) for name in named)


def test_the_loss_is_a_mean_and_the_official_one_a_multiple():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 5), torch.randint(5, (2, 3, 4))
    chances = torch.log_softmax(logits, -1).gather(-1, labels[..., None])[..., 0]
    loss = action_loss(logits, labels)
    torch.testing.assert_close(loss, -chances.mean(-1))
    official = action_loss(logits, labels, step_tokens=7)
    torch.testing.assert_close(official * (2 * 3 * 7), loss)
    ends = torch.tensor([[False, False, True]] * 2)
    assert action_loss(logits, labels, last=ends)[:, -1].tolist() == [0, 0]
    assert torch.equal(action_loss(logits, labels, last=ends)[:, :-1], loss[:, :-1])


@pytest.mark.fault
@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ((), "fields is empty"),
        ((("a", 1, 0, 1), ("a", 2)), "name 'a' twice"),
        ((("a", 1, 1, 0),), "lower first"),
        ((("a", 1, 0, math.inf),), "finite bounds"),
        ((("a", 0, 0, 1),), "the size of a is 0"),
        ((("a", 9),), "a choice among 9, but there are 8 tokens"),
        (("ab",), r"each is \(name, size, low, high\)"),
        ((("a", 1, 0),), r"each is \(name, size, low, high\)"),
    ],
)
def test_fields_that_cannot_be(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        ActionTokens(fields, 8)


@pytest.mark.fault
def test_actions_that_are_none():
    actions = ActionTokens(REACH, 5)
    with pytest.raises(ValueError, match="hold a move that is not finite"):
        actions.encode(torch.tensor([0.0, math.nan, 1, 0, 0, 1]))


@pytest.mark.fault
def test_vectors_of_another_width():
    actions = ActionTokens(REACH, 5)
    with pytest.raises(ValueError, match="have 4 numbers, but the fields move, grip, turn have 6"):
        actions.encode(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="has 4 tokens, not 3"):
        actions.decode(torch.zeros(2, 3).long())


@pytest.mark.fault
def test_a_field_that_lacks():
    with pytest.raises(ValueError, match="the action lacks 'grip'; it has move, turn"):
        ActionTokens(REACH).join({"move": torch.zeros(1, 2), "turn": torch.zeros(1, 1)})


@pytest.mark.fault
def test_labels_of_another_shape():
    with pytest.raises(ValueError, match=r"labels have shape \(2, 3\)"):
        action_loss(torch.zeros(2, 3, 4, 5), torch.zeros(2, 3).long())
    labels, last = torch.zeros(2, 3, 4).long(), torch.zeros(2, 1).bool()
    with pytest.raises(ValueError, match=r"last has shape \(2, 1\), but must be \(2, 3\)"):
        action_loss(torch.zeros(2, 3, 4, 5), labels, last=last)


@pytest.mark.fault
def test_too_few_tokens():
    with pytest.raises(ValueError, match="vocab_size is 1"):
        ActionTokens(REACH, 1)
