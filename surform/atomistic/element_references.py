"""What the elements of a structure are worth without any bond, in the digits of whole molecules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

__all__ = ["ElementReferences"]


class ElementReferences(nn.Module):
    """An energy per atom of each element, 0 where none is known.

    They stay in float64 whatever the network around them is cast to (MPS has float32 only): a
    total energy of -10,000 eV has no digits of meV in float32.

    Args:
        elements: rows; atomic numbers lie below.
    """

    energies: Tensor

    def __init__(self, elements: int) -> None:
        super().__init__()
        self.register_buffer("energies", torch.zeros(elements, dtype=torch.float64))
        # A plain bool beside the buffer: reading a tensor would stall GPUs and break graphs.
        self.known = False

    def fit(self, energies: Mapping[int, float]) -> ElementReferences:
        """Take the energies of some elements by atomic number [eV]; returns itself.

        Raises:
            ValueError: an atomic number without a row, or an energy that is not finite.
        """
        fresh = torch.zeros(len(self.energies), dtype=torch.float64)
        for number, energy in energies.items():
            if not 0 <= number < len(fresh):
                raise ValueError(
                    f"there is a reference of element {number}, but this network knows 0 to "
                    f"{len(fresh) - 1} only"
                )
            fresh[number] = energy
        if not fresh.isfinite().all():
            wrong = int((~fresh.isfinite()).nonzero()[0])
            raise ValueError(f"the reference of element {wrong} is {float(fresh[wrong])}")
        self.energies = fresh.to(self.energies)
        self.known = bool(fresh.any())
        return self

    def forward(
        self, atomic_numbers: Int[Tensor, " n"], batch: Int[Tensor, " n"], structures: int
    ) -> Float[Tensor, " b"]:
        """Their sum over the atoms of each structure."""
        each = self.energies[atomic_numbers]
        return each.new_zeros(structures).index_add(0, batch, each)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ElementReferences:
        device = fn(self.energies.float()).device
        wide = torch.float32 if device.type == "mps" else torch.float64
        self.energies = self.energies.to(device, wide)
        return self

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        if prefix + "energies" in state_dict:
            self.known = bool(state_dict[prefix + "energies"].any())

    def extra_repr(self) -> str:
        return f"{len(self.energies)} elements, known={self.known}"
