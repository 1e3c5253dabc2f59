"""A click log with planted interactions, whose true probabilities are known."""

from __future__ import annotations

from typing import Literal

import numpy as np

from surform.data.solvers.click_log import ClickLog, Effects

__all__ = ["clicks"]

# what the samples are: rows of one table
ROWS = True
BATCH = 1 << 16

_SIZES = {"segment": 24, "item": 32, "hour": 24, "device": 6, "placement": 10, "campaign": 16}
_NUMBERS = ("price", "age")
_HIDDEN = 3  # numbers that a category is known by
_SHARPNESS = 3.0  # of the choice among reasons
_BIAS = -0.7


def clicks(
    *,
    interactions: Literal["heterogeneous", "plain", "none"] = "heterogeneous",
    strength: float = 3.0,
    reasons: int = 6,
    world: int = 0,
) -> ClickLog:
    """Rows of six categories and two numbers, a click each, and the probability it had.

    Every category has hidden numbers, and all columns have main effects. With heterogeneous
    interactions a click has one of several reasons: each reason has a weight and a value, both
    linear in the hidden numbers of all columns with coefficients of its own for every column, and
    the logit has the mean of the values by the softmax of the weights: what one column is worth
    depends on all others, in another way for each. Plain interactions are the products of the
    hidden numbers of all pairs of columns, alike for all pairs.

    Args:
        interactions: what is planted beside the main effects.
        strength: of the interactions [logits].
        reasons: that a click can have.
        world: number of the world; logs of one world differ by their seed.
    """
    if not strength >= 0:
        raise ValueError(f"strength is {strength}, but must not be negative")
    if reasons < 2:
        raise ValueError(f"reasons is {reasons}, but must be at least 2")
    if world < 0:
        raise ValueError(f"world is {world}, but must be at least 0")
    return ClickLog(_SIZES, _NUMBERS, _effects(interactions, strength, reasons, world))


def _effects(interactions: str, strength: float, reasons: int, world: int) -> Effects:
    generator = np.random.default_rng([world, 0])
    columns, most = len(_SIZES), max(_SIZES.values())
    hidden = generator.standard_normal((columns, most, _HIDDEN))
    maps = generator.standard_normal((2, columns, _HIDDEN, reasons)) / (columns * _HIDDEN) ** 0.5
    weights, values = np.einsum("cvk,gckr->gcvr", hidden, maps)
    pairs = columns * (columns - 1) / 2
    planted = {
        "weights": weights * _SHARPNESS,
        "values": values * strength,
        "factors": hidden * (strength / (3 * (pairs * _HIDDEN) ** 0.5)) ** 0.5,
    }
    used = {"heterogeneous": ("weights", "values"), "plain": ("factors",), "none": ()}[interactions]
    kept = {n: a if n in used else np.zeros((columns, most, 0)) for n, a in planted.items()}
    return Effects(
        main=generator.standard_normal((columns, most)) * (0.5 / columns**0.5),
        **kept,
        numbers=np.array([-0.3, 0.2]),  # a higher price, and age
        bias=_BIAS,
    )
