"""A potential that answers about ASE's structures: checked questions, answers in float64."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from surform.atomistic.equiformer_v2 import Energies
from surform.atomistic.potential import Potential
from surform.atomistic.system import System
from surform.data.atoms_neighbors import Neighbors
from surform.data.devices import available_device

__all__ = ["Evaluator", "open_potential"]

_DTYPES = {"float32": torch.float32, "float64": torch.float64}


def open_potential(
    model: Potential | str | os.PathLike[str],
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
) -> Potential:
    """A potential in evaluation mode; one that is given is copied where it has to change.

    Args:
        model: a `Potential`, or what `surform.load_model` takes.
        device, dtype: None: as it is.

    Raises:
        TypeError: a model of another kind. ValueError: an unknown precision, or a device that is
            not there.
    """
    if device is not None:
        device = available_device(device)
    if isinstance(dtype, str):
        if dtype not in _DTYPES:
            raise ValueError(f"dtype is {dtype!r}, but must be one of {', '.join(_DTYPES)}")
        dtype = _DTYPES[dtype]
    if isinstance(model, (str, os.PathLike)):
        from surform.hub.loading import load_model

        found = load_model(os.fspath(model))
        if not isinstance(found, Potential):
            raise TypeError(f"{model} is a model of {found.kind}, not a potential of atoms")
        return found.to(device=device, dtype=dtype).eval()
    if not isinstance(model, Potential):
        raise TypeError(
            "model must be a surform.atomistic Potential, a folder or a name, not "
            f"{type(model).__name__}"
        )
    like = model.energy.mean
    if dtype not in (None, like.dtype) or not _lies_on(like, device):
        model = copy.deepcopy(model).to(device=device, dtype=dtype)
    return model.eval()


def _lies_on(tensor: Tensor, device: torch.device | str | None) -> bool:
    """Whether a device is a tensor's; "cuda" is any GPU."""
    if device is None:
        return True
    wanted = torch.device(device)
    return wanted.type == tensor.device.type and wanted.index in (None, tensor.device.index)


class Evaluator:
    """Energies, forces and virials of structures, the same bits for the same atoms.

    Args:
        model, device, dtype: see `open_potential`.
    """

    def __init__(
        self,
        model: Potential | str | os.PathLike[str],
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
    ) -> None:
        self.model = open_potential(model, device, dtype)
        self.forces: str = getattr(self.model.net, "forces", "direct")
        head = self.model.stress_isotropic is not None
        self.has_stress = head or self.forces == "conservative"

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return self.model.energy.mean.device

    def neighbors(self, system: System) -> Neighbors:
        """The edges of all structures, on the device of the network."""
        return self.model.neighbors(
            system.positions.to(self.device),
            cell=system.cell,
            pbc=system.pbc,
            batch=system.batch.to(self.device),
        )

    @torch.no_grad()
    def __call__(
        self,
        system: System,
        neighbors: Neighbors | None = None,
        edge_rot_mat: Tensor | None = None,
    ) -> Energies:
        """Energies (B,) [eV], forces (N, 3) [eV/Å], virials (B, 3, 3) [eV] or stresses (B, 3, 3)
        [eV/Å^3], float64 on the CPU.

        Raises:
            ValueError: elements that the network does not know, positions or cells without sense,
                or results that are not finite.
        """
        self.check_elements(system.numbers)
        found = self.neighbors(system) if neighbors is None else neighbors
        like = self.model.energy.mean
        # vectors between atoms near the origin keep more digits in float32
        middle = torch.zeros_like(system.cell[:, 0]).index_add(0, system.batch, system.positions)
        middle = middle / system.counts.clamp(min=1)[:, None]
        centred = system.positions - middle[system.batch]
        with _repeatable(like.device):
            answer = self.model(
                centred.to(like),
                system.numbers.to(like.device),
                found.edge_index,
                found.shifts.to(like),
                batch=system.batch.to(like.device),
                structures=len(system),
                edge_rot_mat=None if edge_rot_mat is None else edge_rot_mat.to(like),
            )
        rest = (None if x is None else x.double().cpu() for x in answer[1:])
        answer = Energies(answer.energy.double().cpu(), *rest)
        _require_finite(answer, system)
        return answer

    def check_elements(self, numbers: Tensor) -> None:
        """ValueError where an element has no row in the network, or was not trained on."""
        rows = int(getattr(self.model.net, "elements", 0))
        trained = getattr(self.model.description, "elements", None)
        found = set(numbers.unique().tolist())
        strange = sorted(number for number in found if not 0 <= number < rows)
        if strange:
            raise ValueError(
                f"the structure holds atomic number {strange[0]}, but this network knows those "
                f"below {rows} only"
            )
        if trained is None:
            return
        from ase.data import chemical_symbols

        symbols = [chemical_symbols[number] for number in sorted(found)]
        unseen = [symbol for symbol in symbols if symbol not in trained]
        if unseen:
            raise ValueError(
                f"the structure holds {', '.join(unseen)}, but this potential was trained on "
                f"{', '.join(trained)} only"
            )


def _require_finite(answer: Energies, system: System) -> None:
    for name, values in zip(("energy", "forces"), answer[:2], strict=True):
        if values is not None and not bool(values.isfinite().all()):
            first = int((~values.isfinite()).nonzero()[0, 0])
            where = f"structure {first}"
            if name == "forces":
                structure = int(system.batch[first])
                before = int((system.batch < structure).sum())
                where = f"atom {first - before} of structure {structure}"
            raise ValueError(f"the potential's {name} for {where} is not finite")


@contextmanager
def _repeatable(device: torch.device) -> Iterator[None]:
    """Sums over edges in one order on GPUs, too, where atomic additions would come as they like."""
    before = torch.are_deterministic_algorithms_enabled()
    if device.type != "cuda" or before:
        yield
        return
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False, warn_only=warn)
