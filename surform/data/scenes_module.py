"""A hyperspectral scene with a label map as a Lightning data module."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import numpy as np
from torch.utils.data import DataLoader

from surform.data.images_samples import EpochOrder
from surform.data.loaders import joint_processes
from surform.data.order import BatchOrder, require_windows
from surform.data.ordered_module import OrderedData
from surform.data.provision import provide
from surform.data.scenes_components import Components, Moments
from surform.data.scenes_cube import Cube, Windows
from surform.data.scenes_description import ScenesDescription
from surform.data.scenes_open import open_labels, open_scene
from surform.data.scenes_samples import SceneBatch, SceneSamples
from surform.data.scenes_splits import DIVISIONS, divide

__all__ = ["ScenesData"]

_MEMORY_LIMIT = 2**31  # bytes; larger scenes are read window by window
_STRIP = 64  # rows looked at at once
_SHARES = {"train": 0.25, "validation": 0.25, "test": 0.5}  # as published


class ScenesData(OrderedData):
    """Pixels of one scene, each with the window round it and the class that covers it.

    Args:
        path: what `open_scene` reads: .mat, .npy, .npz, .zarr, .nc, .h5, ENVI, GeoTIFF; in Python
            also an array (rows, columns, bands).
        labels: the label map, likewise, 0 where unlabelled and classes from 1; None: in `path`.
        generate: `{"solver": "scene", **options}`: makes `path` first if it does not exist.
        cube_name, labels_name: of the arrays, where a file has several.
        sample: which scene of a file with several.
        classes: names of the classes in the order of their numbers; None: the file's, or numbers.
        window: side of the patch round a pixel [pixels]; of an even one, the pixel is the first
            beyond the middle, as published.
        components: whitened principal components of the spectra; None: every band, standardised.
        components_from: "training": fitted on training pixels alone; "scene": on all pixels, test
            pixels included, as published.
        drop_bands: numbers of bad bands, from 0, beside those that an ENVI header lists and those
            without any number.
        division: "disjoint": blocks of the scene, such that no window of one split shares a pixel
            with one of another; "overlapping": random pixels, as published.
        split: the shares of "train", "validation", "test"; default 0.25, 0.25, 0.5, as published.
        block: side of the blocks [pixels]; default three windows.
        split_seed: of the division.
        turns: training sees each window turned and mirrored, one of eight ways anew in every epoch:
            the sensor sees no direction. The window must be odd, so that its pixel stays in the
            middle.
        batch_size: pixels per training batch and process.
        eval_batch_size: likewise for validation and test; default `batch_size`.
        drop_last: leave out the last, incomplete training batch of an epoch.
        seed: of shuffling.
    """

    def __init__(
        self,
        path: Any = "scene.zarr",
        labels: Any = None,
        generate: dict[str, Any] | None = None,
        cube_name: str | None = None,
        labels_name: str | None = None,
        sample: int = 0,
        classes: list[str] | None = None,
        window: int = 8,
        components: int | None = 15,
        components_from: Literal["training", "scene"] = "training",
        drop_bands: list[int] | None = None,
        division: Literal["disjoint", "overlapping"] = "disjoint",
        split: dict[str, float] | None = None,
        block: int | None = None,
        split_seed: int = 0,
        turns: bool = False,
        batch_size: int = 56,
        eval_batch_size: int | None = None,
        drop_last: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, choices in (
            ("division", division, DIVISIONS),
            ("components_from", components_from, ("training", "scene")),
        ):
            if value not in choices:
                raise ValueError(f"{name}={value!r}: choose {', '.join(choices)}")
        block = block or 3 * window
        for name, least, value in (
            ("window", 1, window), ("components", 1, components), ("block", 1, block),
            ("batch_size", 1, batch_size), ("eval_batch_size", 1, eval_batch_size),
            ("sample", 0, sample), ("split_seed", 0, split_seed), ("seed", 0, seed),
        ):  # fmt: skip
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if division == "disjoint" and block < window:
            raise ValueError(f"block is {block}, but no window of {window} pixels fits into it")
        if turns and window % 2 == 0:
            raise ValueError(
                f"turns is true and window is {window}, but only the pixel of an odd window stays "
                f"in its middle: take {window - 1} or {window + 1}"
            )
        self.path, self.label_path, self.generate = path, labels, generate
        self.cube_name, self.labels_name, self.sample = cube_name, labels_name, sample
        self.classes, self.window, self.components = classes, window, components
        self.components_from, self.drop_bands = components_from, drop_bands or []
        self.division, self.split, self.block = division, split or _SHARES, block
        self.split_seed, self.seed, self.drop_last = split_seed, seed, drop_last
        self.turns = turns
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size

    # -- what the data are -------------------------------------------------------------------

    @property
    def protocol(self) -> str:
        """ "paper" where figures are optimistic in the published way, else "clean"."""
        overlapping = self.division == "overlapping" or self.components_from == "scene"
        return "paper" if overlapping else "clean"

    @cached_property
    def cube(self) -> Cube:
        """The scene, made first where that is asked for."""
        if self.generate is not None:
            provide(self.path, self.generate)
        return open_scene(self.path, self.cube_name, self.sample)

    @cached_property
    def bands(self) -> tuple[int, ...]:
        """The bands that are looked at: not dropped, and with numbers."""
        count = self.cube.shape[2]
        wrong = [band for band in self.drop_bands if not 0 <= band < count]
        if wrong:
            raise ValueError(
                f"drop_bands has {wrong[0]}, but {self.cube.name} has 0 to {count - 1}"
            )
        left = [b for b in range(count) if b not in {*self.drop_bands, *self.cube.bad}]
        empty = np.ones(len(left), dtype=bool)
        for _, values in self._strips(left):
            empty &= np.isnan(values).all((0, 1))
        found = tuple(b for b, none in zip(left, empty, strict=True) if not none)
        if not found:
            raise ValueError(f"no band of {self.cube.name} is left: all are bad, dropped or empty")
        return found

    @cached_property
    def labels(self) -> np.ndarray:
        """(rows, columns): classes from 0; -1 where unlabelled or without a whole spectrum."""
        source = self.path if self.label_path is None else self.label_path
        cube = self.cube
        found, named = open_labels(source, self.labels_name, self.sample)
        where = f"the label map{'' if isinstance(source, np.ndarray) else f' of {source}'}"
        if found.shape != cube.shape[:2]:
            raise ValueError(
                f"{where} has {found.shape[0]} x {found.shape[1]} pixels, {cube.name} has "
                f"{cube.shape[0]} x {cube.shape[1]} and {cube.shape[2]} bands: axes are rows, "
                "columns, bands, in this order"
            )
        if self.classes is None and named:
            self.classes = list(named)
        twice = [n for n, name in enumerate(self.classes or ()) if name in self.classes[:n]]  # type: ignore[index]
        if twice:
            raise ValueError(f"classes names {self.classes[twice[0]]!r} twice")  # type: ignore[index]
        known = len(self.classes) if self.classes else int(found.max())
        numbers = np.bincount(found.ravel(), minlength=known + 1)
        if len(numbers) > known + 1:
            raise ValueError(f"{where} has class {len(numbers) - 1}, but classes names {known}")
        if known < 2:
            raise ValueError(f"{where} has fewer than two classes: there is nothing to tell")
        lost = np.flatnonzero(numbers[1:] == 0)
        if len(lost):
            raise ValueError(f"{where} has no pixel of class {lost[0] + 1}")
        return np.where(self._whole(found), found, 0) - 1

    @cached_property
    def pixels(self) -> dict[str, np.ndarray]:
        """(n, 2) rows and columns of each split."""
        division = (self.window, self.division, self.split, self.block, self.split_seed)
        return divide(self.labels, *division, self.cube.name)

    def description(self) -> ScenesDescription:
        """Classes, bands, window and division of the scene."""
        labels, cube = self.labels, self.cube
        count = int(labels.max()) + 1
        counts = ", ".join(f"{len(n):,} {split}" for split, n in self.pixels.items())
        source = {"path": cube.name, "scene": f"{cube.shape[0]} x {cube.shape[1]} pixels"}
        source |= {"pixels": f"{counts} of {int((labels >= 0).sum()):,} labelled"}
        lost = self._lost()
        return ScenesDescription(
            classes=tuple(map(str, self.classes or range(1, count + 1))),
            bands=self.bands,
            all_bands=cube.shape[2],
            window=self.window,
            components=self.components or len(self.bands),
            wavelengths=tuple(cube.wavelengths[band] for band in self.bands if cube.wavelengths),
            division=self.division,
            components_from=self.components_from,
            source=source | lost | {"fingerprint": cube.fingerprint()},
        )

    def normalizers(self) -> tuple[Components]:
        """The components, fitted on the spectra of training pixels, or of all."""
        return (self._components,)

    def remarks(self) -> list[str]:
        """What the report of a run says of the data beside their table."""
        optimism = self.description().optimism()
        return [
            *([optimism] if optimism else []),
            *(f"{v.capitalize()}." for v in self._lost().values()),
        ]

    def check(self, trained: ScenesDescription) -> None:
        """ValueError unless these data suit a model trained on data described by `trained`."""
        trained.require_match(self.description(), self.cube.name)

    def setup(self, stage: str) -> None:
        """Open, check and divide the scene."""
        ranks = joint_processes(self.trainer)[1]
        for split, numbers in self.pixels.items():
            require_windows(len(numbers), ranks, f"{split} ")

    def samples(self, split: str, varied: bool = False) -> SceneSamples:
        """The pixels of "train", "validation" or "test": a data set of `SceneBatch`.

        Args:
            varied: turned and mirrored as in training, where `turns` asks for it.
        """
        if split not in self.pixels:
            raise ValueError(f"there are no {split} pixels: there are {', '.join(self.pixels)}")
        turns = self.seed if varied and self.turns else None
        part = (self.pixels[split], self.labels, self.bands, self.window, turns)
        return SceneSamples(self.cube, self._windows, *part)

    # -- parts -------------------------------------------------------------------------------

    @cached_property
    def _components(self) -> Components:
        moments = Moments(self.cube.name, len(self.bands))
        training = np.zeros(self.cube.shape[:2], dtype=bool)
        training[tuple(self.pixels["train"].T)] = True
        for start, values in self._strips(self.bands):
            chosen = training[start : start + len(values)]
            everywhere = self.components_from == "scene"
            moments.add(values.reshape(-1, values.shape[-1]) if everywhere else values[chosen])
        return Components().fit_to(moments, self.components)

    @cached_property
    def _windows(self) -> Windows | None:
        """Those of the whole scene, where it fits into memory."""
        rows, columns, _ = self.cube.shape
        if 4 * rows * columns * len(self.bands) > _MEMORY_LIMIT:
            return None
        return self.cube.windows((0, rows), (0, columns), self.bands, self.window)

    def _strips(self, bands: Any) -> Any:
        """(first row, (rows, columns, bands)) of the scene, a few rows at a time."""
        rows, columns, _ = self.cube.shape
        for start in range(0, rows, _STRIP):
            stop = min(rows, start + _STRIP)
            yield start, self.cube.read(slice(start, stop), slice(0, columns), bands)

    def _whole(self, labels: np.ndarray) -> np.ndarray:
        """(rows, columns): which spectra are whole; ValueError where a class has none."""
        whole, lacking = np.empty(labels.shape, dtype=bool), np.zeros(len(self.bands), np.int64)
        for start, values in self._strips(self.bands):
            missing = np.isnan(values)
            whole[start : start + len(values)] = ~missing.any(-1)
            lacking += missing[labels[start : start + len(values)] > 0].sum(0)
        lost = sorted({*np.unique(labels).tolist()} - {0} - {*np.unique(labels[whole]).tolist()})
        if lost:
            worst = int(lacking.argmax())
            raise ValueError(
                f"no pixel of class {lost[0]} has a number in all bands of {self.cube.name}; band "
                f"{self.bands[worst]} lacks most, {lacking[worst]:,} labelled pixels: put it into "
                "data.drop_bands"
            )
        return whole

    def _lost(self) -> dict[str, str]:
        """Classes that have no pixel in a split."""
        every, found = set(np.unique(self.labels[self.labels >= 0]).tolist()), {}
        for split, pixels in self.pixels.items():
            absent = sorted(every - set(self.labels[tuple(pixels.T)].tolist()))
            if absent:
                names = [str(self.classes[n] if self.classes else n + 1) for n in absent]
                found[f"not in {split}"] = f"no {split} pixel is left of {', '.join(names)}"
        return found

    def _has(self, split: str) -> bool:
        return split in self.pixels

    def _loader(
        self, split: str, training: bool = False
    ) -> tuple[DataLoader[SceneBatch], BatchOrder]:
        order = EpochOrder if training else BatchOrder
        return self._in_order(self.samples(split, varied=training), order, training)
