"""ListOps: the official samples from the official seeds, tokens, values, lengths, faults."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from surform.data.solvers.listops import listops
from surform.data.solvers.listops_trees import (
    OPERATORS,
    VOCABULARY,
    draw_tree,
    evaluate,
    text_of,
    tokens_of,
)
from surform.data.solvers.samples import Samples

GOLDEN = Path(__file__).parents[2] / "golden" / "lra" / "listops_samples.json"
SHORT = {"min_length": 7, "max_length": 40}


@pytest.mark.parametrize(
    ("name", "seed", "bounds"), [("short", 0, (5, 60)), ("long", 1, (500, 2000))]
)
def test_the_official_seeds_give_the_official_samples(name, seed, bounds) -> None:
    expected, generator, found = json.loads(GOLDEN.read_text())[name], random.Random(seed), []
    while len(found) < len(expected):
        tree, length = draw_tree(generator, 10, 10)
        if bounds[0] < length < bounds[1]:
            found.append({"source": text_of(tree), "target": evaluate(tree), "length": length})
    assert found == expected


def value(tokens: list[int]) -> int:
    """By a stack of words, without trees."""
    stack: list = []
    for word in (VOCABULARY[token - 1] for token in tokens):
        if word != "]":
            stack.append(word if word in OPERATORS else int(word))
            continue
        arguments = []
        while not isinstance(stack[-1], str):
            arguments.append(stack.pop())
        operator, row = stack.pop(), sorted(arguments)
        middle = (row[(len(row) - 1) // 2] + row[len(row) // 2]) // 2
        results = {"[MIN": row[0], "[MAX": row[-1], "[MED": middle, "[SM": sum(row) % 10}
        stack.append(results[operator])
    (found,) = stack
    return found


def test_labels_are_what_the_tokens_evaluate_to_and_lengths_are_asked_for() -> None:
    found = listops(Samples(range(40), 0), **SHORT)
    tokens, label = (found.fields[name].values for name in ("tokens", "label"))
    for row, digit in zip(tokens.tolist(), label.tolist(), strict=True):
        length = row.index(0) if 0 in row else len(row)
        assert not any(row[length:])
        assert 7 < length < 40
        assert value(row[:length]) == digit
    assert len(set(label.tolist())) > 5


def test_a_sample_depends_on_its_number_alone() -> None:
    whole = listops(Samples(range(6), 3), **SHORT).fields["tokens"].values
    alone = listops(Samples(range(4, 5), 3), **SHORT).fields["tokens"].values
    assert torch.equal(whole[4:5], alone)
    assert len({tuple(row) for row in whole.tolist()}) > 1


@pytest.mark.fault
def test_what_cannot_be_is_said() -> None:
    for message, options in (
        ("max_length is 9 and min_length 8", {"min_length": 8, "max_length": 9}),
        ("max_args is 1", {"max_args": 1}),
        ("none of 100,000 trees of max_depth 1", {"max_depth": 1, **SHORT}),
    ):
        with pytest.raises(ValueError, match=message):
            listops(Samples(range(1), 0), **options)
    with pytest.raises(ValueError, match=r"'\[AVG' is no word of ListOps"):
        tokens_of("( ( [AVG 3 ) ] )")
