"""ListOps as data: sequences of tokens whose class is the digit that they evaluate to."""

from __future__ import annotations

import random

import torch

from surform.data.solvers.checks import check_at_least
from surform.data.solvers.listops_trees import draw_tree, evaluate, text_of, tokens_of
from surform.data.solvers.samples import Axis, Field, Samples, Solution

__all__ = ["listops"]

BATCH = 256
_ATTEMPTS = 100_000  # trees drawn for one sample; most are single digits


def listops(
    samples: Samples,
    *,
    min_length: int = 500,
    max_length: int = 2000,
    max_depth: int = 10,
    max_args: int = 10,
) -> Solution:
    """Nested MIN, MAX, MED and SUM-modulo-10 of digits, with the digit they evaluate to.

    Trees are those of Long Range Arena's generator; lengths are strictly between the two. Token
    numbers are 1 to 15, for 0 ... 9, [MIN, [MAX, [MED, [SM and ], and 0 behind the end. Unlike the
    official files, samples are drawn one by one and may repeat, which long ones never do.

    Args:
        min_length: sequences are longer [tokens].
        max_length: sequences are shorter [tokens].
        max_depth: levels of nested lists.
        max_args: most arguments of an operator.
    """
    check_at_least(0, min_length=min_length)
    check_at_least(1, max_depth=max_depth)
    check_at_least(2, max_args=max_args)
    if max_length < min_length + 2:
        raise ValueError(
            f"max_length is {max_length} and min_length {min_length}, but lengths lie strictly "
            "between the two"
        )
    tokens = torch.zeros(len(samples), max_length - 1, dtype=torch.uint8)
    label = torch.zeros(len(samples), dtype=torch.uint8)
    seeds = samples.integers(0, 2**62).tolist()
    for place, seed in enumerate(seeds):
        found, label[place] = _drawn(seed, min_length, max_length, max_depth, max_args)
        tokens[place, : len(found)] = torch.tensor(found, dtype=torch.uint8)
        samples.progress((place + 1) / len(seeds))
    return Solution(
        fields={
            "tokens": Field(tokens, ("token",), "number of the token, 0 behind the end"),
            "label": Field(label, (), "the digit that the sequence evaluates to"),
        },
        axes={"token": Axis(torch.arange(max_length - 1), "place in the sequence")},
    )


def _drawn(
    seed: int, min_length: int, max_length: int, max_depth: int, max_args: int
) -> tuple[list[int], int]:
    """Tokens and value of the first tree whose length fits."""
    generator = random.Random(seed)
    for _ in range(_ATTEMPTS):
        tree, length = draw_tree(generator, max_depth, max_args)
        if min_length < length < max_length:
            return tokens_of(text_of(tree)), evaluate(tree)
    raise ValueError(
        f"none of {_ATTEMPTS:,} trees of max_depth {max_depth} and max_args {max_args} has between "
        f"{min_length} and {max_length} tokens: choose other lengths"
    )
