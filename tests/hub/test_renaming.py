"""One table of beginnings, read both ways."""

from __future__ import annotations

import pytest

from surform.hub.official.renaming import Renaming

NAMES = Renaming(
    [
        ("blocks.#.attn.@.", "layers.#.attention.@."),
        ("blocks.#.", "layers.#."),
        ("a.b", "first"),
        ("mix.#.#", "#/#"),
    ]
)


@pytest.mark.parametrize(
    ("official", "ours"),
    [
        ("blocks.12.attn.to_q.weight", "layers.12.attention.to_q.weight"),
        ("blocks.3.blocks.4.bias", "layers.3.blocks.4.bias"),
        ("a.b", "first"),
        ("mix.10.2.weight", "10/2.weight"),
        ("other.blocks.3.bias", "other.blocks.3.bias"),
        ("axb", "axb"),  # a dot is a dot
        ("blocks.x.bias", "blocks.x.bias"),
    ],
)
def test_both_ways(official, ours):
    assert NAMES.ours(official) == ours
    assert NAMES.official(ours) == official


def test_the_first_pair_decides():
    assert Renaming([("a.b.", "x."), ("a.", "y.")]).ours("a.b.c") == "x.c"
    assert Renaming([("a.", "y."), ("a.b.", "x.")]).ours("a.b.c") == "y.b.c"
