"""Structures of atoms with energies and forces as a Lightning data module."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader

from surform.data.atoms_batch import AtomsBatch, Graph
from surform.data.atoms_description import AtomsDescription
from surform.data.atoms_files import open_atoms
from surform.data.atoms_order import SizeOrder
from surform.data.atoms_plausible import implausible
from surform.data.atoms_samples import AtomsSamples, HeldAtoms
from surform.data.atoms_source import AtomsReading
from surform.data.atoms_splits import Amount, SplitBy, divide_atoms
from surform.data.atoms_statistics import AtomsStatistics, measure
from surform.data.atoms_units import Units
from surform.data.elements import SYMBOLS, symbols
from surform.data.loaders import joint_processes, whole_batches
from surform.data.normalizers import Normalizer
from surform.data.order import BatchOrder, require_windows
from surform.data.ordered_module import OrderedData
from surform.data.provision import provide
from surform.data.solvers.progress import progress_bar
from surform.data.splits import SPLITS

__all__ = ["ETHANOL", "AtomsData"]

ETHANOL: dict[str, Any] = {"solver": "md", "molecule": "ethanol", "samples": 2000, "seed": 0}
_FILE = "ethanol-md.h5"  # where it is made without a path
_MEMORY_LIMIT = 2**30  # structures are held in memory up to this size under "auto"
_MEASURED = 100_000  # training structures that statistics are taken of
_LOOKED_AT = 256  # structures of a split that are looked at before training where not all are


class AtomsData(OrderedData):
    """Structures of atoms with energies, forces and stresses, in eV and Å.

    Args:
        path: an .xyz or .extxyz file, an ASE database (.db), arrays (.h5, .npz), an .lmdb or
            .aselmdb file of fairchem; a folder or a list of such; or a mapping train, validation,
            test -> these. None: ethanol at 500 K by GFN2-xTB, made when it is not there yet.
        generate: make `path` with a solver ({"solver": "md", "molecule": "ethanol", ...}) when it
            is not there yet.
        keys: what "energy", "forces", "stress" are called in the files, where it is not the usual.
        units: {"energy": "kcal/mol", "length": "bohr", "forces": "Hartree/bohr", "stress": "GPa"}
            of the numbers there; eV and Å where nothing is said.
        targets: labels that every structure must have.
        split: "train", "validation", "test" -> a count, a fraction, or once "rest", of data that
            are not divided. Default: 10 per cent for validation, and as many for a test.
        split_by: "random"; or "blocks" of each file, the last for the test, as is honest where
            structures follow one another in time.
        split_seed: of the random division.
        references: energies of single atoms that are taken off: "least_squares" over training
            data, "none", or a mapping of elements to eV.
        batch_size: structures per training batch and process.
        eval_batch_size: likewise for validation, test and prediction; default `batch_size`.
        batch_atoms: instead of a number of structures, most atoms per batch and process.
        batch_edges: likewise, most edges.
        drop_last: leave out the last, incomplete training batch of an epoch.
        cutoff: distance up to which atoms are neighbours [Å]; None takes the network's.
        max_neighbors: with a cutoff, the nearest so many of each atom; None: all.
        workers: processes that read structures and find neighbours.
        cache: "memory" holds structures once they are read, "files" reads them again, "auto"
            decides by size (1 GiB).
        seed: of shuffling.
    """

    def __init__(
        self,
        path: str | list[str] | dict[str, Any] | None = None,
        generate: dict[str, Any] | None = None,
        keys: dict[str, str] | None = None,
        units: dict[str, str] | None = None,
        targets: list[str] = ["energy", "forces"],  # noqa: B006  (read only; jsonargparse shows it)
        split: dict[str, Amount] | None = None,
        split_by: Literal["random", "blocks"] = "random",
        split_seed: int = 0,
        references: str | dict[str, float] = "least_squares",
        batch_size: int = 8,
        eval_batch_size: int | None = None,
        batch_atoms: int | None = None,
        batch_edges: int | None = None,
        drop_last: bool = True,
        cutoff: float | None = None,
        max_neighbors: int | None = None,
        workers: int = 0,
        cache: Literal["auto", "memory", "files"] = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, choices in (
            ("split_by", split_by, ("random", "blocks")),
            ("cache", cache, ("auto", "memory", "files")),
        ):
            if value not in choices:
                raise ValueError(f"{name}={value!r}: choose {', '.join(choices)}")
        for name, least, value in (
            ("batch_size", 1, batch_size), ("eval_batch_size", 1, eval_batch_size),
            ("batch_atoms", 1, batch_atoms), ("batch_edges", 1, batch_edges),
            ("workers", 0, workers), ("seed", 0, seed), ("split_seed", 0, split_seed),
        ):  # fmt: skip
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if batch_atoms is not None and batch_edges is not None:
            raise ValueError("batches have batch_atoms or batch_edges, not both")
        if cutoff is None and max_neighbors is not None:
            raise ValueError(
                "max_neighbors goes with a cutoff: give both, or leave both to the net"
            )
        if isinstance(path, Mapping):
            _check_mapping(path, split)
        if path is None:
            path, generate = _FILE, ETHANOL | (generate or {})
        self.path, self.generate = path, generate
        self.reading = AtomsReading(keys or {}, Units.of(units), tuple(targets))
        self.split, self.split_seed = split, split_seed
        self.split_by: SplitBy = split_by
        self.references = references
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size
        self.batch_atoms, self.batch_edges, self.drop_last = batch_atoms, batch_edges, drop_last
        self.cutoff, self.max_neighbors = cutoff, max_neighbors
        self.workers, self.cache, self.seed = workers, cache, seed
        self._parts: dict[str, tuple[HeldAtoms, np.ndarray]] = {}
        self._costs: dict[str, np.ndarray] = {}
        self._samples: dict[tuple[str, Graph], AtomsSamples] = {}
        self._statistics: AtomsStatistics | None = None
        self._remarks: list[str] = []

    # -- what the data are -------------------------------------------------------------------

    def description(self) -> AtomsDescription:
        """Elements, references, statistics and provenance."""
        found = self.statistics()
        held, _ = self._part("train")
        counts = ", ".join(f"{len(own):,} {name}" for name, (_, own) in self._divided().items())
        source = held.source.provenance() | {
            "path": "; ".join(dict.fromkeys(h.source.name for h, _ in self._parts.values())),
            "structures": counts,
            "split by": self.split_by if not isinstance(self.path, Mapping) else "files",
            "fingerprint": self._fingerprint(),
        }
        return AtomsDescription(
            elements=symbols(list(found.elements)),
            labels=found.labels,
            references={SYMBOLS[number]: value for number, value in found.references.items()},
            statistics={
                name: getattr(found, name)
                for name in ("energy_mean", "energy_std", "forces_rms", "atoms")
            }
            | found.stress,
            source=source,
        )

    def statistics(self) -> AtomsStatistics:
        """Elements, references and sizes of energies and forces, over training structures."""
        if self._statistics is None:
            held, numbers = self._part("train")
            self._remarks = implausible(held.source, numbers)
            chosen = numbers[_spread(len(numbers), _MEASURED)]
            with progress_bar(f"reading {held.source.name}") as progress:
                self._statistics = measure(
                    (held.read(int(number)) for number in chosen),
                    self.references,
                    lambda done: progress(done / len(chosen)),
                )
        return self._statistics

    def normalizers(self) -> tuple[Normalizer, Normalizer]:
        """Those of energies without references, and of forces, whose mean is 0."""
        found = self.statistics()
        return (
            Normalizer(torch.tensor(found.energy_mean), torch.tensor(found.energy_std)),
            Normalizer(torch.zeros(()), torch.tensor(found.forces_rms)),
        )

    def remarks(self) -> list[str]:
        """What is odd about the data, in sentences for the report."""
        self.statistics()
        return list(self._remarks)

    def check(self, trained: AtomsDescription) -> None:
        """ValueError unless these data suit a model trained on data described by `trained`."""
        trained.require_match(self.description(), self._part("train")[0].source.name)

    def held_bytes(self) -> int:
        """What the structures take in memory."""
        return sum({id(held): held.nbytes for held, _ in self._parts.values()}.values())

    # -- Lightning's hooks -------------------------------------------------------------------

    def prepare_data(self) -> None:
        if self.generate is not None:
            provide(self.path, self.generate)  # type: ignore[arg-type]

    def setup(self, stage: str) -> None:
        """Read and check what the stage needs; find the neighbours of some as training will."""
        splits = {"fit": ("train", "validation"), "validate": ("validation",)}.get(stage, ("test",))
        for split in splits:
            if not self._has(split):
                continue
            samples = self.samples(split)
            require_windows(len(samples), joint_processes(self.trainer)[1], f"{split} ")
            chosen = _spread(len(samples), _LOOKED_AT).tolist()
            for begin in range(0, len(chosen), 32):
                self._check_elements(samples[chosen[begin : begin + 32]], samples)

    def _check_elements(self, batch: AtomsBatch, samples: AtomsSamples) -> None:
        """ValueError where the network has no row for an element."""
        rows = getattr(getattr(self._surrogate(), "net", None), "elements", None)
        if not isinstance(rows, int) or int(batch.numbers.max()) < rows:
            return
        atom = int(batch.numbers.argmax())
        where = samples.structure(int(batch.index[batch.batch[atom]])).where
        number = int(batch.numbers[atom])
        raise ValueError(
            f"{where} has {SYMBOLS[number]}, but the network knows atomic numbers below {rows} "
            f"only: set model.net.elements to {number + 1} or more"
        )

    # -- parts -------------------------------------------------------------------------------

    def graph(self) -> Graph:
        """Which atoms are neighbours: by the cutoff that is given, or the network's.

        Raises:
            ValueError: neither is there, or they are not the same.
        """
        surrogate = self._surrogate()
        net: Any = getattr(surrogate, "net", None)
        if net is None:
            if self.cutoff is None:
                raise ValueError("neighbours need a cutoff: give one, or a trainer with a model")
            return Graph(self.cutoff, self.max_neighbors)
        own = Graph(net.cutoff, net.max_neighbors, getattr(surrogate, "tolerant", False))
        given = replace(own, cutoff=self.cutoff, max_neighbors=self.max_neighbors)
        if self.cutoff is not None and given != own:
            raise ValueError(
                f"data.cutoff {self.cutoff} with max_neighbors {self.max_neighbors} is not what "
                f"the network has, {own.cutoff} and {own.max_neighbors}: leave both to the network"
            )
        return own

    def samples(self, split: str) -> AtomsSamples:
        """The structures of a split: a data set of `AtomsBatch`."""
        key = (split, self.graph())
        if key not in self._samples:
            self._samples[key] = AtomsSamples(*self._part(split), key[1])
        return self._samples[key]

    def _surrogate(self) -> Any:
        module = getattr(self.trainer, "lightning_module", None)
        return getattr(module, "surrogate", None)

    def _part(self, split: str) -> tuple[HeldAtoms, np.ndarray]:
        parts = self._divided()
        if split not in parts:
            raise ValueError(f"there are no {split} structures: there are {', '.join(parts)}")
        return parts[split]

    def _divided(self) -> dict[str, tuple[HeldAtoms, np.ndarray]]:
        """What holds each split, and the numbers of its structures; read at first use."""
        if not self._parts:
            self.prepare_data()
            limit = {"memory": float("inf"), "files": 0.0}.get(self.cache, float(_MEMORY_LIMIT))
            if isinstance(self.path, Mapping):
                for name in (n for n in SPLITS if self.path.get(n) is not None):
                    held = HeldAtoms(open_atoms(self.path[name], self.reading), limit)
                    self._parts[name] = (held, np.arange(len(held.source)))
            else:
                held = HeldAtoms(open_atoms(self.path, self.reading), limit)
                numbers = divide_atoms(held.source, self.split, self.split_by, self.split_seed)
                self._parts = {name: (held, own) for name, own in numbers.items()}
        return self._parts

    def _fingerprint(self) -> str:
        """sha256 of the division, and of three structures of each split."""
        digest = hashlib.sha256()
        for split, (held, numbers) in self._divided().items():
            digest.update(f"{split} {len(held.source)} {self.reading.units}\n".encode())
            digest.update(numbers.tobytes())
            for number in numbers[_spread(len(numbers), 3)].tolist():
                found = held.read(number)
                digest.update(np.float64(found.energy).tobytes())
                for name in ("numbers", "positions", "cell", "pbc", "forces", "stress", "free"):
                    digest.update(np.ascontiguousarray(getattr(found, name)).tobytes())
        return digest.hexdigest()

    def _has(self, split: str) -> bool:
        return split in self._divided()

    def _loader(
        self, split: str, training: bool = False
    ) -> tuple[DataLoader[AtomsBatch], BatchOrder]:
        samples = self.samples(split)
        most = self.batch_atoms or self.batch_edges
        if most is None:
            return self._in_order(samples, BatchOrder, training, self.workers)
        if split not in self._costs:
            with progress_bar(f"sizes of {split} structures") as progress:
                count = samples.atoms if self.batch_atoms else samples.edges
                self._costs[split] = count(progress)
        rank, ranks = joint_processes(self.trainer)
        options = {"training": training, "drop_last": self.drop_last, "rank": rank, "ranks": ranks}
        order = SizeOrder(self._costs[split], most, self.seed, **options)
        return whole_batches(samples, order, self.workers), order


def _check_mapping(path: Mapping[str, Any], split: Any) -> None:
    unknown = sorted(set(path) - set(SPLITS))
    if unknown:
        raise ValueError(f"unknown split {unknown[0]!r} in path: choose {', '.join(SPLITS)}")
    if path.get("train") is None:
        raise ValueError(f"path names {', '.join(path) or 'nothing'}, but must name train")
    if split is not None:
        raise ValueError("split divides one set of structures, but path has files of each split")


def _spread(count: int, most: int) -> np.ndarray:
    """Up to `most` places from first to last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))
