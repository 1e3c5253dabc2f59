"""ListOps: nested operations on lists of digits, as trees, as text and as tokens.

Nangia, Bowman, "ListOps: A Diagnostic Dataset for Latent Tree Learning", 2018 (arXiv 1804.06028);
the longer form of Long Range Arena (Tay et al., 2020, arXiv 2011.04006). Official generator:
google-research/long-range-arena@cd31e5c6b8e5 lra_benchmarks/data/listops.py; the same state of
Python's generator gives the same trees.
"""

from __future__ import annotations

import random
import statistics

__all__ = ["OPERATORS", "VOCABULARY", "Tree", "draw_tree", "evaluate", "text_of", "tokens_of"]

OPERATORS = ("[MIN", "[MAX", "[MED", "[SM")
VOCABULARY = (*map(str, range(10)), *OPERATORS, "]")  # token i + 1; 0 is padding
_NESTED = 0.25  # probability that an argument is a list, above the deepest level

Tree = int | tuple[str, list["Tree"]]


def draw_tree(
    generator: random.Random, max_depth: int, max_args: int, depth: int = 1
) -> tuple[Tree, int]:
    """A digit or an operator with 2 to `max_args` arguments, and how many tokens it has."""
    nested = depth < max_depth and generator.random() <= _NESTED
    if not nested:
        return generator.choice(range(10)), 1
    found = [
        draw_tree(generator, max_depth, max_args, depth + 1)
        for _ in range(generator.randint(2, max_args))
    ]
    operator = generator.choice(OPERATORS)
    return (operator, [tree for tree, _ in found]), 2 + sum(length for _, length in found)


def evaluate(tree: Tree) -> int:
    """The digit that a tree stands for; medians are rounded down."""
    if isinstance(tree, int):
        return tree
    operator, values = tree[0], [evaluate(argument) for argument in tree[1]]
    if operator == "[MIN":
        return min(values)
    if operator == "[MAX":
        return max(values)
    if operator == "[MED":
        return int(statistics.median(values))
    return sum(values) % 10


def text_of(tree: Tree) -> str:
    """The official notation, in which brackets join an operator with one argument after another."""
    if isinstance(tree, int):
        return str(tree)
    operator, arguments = tree
    opened = "( " * (len(arguments) + 1)
    return f"{opened}{operator} {' '.join(f'{text_of(a)} )' for a in arguments)} ] )"


def tokens_of(text: str) -> list[int]:
    """Numbers of the words of a text, without its round brackets.

    Raises:
        ValueError: a word that is no digit, operator or bracket.
    """
    words = text.replace("(", " ").replace(")", " ").split()
    try:
        return [_NUMBERS[word] for word in words]
    except KeyError as error:
        raise ValueError(
            f"{error.args[0]!r} is no word of ListOps: they are {' '.join(VOCABULARY)}"
        ) from None


_NUMBERS = {word: number for number, word in enumerate(VOCABULARY, start=1)}
