"""Jets of particles as a Lightning data module."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader

from surform.data.images_splits import mixed_order
from surform.data.jets_batch import JetBatch
from surform.data.jets_description import JetsDescription
from surform.data.jets_open import open_jets
from surform.data.jets_samples import JetSamples, PooledOrder
from surform.data.jets_source import JetSource
from surform.data.jets_statistics import jet_statistics
from surform.data.loaders import joint_processes
from surform.data.normalizers import Normalizer
from surform.data.order import BatchOrder, require_windows
from surform.data.ordered_module import OrderedData
from surform.data.provision import provide
from surform.data.solvers.progress import progress_bar
from surform.data.split_sources import default_split
from surform.data.splits import split_samples

__all__ = ["JetsData"]

_NORMALIZE = ("particles", "padded", "none")
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


class JetsData(OrderedData):
    """Jets of several classes as lists of particles, read block by block from files of any size.

    Args:
        path: what `open_jets` reads: files of generated jets (.zarr, .nc, .h5), HLS4ML's or
            JetClass' (.h5), JetClass' .root; a pattern, a list, or a folder of them, perhaps below
            train, val and test.
        generate: make `path` when it is missing: {"solver": "jets", "samples": ..., ...}.
        features: of particles, in the layout's own names; None: the layout's usual ones.
        particles: kept of a jet, those of the largest pT; None: as many as the files have.
        split: "train", "validation", "test" -> a count or a fraction of the jets, or of the
            training jets where they are divided already; every class has its share. Default: 10
            per cent for validation, where it lacks, and as many for a test of undivided jets.
        split_seed: of the division.
        normalize: "particles" standardises each feature over the particles of the training jets;
            "padded" counts padding as particles of zeros, as published; "none".
        batch_size: jets per training batch and process.
        eval_batch_size: likewise for validation, test and prediction; default `batch_size`.
        drop_last: leave out the last, incomplete training batch of an epoch.
        workers: processes that read jets.
        seed: of shuffling.
        dtype: "float32" or "float64".
    """

    protocol = "clean"

    def __init__(
        self,
        path: str | list[str],
        generate: dict[str, Any] | None = None,
        features: list[str] | None = None,
        particles: int | None = None,
        split: dict[str, int | float] | None = None,
        split_seed: int = 0,
        normalize: Literal["particles", "padded", "none"] = "particles",
        batch_size: int = 256,
        eval_batch_size: int | None = None,
        drop_last: bool = True,
        workers: int = 0,
        seed: int = 0,
        dtype: Literal["float32", "float64"] = "float32",
    ) -> None:
        super().__init__()
        for name, least, value in (
            ("particles", 1, particles), ("batch_size", 1, batch_size), ("workers", 0, workers),
            ("eval_batch_size", 1, eval_batch_size), ("seed", 0, seed),
            ("split_seed", 0, split_seed),
        ):  # fmt: skip
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if normalize not in _NORMALIZE:
            raise ValueError(f"normalize={normalize!r}: choose {', '.join(_NORMALIZE)}")
        self.path, self.generate, self.features, self.particles = (
            path,
            generate,
            features,
            particles,
        )
        self.split, self.split_seed, self.normalize = split, split_seed, normalize
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size
        self.drop_last, self.workers, self.seed = drop_last, workers, seed
        self.dtype = _DTYPES[dtype]
        self._source: JetSource | None = None
        self._numbers: dict[str, np.ndarray] = {}
        self._normalizer: Normalizer | None = None

    # -- what the data are -------------------------------------------------------------------

    @property
    def source(self) -> JetSource:
        """The jets, made where they are missing, opened and divided at first use."""
        if self._source is None:
            if self.generate is not None:
                provide(self.path, self.generate)
            source = open_jets(self.path, features=self.features, particles=self.particles)
            self._numbers = _divide(source, self.split, self.split_seed)
            self._source = source
        return self._source

    def description(self) -> JetsDescription:
        """Classes, features and provenance of the jets."""
        source = self.source
        counts = ", ".join(f"{len(n):,} {split}" for split, n in self._numbers.items())
        about = {"path": source.name, "jets": counts, "fingerprint": source.fingerprint()}
        about |= source.files[0].provenance()
        return JetsDescription(source.classes, source.features, source.most, about)

    def normalizers(self) -> tuple[Normalizer]:
        """The normaliser of the features."""
        if self._normalizer is None:
            if self.normalize == "none":
                self._normalizer = Normalizer(torch.zeros(()), torch.ones(()))
            else:
                with progress_bar(f"statistics of {self.source.name}") as progress:
                    self._normalizer = jet_statistics(
                        self.samples("train"), self.normalize == "padded", progress
                    )
        return (self._normalizer,)

    def check(self, trained: JetsDescription) -> None:
        """ValueError unless these jets suit a model trained on jets described by `trained`."""
        trained.require_match(self.description(), self.source.name)

    def held_bytes(self) -> int:
        """What the jets take in memory."""
        return self.source.nbytes()

    def samples(self, split: str) -> JetSamples:
        """The jets of "train", "validation" or "test": a data set of `JetBatch`."""
        if not self._has(split):
            raise ValueError(f"there are no {split} jets: there are {', '.join(self._numbers)}")
        return JetSamples(self.source, self._numbers[split], self.dtype)

    # -- Lightning's hooks -------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Open and divide the jets."""
        splits = {"fit": ("train", "validation"), "validate": ("validation",)}.get(stage, ("test",))
        for split in splits:
            if self._has(split):
                ranks = joint_processes(self.trainer)[1]
                require_windows(len(self._numbers[split]), ranks, f"{split} ")

    def _has(self, split: str) -> bool:
        return bool(self.source) and split in self._numbers

    def _loader(
        self, split: str, training: bool = False
    ) -> tuple[DataLoader[JetBatch], BatchOrder]:
        samples = self.samples(split)
        blocks = None if self.source.held else self.source.blocks(samples.numbers)
        order: Any = partial(PooledOrder, blocks=blocks) if training else BatchOrder
        return self._in_order(samples, order, training, self.workers)


def _divide(
    source: JetSource, split: dict[str, int | float] | None, seed: int
) -> dict[str, np.ndarray]:
    """Numbers of the jets of each split; parts that are there stay."""
    parts = source.parts
    twice = [name for name in ("validation", "test") if name in parts and name in (split or ())]
    if twice:
        raise ValueError(f"split names {twice[0]!r} jets of {source.name}, but they are there")
    whole = parts.get("train", np.arange(len(source)))
    shares: Mapping[str, float] = split or {"train": 1.0}
    if split is None:
        lacking = [n for n in ("validation", "test") if n not in parts]
        lacking = [n for n in lacking if n == "validation" or not parts]
        shares = default_split(len(whole), lacking, source.name) if lacking else shares
    ranges = split_samples(shares, len(whole), source.name)
    order = whole[mixed_order(source.labels[whole], seed)]
    own = {name: np.sort(order[chosen.start : chosen.stop]) for name, chosen in ranges.items()}
    found = {**parts, **own}
    seen = np.unique(source.labels[found["train"]]) if "train" in found else []
    lost = [name for number, name in enumerate(source.classes) if number not in seen]
    if lost and "train" in found:
        raise ValueError(f"no training jet of {source.name} is of the class {lost[0]!r}")
    return found
