"""Fields on regular grids as a Lightning data module."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from surform.data.batches import FieldBatch
from surform.data.description import FieldsDescription
from surform.data.fingerprint import fingerprint, provenance
from surform.data.loaders import gather_objects, joint_processes, make_loader, process_group
from surform.data.noise import InputNoise
from surform.data.normalizers import KINDS, Normalizer
from surform.data.order import BatchOrder, require_windows
from surform.data.ordered_module import OrderedData
from surform.data.provision import provide
from surform.data.reading import advise, read_in_order, shuffle_by_chunks
from surform.data.selection import Selection
from surform.data.solvers.progress import progress_bar
from surform.data.split_sources import SplitSources
from surform.data.splits import SPLITS
from surform.data.statistics import field_statistics, share_statistics
from surform.data.statistics_cache import remembered_statistics
from surform.data.stores import FileStore, MemoryStore, Store, memory_bytes
from surform.data.windows import FieldWindows, wanted

__all__ = ["FieldsData"]

# Under "auto", data that take less than this (sub-sampled, all splits) are held in memory.
_MEMORY_LIMIT = 2 * 2**30

_DTYPES = {"float32": torch.float32, "float64": torch.float64}


class FieldsData(OrderedData):
    """Fields on regular grids: steady problems, or windows over time.

    Args:
        path: what `open_fields` accepts: a file, URL, glob pattern, or a list of them.
        inputs: input variables, in channel order.
        targets: target variables, in channel order; in steady problems they may lie on axes of
            their own.
        parameters: scalars per sample, appended to the inputs as constant channels.
        auxiliary: further fields for losses, e.g. derivatives on the finest grid.
        input_steps: frames per input window (T_in); None for steady problems. Input variables
            without a time axis are repeated over these frames.
        target_steps: frames per target window (T_out); None for steady problems.
        validation_target_steps: of validation, test and prediction; default `target_steps`.
        time_stride: keep every n-th frame; windows start at every kept frame.
        space_stride: keep every n-th point; one number, or one per axis of the inputs. Axes that
            only targets have are kept whole.
        split: "train", "validation", "test" -> a count or a fraction of the samples of `path`:
            train from the first on, test up to the last, validation before test. Default: 80, 10
            and 10 per cent.
        validation_path: files of their own for validation, all samples.
        test_path: files of their own for testing, all samples.
        normalize_inputs: "none", "channel", "pointwise" or "temporal", see `Normalizer`.
        normalize_targets: likewise.
        normalize_together: groups of variables that share one mean and one deviation, such as the
            components of a velocity; not for "pointwise".
        input_noise: standard deviation of noise on the input variables, in normalised units, drawn
            once per sample and in every split.
        batch_size: windows per training batch and process.
        eval_batch_size: likewise for validation, test and prediction; default `batch_size`.
        workers: processes that read files; none are used while the data are held in memory.
        seed: of shuffling and noise.
        protocol: "clean" evaluates every window; "paper" leaves out the last start of every
            sample, as FactFormer's published evaluation does.
        generate: `{"solver": name, **options}`: makes `path` first if it does not exist.
        cache: "memory" holds the data in memory, "files" reads them as needed, "auto" decides by
            size (2 GiB).
        shuffle: "windows" shuffles them all alike. "chunks" lets windows that lie in one chunk of
            the files come soon after one another (though not in one batch), so that a chunk is read
            once and not once per window; it has no effect on data in memory.
        dtype: "float32" or "float64".
    """

    def __init__(
        self,
        path: str | list[str],
        inputs: list[str],
        targets: list[str],
        parameters: list[str] | tuple[str, ...] = (),
        auxiliary: list[str] | tuple[str, ...] = (),
        input_steps: int | None = None,
        target_steps: int | None = None,
        validation_target_steps: int | None = None,
        time_stride: int = 1,
        space_stride: int | list[int] = 1,
        split: dict[str, int | float] | None = None,
        validation_path: str | list[str] | None = None,
        test_path: str | list[str] | None = None,
        normalize_inputs: Literal["none", "channel", "pointwise", "temporal"] = "channel",
        normalize_targets: Literal["none", "channel", "pointwise", "temporal"] = "channel",
        normalize_together: list[list[str]] | tuple[list[str], ...] = (),
        input_noise: float = 0.0,
        batch_size: int = 8,
        eval_batch_size: int | None = None,
        workers: int = 0,
        seed: int = 0,
        protocol: Literal["clean", "paper"] = "clean",
        generate: dict[str, Any] | None = None,
        cache: Literal["auto", "memory", "files"] = "auto",
        shuffle: Literal["windows", "chunks"] = "windows",
        dtype: Literal["float32", "float64"] = "float32",
    ) -> None:
        super().__init__()
        for name, value, choices in (
            ("normalize_inputs", normalize_inputs, KINDS),
            ("normalize_targets", normalize_targets, KINDS),
            ("protocol", protocol, ("clean", "paper")),
            ("cache", cache, ("auto", "memory", "files")),
            ("shuffle", shuffle, ("windows", "chunks")),
            ("dtype", dtype, tuple(_DTYPES)),
        ):
            if value not in choices:
                raise ValueError(f"{name}={value!r}: choose {', '.join(choices)}")
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("eval_batch_size", eval_batch_size, 1),
            ("workers", workers, 0),
            ("input_noise", input_noise, 0),
            ("seed", seed, 0),
        ):
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        self.path, self.generate = path, generate
        self.selection = Selection(
            inputs=_names(inputs),
            targets=_names(targets),
            parameters=_names(parameters),
            auxiliary=_names(auxiliary),
            input_steps=input_steps,
            target_steps=target_steps,
            time_stride=time_stride,
            space_stride=space_stride if isinstance(space_stride, int) else tuple(space_stride),
        )
        if validation_target_steps is not None and target_steps is None:
            raise ValueError("validation_target_steps needs input_steps and target_steps")
        self.validation_target_steps = validation_target_steps or target_steps
        self.split, self.validation_path, self.test_path = split, validation_path, test_path
        self.normalize_inputs, self.normalize_targets = normalize_inputs, normalize_targets
        self.normalize_together = [list(_names(group)) for group in normalize_together]
        known = {*self.selection.inputs, *self.selection.targets}
        for name in (name for group in self.normalize_together for name in group):
            if name not in known:
                raise ValueError(
                    f"normalize_together names {name!r}, which is neither an input nor a target"
                )
        self.input_noise, self.seed, self.protocol = input_noise, seed, protocol
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size
        self.workers, self.cache, self.dtype = workers, cache, _DTYPES[dtype]
        self.shuffle = shuffle
        self._sources: SplitSources | None = None
        self._stores: dict[str, Store] = {}
        self._normalizers: tuple[Normalizer, Normalizer] | None = None
        self._description: FieldsDescription | None = None

    # -- what the data are -------------------------------------------------------------------

    def description(self) -> FieldsDescription:
        """Names, grid, units and provenance of the training data; reads next to nothing."""
        if self._description is None:
            source = self._opened().source("train")
            layout, selection = source.layout, source.selection
            own_grid = {}
            if layout.target_axes != layout.axes:
                own_grid = {"target_axes": layout.target_axes, "target_shape": layout.target_shape}
            self._description = FieldsDescription(
                inputs=selection.inputs,
                targets=selection.targets,
                parameters=selection.parameters,
                axes=layout.axes,
                shape=layout.shape,
                coordinates={axis: layout.coordinates[axis].tolist() for axis in layout.all_axes},
                periodic=dict(layout.periodic),
                units=dict(layout.units),
                input_steps=selection.input_steps,
                target_steps=selection.target_steps,
                time_step=layout.time_step,
                source={
                    **provenance(source),
                    "path": source.name,
                    "fingerprint": fingerprint(source),
                },
                **own_grid,
            )
        return self._description

    def normalizers(self) -> tuple[Normalizer, Normalizer]:
        """Normalisers of inputs and targets, fitted on the training samples only."""
        if self._normalizers is None:
            kinds = (self.normalize_inputs, self.normalize_targets)
            names = (
                (*self.selection.inputs, *self.selection.parameters),
                self.selection.targets,
            )
            used = [n for kind, group in zip(kinds, names, strict=True) if kind != "none"
                    for n in group]  # fmt: skip
            if isinstance(self._store("train"), FileStore):
                # what is not held in memory is read once before training, so that NaN is met here
                used = [*names[0], *names[1], *self.selection.auxiliary]
            found = self._statistics(used) if used else {}
            groups = [[n for n in group if n in found] for group in self.normalize_together]
            found = share_statistics(found, [group for group in groups if group])
            inputs, targets = (
                Normalizer.from_statistics(found, kind, group)
                for kind, group in zip(kinds, names, strict=True)
            )
            self._normalizers = (inputs, targets)
        return self._normalizers

    def check(self, trained: FieldsDescription) -> None:
        """ValueError unless these data suit a model trained on data described by `trained`."""
        trained.require_match(self.description(), self._opened().source("train").name)

    # -- Lightning's hooks -------------------------------------------------------------------

    def prepare_data(self) -> None:
        if self.generate is not None:
            provide(self.path, self.generate)

    def setup(self, stage: str) -> None:
        """Open, check and, where they fit, load the data."""
        splits = {"fit": ("train", "validation"), "validate": ("validation",)}.get(stage, ("test",))
        for split in splits:
            if split in self._opened().samples:
                ranks = joint_processes(self.trainer)[1]
                require_windows(len(self.windows(split)), ranks, f"{split} ")

    def held_bytes(self) -> int:
        """Bytes of the data in memory."""
        return sum(s.nbytes for s in self._stores.values() if isinstance(s, MemoryStore))

    # -- parts -------------------------------------------------------------------------------

    def windows(self, split: str) -> FieldWindows:
        """The windows of "train", "validation" or "test": a data set of `FieldBatch`."""
        sources = self._opened()
        source, samples = sources.source(split), sources.samples_of(split)
        return FieldWindows(
            self._store(split),
            source.selection,
            source.layout,
            samples,
            parameters=self._parameters(split),
            noise=self._noise(split),
            skip_last=self.protocol == "paper" and split != "train",
            dtype=self.dtype,
        )

    def _opened(self) -> SplitSources:
        if self._sources is None:
            self.prepare_data()
            self._sources = SplitSources.open(
                self.path,
                self.selection,
                self.split,
                {"validation": self.validation_path, "test": self.test_path},
                self.validation_target_steps,
                same_grid="pointwise" in (self.normalize_inputs, self.normalize_targets),
            )
        return self._sources

    def _store(self, split: str) -> Store:
        if split not in self._stores:
            sources = self._opened()
            source, samples = sources.source(split), sources.samples_of(split)
            dtype = np.dtype(str(self.dtype).removeprefix("torch."))
            wants = list(wanted(source.selection, source.layout).values())
            if self.cache == "memory" or (self.cache == "auto" and self._fits(dtype)):
                with progress_bar(f"loading {source.name}") as progress:
                    self._stores[split] = MemoryStore(source, wants, samples, dtype, progress)
            else:
                self._stores[split] = FileStore(source, dtype)
        return self._stores[split]

    def _fits(self, dtype: np.dtype) -> bool:
        sources = self._opened()
        total = 0
        for split, samples in sources.samples.items():
            source = sources.source(split)
            wants = list(wanted(source.selection, source.layout).values())
            total += memory_bytes(wants, source.layout, len(samples), dtype)
        return total <= _MEMORY_LIMIT

    def _statistics(self, names: list[str]) -> Any:
        sources = self._opened()
        source, samples = sources.source("train"), sources.samples_of("train")
        fields = [n for n in dict.fromkeys(names) if n not in self.selection.parameters]
        per_point = bool(
            {"pointwise", "temporal"} & {self.normalize_inputs, self.normalize_targets}
        )
        store = self._store("train")
        reader = store if isinstance(store, MemoryStore) else source
        # what is in memory is there in every process
        rank, ranks = process_group() if reader is source else (0, 1)

        def compute() -> Any:
            with progress_bar(f"statistics of {source.name}") as progress:
                return field_statistics(
                    reader, fields, self.selection.parameters, samples,
                    per_point=per_point, progress=progress, share=(rank, ranks, gather_objects),
                )  # fmt: skip

        options = (sorted(names), per_point, str(self.dtype) if reader is store else "as stored")
        return remembered_statistics(source, samples, options, compute, gather_objects)

    def _parameters(self, split: str) -> Tensor | None:
        if not self.selection.parameters:
            return None
        source = self._opened().source(split)
        values = [source.read_parameter(name) for name in self.selection.parameters]
        return torch.from_numpy(np.stack(values, axis=-1)).to(self.dtype)

    def _noise(self, split: str) -> InputNoise | None:
        if not self.input_noise:
            return None
        normalizer = self.normalizers()[0]
        scale = normalizer.std + normalizer.eps
        fields = scale[..., : len(self.selection.inputs)] if scale.ndim else scale
        return InputNoise(self.input_noise, fields, self.seed, SPLITS.index(split))

    def _has(self, split: str) -> bool:
        return split in self._opened().samples

    def _loader(
        self, split: str, training: bool = False
    ) -> tuple[DataLoader[FieldBatch], BatchOrder]:
        windows = self.windows(split)
        rank, ranks = joint_processes(self.trainer)
        batch_size = self.batch_size if training else self.eval_batch_size
        samples, options = self._opened().samples_of(split), {}
        if not training:
            read_in_order(windows, samples)
        elif self.shuffle == "chunks":
            options = shuffle_by_chunks(windows, samples, batch_size, self.workers)
        elif not self._fits(np.dtype(str(self.dtype).removeprefix("torch."))):
            advise(windows, samples)
        order = BatchOrder(
            len(windows), batch_size, self.seed,
            training=training, rank=rank, ranks=ranks, **options,
        )  # fmt: skip
        return make_loader(windows, order, self.workers), order


def _names(names: Any) -> tuple[str, ...]:
    if isinstance(names, str):
        raise ValueError(f"give a list of variable names, got the string {names!r}")
    return tuple(names)
