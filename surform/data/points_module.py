"""Samples on irregular meshes as a Lightning data module."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader

from surform.data.loaders import joint_processes, whole_batches
from surform.data.normalizers import Normalizer
from surform.data.order import BatchOrder
from surform.data.ordered_module import OrderedData
from surform.data.points import PointBatch
from surform.data.points_description import PointsDescription
from surform.data.points_files import open_points
from surform.data.points_order import LengthOrder
from surform.data.points_samples import PointSamples
from surform.data.points_selection import PointsSelection, names_of
from surform.data.points_source import PointsSource, require_alike
from surform.data.points_statistics import ColumnMoments, points_fingerprint
from surform.data.provision import provide
from surform.data.solvers.progress import progress_bar
from surform.data.split_sources import default_split, require_other_files
from surform.data.splits import split_samples

__all__ = ["PointsData"]

# Under "auto", samples are held in memory up to this size, all splits together.
_MEMORY_LIMIT = 2 * 2**30
_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_KINDS = ("channel", "none")

Kind = Literal["channel", "none"]


class PointsData(OrderedData):
    """Solutions on meshes of their own, with global parameters and input functions.

    Args:
        path: what `open_points` accepts: a Zarr store or HDF5 file in the documented layout, a
            folder or pattern of VTU files, GNOT's pickles, or a list of them.
        targets: what is to be predicted, in column order; by default what the files hold.
        parameters: numbers per sample; by default all that the files give.
        inputs: names of input functions; by default all.
        features: what is known at the points beside their coordinates.
        coordinates: names of the coordinates; by default those along which the points differ.
        markers: array of a mesh that marks boundaries with 1, 2, ...; each becomes an input
            function `<markers>_<number>`.
        marker_values: point data that are the values of these input functions.
        on: where the targets of mesh files lie: "points", "cells", or "auto".
        weights: whether quadrature weights are read, or computed from the cells of a mesh.
        units: units of variables whose files do not know them, by name.
        split: "train", "validation", "test" -> a count or a fraction of the samples of `path`:
            train from the first on, test up to the last, validation before test. Default: 80, 10
            and 10 per cent.
        validation_path: files of their own for validation, all samples.
        test_path: files of their own for testing, all samples.
        normalize_points: "channel" standardises each column over all points of the training
            samples; "none" leaves it.
        normalize_parameters: likewise, over the training samples.
        normalize_targets: likewise, over all points of the training samples.
        normalize_inputs: likewise for the input functions, which GNOT leaves as they are.
        batch_size: samples per training batch and process.
        eval_batch_size: likewise for validation, test and prediction; default `batch_size`.
        bucket: so many batches are sorted by length before they are cut, so that little is
            padded; 1 mixes all lengths.
        drop_last: leave out the last, incomplete training batch of an epoch.
        workers: processes that read files; none are used while the data are held in memory.
        seed: of the shuffling.
        protocol: "clean" averages over all samples; "paper" over batch means, as GNOT does.
        generate: `{"solver": name, **options}`: makes `path` first if it does not exist.
        cache: "memory" holds the data in memory, "files" reads them as needed, "auto" decides by
            size (2 GiB).
        dtype: "float32" or "float64", until the numbers are normalised; the network keeps its own.
    """

    def __init__(
        self,
        path: str | list[str],
        targets: list[str] | None = None,
        parameters: list[str] | None = None,
        inputs: list[str] | None = None,
        features: list[str] | None = None,
        coordinates: list[str] | None = None,
        markers: str | None = None,
        marker_values: list[str] | tuple[str, ...] = (),
        on: Literal["auto", "points", "cells"] = "auto",
        weights: bool = True,
        units: dict[str, str] | None = None,
        split: dict[str, int | float] | None = None,
        validation_path: str | list[str] | None = None,
        test_path: str | list[str] | None = None,
        normalize_points: Kind = "channel",
        normalize_parameters: Kind = "channel",
        normalize_targets: Kind = "channel",
        normalize_inputs: Kind = "none",
        batch_size: int = 4,
        eval_batch_size: int | None = None,
        bucket: int = 16,
        drop_last: bool = False,
        workers: int = 0,
        seed: int = 0,
        protocol: Literal["clean", "paper"] = "clean",
        generate: dict[str, Any] | None = None,
        cache: Literal["auto", "memory", "files"] = "auto",
        dtype: Literal["float32", "float64"] = "float32",
    ) -> None:
        super().__init__()
        kinds: dict[str, Any] = {
            "points": normalize_points, "parameters": normalize_parameters,
            "targets": normalize_targets, "inputs": normalize_inputs,
        }  # fmt: skip
        for name, value, choices in (
            *((f"normalize_{role}", kind, _KINDS) for role, kind in kinds.items()),
            ("on", on, ("auto", "points", "cells")),
            ("protocol", protocol, ("clean", "paper")),
            ("cache", cache, ("auto", "memory", "files")),
            ("dtype", dtype, tuple(_DTYPES)),
        ):
            if value not in choices:
                raise ValueError(f"{name}={value!r}: choose {', '.join(choices)}")
        for name, value, least in (
            ("batch_size", batch_size, 1), ("eval_batch_size", eval_batch_size, 1),
            ("bucket", bucket, 1), ("workers", workers, 0), ("seed", seed, 0),
        ):  # fmt: skip
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if marker_values and markers is None:
            raise ValueError("marker_values belong to markers: name the array of markers too")
        self.path, self.generate = path, generate
        self.selection = PointsSelection(
            coordinates=names_of("coordinates", coordinates),
            targets=names_of("targets", targets),
            features=names_of("features", features),
            parameters=names_of("parameters", parameters),
            inputs=names_of("inputs", inputs),
            weights=weights,
            markers=markers,
            marker_values=names_of("marker_values", marker_values) or (),
            on=on,
        )
        self.units = dict(units or {})
        self.split, self.validation_path, self.test_path = split, validation_path, test_path
        self.kinds = kinds
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size
        self.bucket, self.drop_last, self.workers = bucket, drop_last, workers
        self.seed, self.protocol, self.cache, self.dtype = seed, protocol, cache, _DTYPES[dtype]
        self._sources: dict[str, PointsSource] = {}
        self._numbers: dict[str, range] = {}
        self._samples: dict[str, PointSamples] = {}
        self._moments = ColumnMoments()
        self._description: PointsDescription | None = None

    # -- what the data are -------------------------------------------------------------------

    def description(self) -> PointsDescription:
        """Names, columns, units and provenance of the training data; reads next to nothing.

        How many points the samples have is known once they are read.
        """
        if self._description is None:
            source = self._opened("train")
            names = {*source.about.variables()}
            unknown = [name for name in self.units if name not in names]
            if unknown:
                raise ValueError(
                    f"units names {unknown[0]!r}, which is none of {', '.join(sorted(names))}"
                )
            self._description = replace(
                source.about,
                units={**source.about.units, **self.units},
                source={
                    **source.provenance(),
                    "path": source.name,
                    "fingerprint": points_fingerprint(source),
                },
            )
        if "train" not in self._samples:
            return self._description
        lengths = self._samples["train"].lengths
        low, high = f"{lengths.min():,}", f"{lengths.max():,}"
        counts = {"points": low if low == high else f"{low} to {high}"}
        return replace(self._description, source=self._description.source | counts)

    def normalizers(self) -> tuple[Normalizer, ...]:
        """Normalisers of points, parameters, targets and input functions, from training samples.

        Raises:
            ValueError: a target that is the same everywhere, or numbers that `dtype` rounds away.
        """
        self.samples("train")
        about = self._opened("train").about
        self._moments.check("points", about.columns, self.dtype)
        self._moments.check("targets", about.targets, self.dtype)
        return tuple(self._moments.normalizer(role, kind) for role, kind in self.kinds.items())

    def check(self, trained: PointsDescription) -> None:
        """ValueError unless these data suit a model trained on data described by `trained`."""
        trained.require_match(self.description(), self._opened("train").name)

    # -- Lightning's hooks -------------------------------------------------------------------

    def prepare_data(self) -> None:
        if self.generate is not None:
            provide(self.path, self.generate)

    def setup(self, stage: str) -> None:
        """Open, check and, where they fit, load the data."""
        splits = {"fit": ("train", "validation"), "validate": ("validation",)}.get(stage, ("test",))
        for split in splits:
            self._open()
            if split in self._numbers:
                self.samples(split)

    def held_bytes(self) -> int:
        """Bytes of the data in memory."""
        return sum(samples.held for samples in self._samples.values())

    # -- parts -------------------------------------------------------------------------------

    def samples(self, split: str) -> PointSamples:
        """The samples of "train", "validation" or "test": a data set of `PointBatch`."""
        if split not in self._samples:
            source = self._opened(split)
            numbers = self._numbers[split]
            limit = {"memory": float("inf"), "files": 0.0}.get(self.cache, float(_MEMORY_LIMIT))
            with progress_bar(f"reading {source.name}") as progress:
                self._samples[split] = PointSamples(
                    source,
                    numbers,
                    self.dtype,
                    limit - sum(other.held for other in self._samples.values()),
                    visit=self._moments.add if split == "train" else None,
                    progress=progress,
                )
        return self._samples[split]

    def _opened(self, split: str) -> PointsSource:
        self._open()
        if split not in self._numbers:
            there = ", ".join(self._numbers)
            raise ValueError(f"there are no {split} data: split gives {there}")
        return self._sources[split]

    def _open(self) -> None:
        """Open all files, once, and divide their samples."""
        if self._sources:
            return
        self.prepare_data()
        separate = {"validation": self.validation_path, "test": self.test_path}
        own = {name: path for name, path in separate.items() if path is not None}
        twice = [name for name in own if self.split is not None and name in self.split]
        if twice:
            raise ValueError(f"{twice[0]} data are given twice: by split and by {twice[0]}_path")
        main = open_points(self.path, self.selection)
        others = [name for name in separate if name not in own]
        split = self.split
        if split is None:
            split = default_split(len(main), others, main.name)
        numbers = split_samples(split, len(main), main.name)
        sources = dict.fromkeys(numbers, main)
        for name, path in own.items():
            sources[name] = open_points(path, self._as_in(main))
            require_other_files(main.paths(), sources[name].paths(), name)
            require_alike(main, sources[name])
            numbers[name] = range(len(sources[name]))
        self._sources, self._numbers = sources, numbers

    def _as_in(self, main: PointsSource) -> PointsSelection:
        """What is read of further files: the same, though they may hold more."""
        about = main.about
        return replace(
            self.selection,
            coordinates=about.coordinates if self.selection.coordinates is not None else None,
            targets=about.targets,
            features=about.features,
            parameters=about.parameters,
            inputs=tuple(about.inputs),
        )

    def _has(self, split: str) -> bool:
        self._open()
        return split in self._numbers

    def _loader(
        self, split: str, training: bool = False
    ) -> tuple[DataLoader[PointBatch], BatchOrder]:
        samples = self.samples(split)
        rank, ranks = joint_processes(self.trainer)
        order = LengthOrder(
            samples.lengths,
            self.batch_size if training else self.eval_batch_size,
            self.seed,
            group=self.bucket,
            training=training,
            drop_last=self.drop_last,
            rank=rank,
            ranks=ranks,
        )
        workers, context = self._workers(samples)
        return whole_batches(samples, order, workers, context), order

    def _workers(self, samples: PointSamples) -> tuple[int, str | None]:
        """How many processes read, and how they start."""
        source = samples.source
        if samples.in_memory or not self.workers:
            return 0, None
        if source.in_memory:
            raise ValueError(f"{source.name} lives in this process: set workers to 0")
        return self.workers, None if source.fork_safe else "forkserver"
