"""The encoder of sequences with every kind of attention: padding, pairs, precision, faults."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch

from surform.layers.self_attention import AttentionKind
from surform.registry import create_model

KINDS = get_args(AttentionKind)
OPTIONS = {"lsh": {"bucket_size": 4, "rounds": 2}, "multiresolution": {"block_size": 4}}


def net(kind: str = "softmax", **options: Any) -> Any:
    torch.manual_seed(0)
    given = {"vocab_size": 11, "length": 24, "num_classes": 3, "dim": 16, "depth": 2, "heads": 2}
    given |= {"attention": kind, "attention_options": OPTIONS.get(kind)}
    return create_model("sequence_encoder", **given | options)


@pytest.mark.parametrize("sequences", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_trains_all_weights(kind: str, sequences: int) -> None:
    model = net(kind, sequences=sequences)
    tokens = torch.randint(1, 11, (3, 2, 21) if sequences == 2 else (3, 21))
    tokens[1, ..., 9:] = 0
    logits = model(tokens)
    assert logits.shape == (3, 3)
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
    lost = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not lost


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("lsh", "multiresolution")])
def test_padding_changes_nothing(kind: str) -> None:
    model = net(kind).double().eval()
    tokens = torch.randint(1, 11, (2, 15))
    padded = torch.nn.functional.pad(tokens, (0, 6))
    with torch.no_grad():
        torch.testing.assert_close(model(padded), model(tokens))


@pytest.mark.parametrize("positions", ["learnable", "sine", "none"])
def test_order_counts_where_there_are_positions(positions: str) -> None:
    model = net(positions=positions).eval()
    tokens = torch.randint(1, 11, (1, 12))
    with torch.no_grad():
        same = torch.allclose(model(tokens), model(tokens.flip(1)), atol=1e-5)
    assert same == (positions == "none")


@pytest.mark.fault
def test_what_cannot_be_is_said() -> None:
    for message, call in (
        ("sequences have 25 tokens, but SequenceEncoder was built for at most 24", lambda: net()(
            torch.ones(1, 25, dtype=torch.int64))),
        ("hold the token 11, but the vocabulary has 0", lambda: net()(torch.tensor([[11]]))),
        (r"takes \(batch, 2, tokens\): sequences is 2", lambda: net(sequences=2)(
            torch.ones(1, 4, dtype=torch.int64))),
        ("sequences is 3, but must be one of", lambda: net(sequences=3)),
        ("attention is 'performer', but must be one of", lambda: net("performer")),
        ("delta attention has no option 'chunks': did you mean chunk_size", lambda: net(
            "delta", attention_options={"chunks": 4})),
        ("heads is 3, but must divide dim = 16", lambda: net(heads=3)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            call()
