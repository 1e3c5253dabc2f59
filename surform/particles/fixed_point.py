"""Fixed-point numbers of hardware, emulated: ap_fixed<W, I> with its modes, and gradients through.

W bits, of which I stand before the binary point (the sign among them): multiples of 2^(I - W) from
-2^(I - 1) to 2^(I - 1) - 2^(I - W); unsigned ones from 0 to 2^I - 2^(I - W). Modes and their names
are those of AMD's Vitis HLS (UG1399, "Arbitrary Precision Fixed-Point Data Types").
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from surform.layers.checks import one_of

__all__ = ["FixedPoint"]

ROUNDINGS = ("AP_RND", "AP_RND_CONV", "AP_RND_ZERO", "AP_TRN", "AP_TRN_ZERO")
OVERFLOWS = ("AP_SAT", "AP_SAT_ZERO", "AP_WRAP")
_MOST = 24  # bits: float32 holds such numbers exactly


@dataclass(frozen=True)
class FixedPoint:
    """A fixed-point type; hardware's own defaults are AP_TRN and AP_WRAP.

    Args:
        width: bits, 1 to 24.
        integer: bits before the binary point; may be negative, or more than `width`.
        rounding: AP_RND (to the nearest, halves up), AP_RND_CONV (halves to even), AP_RND_ZERO
            (halves towards zero), AP_TRN (down), AP_TRN_ZERO (towards zero).
        overflow: AP_SAT (the nearest bound), AP_SAT_ZERO (zero), AP_WRAP (the low bits stay).
        signed: whether there is a sign.
    """

    width: int
    integer: int
    rounding: str = "AP_TRN"
    overflow: str = "AP_WRAP"
    signed: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.width, int) or not 1 <= self.width <= _MOST:
            raise ValueError(f"width is {self.width!r}, but must be 1 to {_MOST} bits")
        if not isinstance(self.integer, int) or abs(self.integer) > 64:
            raise ValueError(f"integer is {self.integer!r}, but must be a whole number of bits")
        one_of("rounding", self.rounding, ROUNDINGS)
        one_of("overflow", self.overflow, OVERFLOWS)

    @classmethod
    def parse(cls, text: str) -> FixedPoint:
        """ "ap_fixed<8,3>" or "ap_ufixed<8,0,AP_RND,AP_SAT>"; ValueError shows the form."""
        found = re.fullmatch(r"\s*ap_(u?)fixed\s*<([^<>]*)>\s*", text)
        parts = [part.strip() for part in found[2].split(",")] if found else []
        whole = all(re.fullmatch(r"-?\d+", part) for part in parts[:2])
        if found is None or not 2 <= len(parts) <= 4 or not whole:
            raise ValueError(
                f"{text!r} is no fixed-point type: expected ap_fixed<W,I> or "
                "ap_fixed<W,I,AP_RND,AP_SAT>, ap_ufixed without sign"
            )
        return cls(int(parts[0]), int(parts[1]), *parts[2:], signed=not found[1])

    def __str__(self) -> str:
        name = "ap_fixed" if self.signed else "ap_ufixed"
        return f"{name}<{self.width},{self.integer},{self.rounding},{self.overflow}>"

    @property
    def step(self) -> float:
        """The distance of two neighbours."""
        return 2.0 ** (self.integer - self.width)

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest number."""
        if not self.signed:
            return 0.0, 2.0**self.integer - self.step
        return -(2.0 ** (self.integer - 1)), 2.0 ** (self.integer - 1) - self.step

    def quantize(self, x: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The nearest number of this type, as the modes say; computed in float32 at least.

        The gradient passes as if nothing were rounded (straight through), and is zero where a bound
        is met.
        """
        low, high = self.bounds
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        rounded = _rounded(wide.detach() / self.step, self.rounding)
        lowest, highest = low / self.step, high / self.step
        found = _bounded(rounded, lowest, highest, self.overflow) * self.step
        passing = wide if self.overflow == "AP_WRAP" else wide.clamp(low, high)
        return (found + (passing - passing.detach())).to(x.dtype)  # the latter is 0


def _rounded(x: Tensor, mode: str) -> Tensor:
    if mode == "AP_RND":
        return torch.floor(x + 0.5)
    if mode == "AP_RND_CONV":
        return torch.round(x)
    if mode == "AP_RND_ZERO":
        return x.sign() * torch.ceil(x.abs() - 0.5)
    return torch.floor(x) if mode == "AP_TRN" else torch.trunc(x)


def _bounded(x: Tensor, low: float, high: float, mode: str) -> Tensor:
    if mode == "AP_WRAP":
        return torch.remainder(x - low, high - low + 1) + low
    inside = x.clamp(low, high)
    return inside if mode == "AP_SAT" else torch.where(inside == x, x, torch.zeros_like(x))
