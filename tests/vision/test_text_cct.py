"""Compact transformers for texts: padding, positions, learning, wrong input."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from surform.registry import create_model
from surform.vision.text_cct import TextCCT

SMALL = {"vocab_size": 20, "length": 8, "num_classes": 3, "word_dim": 6, "dim": 16}
KINDS = {
    "text_cct": {"kernel_size": 4},
    "text_cvt": {},
    "text_vit_lite": {"patch_size": 2},
}
EVERY = pytest.mark.parametrize("kind", KINDS)


def model(kind: str, **options) -> nn.Module:
    torch.manual_seed(0)
    return create_model(kind, **SMALL | KINDS[kind] | options)


def texts(batch: int = 5, length: int = 8) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randint(20, (batch, length))


@EVERY
@pytest.mark.parametrize("positions", ["learnable", "sine", "none"])
def test_what_the_padding_says_does_not_matter(kind, positions):
    net, words = model(kind, positions=positions).double().eval(), texts()
    mask = torch.arange(8) < torch.tensor([8, 5, 2, 1, 7])[:, None]
    other = torch.where(mask, words, (words + 7) % 20)
    torch.testing.assert_close(net(other, mask), net(words, mask))
    assert not torch.allclose(net(other), net(words))
    assert not torch.allclose(net(words, mask), net(words))
    torch.testing.assert_close(net(words, torch.ones_like(mask)), net(words))


@EVERY
def test_without_positions_padding_further_changes_nothing(kind):
    net = model(kind, positions="none").double().eval()
    words = texts()
    longer = torch.cat((words, texts()), 1)
    mask = torch.arange(16).expand(5, -1) < 8
    whole = net(longer, mask)
    if kind != "text_cct":  # whose windows reach over the end of the text
        torch.testing.assert_close(whole, net(words))
    more = torch.cat((longer, texts()), 1)
    torch.testing.assert_close(net(more, torch.arange(24).expand(5, -1) < 8), whole)


@EVERY
def test_it_learns_what_a_text_holds(kind):
    net = model(kind, attention_dropout=0.0, drop_path=0.0)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    torch.manual_seed(0)
    words = torch.randint(3, 20, (300, 8))
    labels = torch.randint(3, (300,))
    words[torch.arange(300), torch.randint(8, (300,))] = labels  # one word tells the class
    for step in range(40):
        part = slice(step % 4 * 60, step % 4 * 60 + 60)
        loss = nn.functional.cross_entropy(net(words[part]), labels[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = net.eval()(words[240:]).argmax(1)
    assert (found == labels[240:]).float().mean() > 0.9


def test_masks_go_with_the_samples_that_keep_a_branch():
    net = model("text_cct", drop_path=0.5, attention_dropout=0.0).train()
    mask = torch.arange(8) < torch.tensor([[1], [8]])
    net(texts(64), mask.repeat(32, 1)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_known_word_vectors_stay_as_they_are():
    net = TextCCT(**SMALL, freeze_words=True)
    assert not net.words.weight.requires_grad
    net(texts()).sum().backward()
    assert net.words.weight.grad is None


@pytest.mark.parametrize("kind", ["text_cct"])
def test_exports_with_masks(kind):
    net, words = model(kind).eval(), texts()
    mask = torch.arange(8).expand(5, -1) < 6
    batch = torch.export.Dim("batch", min=1, max=64)
    shapes = {"words": {0: batch}, "mask": {0: batch}}
    program = torch.export.export(net, (words, mask), dynamic_shapes=shapes)
    torch.testing.assert_close(program.module()(words[:3], mask[:3]), net(words[:3], mask[:3]))


def test_wrong_texts_and_arguments_are_named():
    net = model("text_cct")
    with pytest.raises(ValueError, match="texts have 7 words, but TextCCT was built for 8"):
        net(texts(length=7))
    with pytest.raises(ValueError, match=r"mask has shape \(5, 7\), but the words \(5, 8\)"):
        net(texts(), torch.ones(5, 7, dtype=torch.bool))
    words = texts()
    for word in (20, -1):
        words[3, 4] = word
        with pytest.raises(ValueError, match=f"texts hold the word {word}, but the vocabulary has"):
            net(words)
    with pytest.raises(ValueError, match="length = 1 leave no token"):
        model("text_cvt", length=1)
    with pytest.raises(ValueError, match="vocab_size is 0"):
        model("text_cct", vocab_size=0)
