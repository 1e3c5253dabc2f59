"""Clips of sound with labels as a Lightning data module."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader

from surform.data.clips_batch import ClipBatch
from surform.data.clips_description import ClipsDescription
from surform.data.clips_files import Reading
from surform.data.clips_open import open_clips
from surform.data.clips_samples import ClipSamples, ClipVariation, Windows
from surform.data.clips_source import ClipSource
from surform.data.clips_splits import divide_clips
from surform.data.images_samples import EpochOrder
from surform.data.loaders import joint_processes
from surform.data.mel import FrontEnd, FrontEndKind
from surform.data.normalizers import Normalizer
from surform.data.order import BatchOrder, require_windows
from surform.data.ordered_module import OrderedData
from surform.data.provision import provide
from surform.data.solvers.progress import progress_bar

__all__ = ["ClipsData"]

SOUNDS: dict[str, Any] = {"solver": "sounds", "samples": 2000, "seed": 0}
_FILE = "sounds.zarr"  # where they are made without a path
_MEMORY_LIMIT = 2**30  # spectrograms are held in memory up to this size under "auto"
_MOST = 10_000  # spectrograms for the statistics; more hardly change the third digit


class ClipsData(OrderedData):
    """Log-mel spectrograms of clips with labels, from folders, tables or arrays.

    Args:
        path: what `surform.data.clips_open.open_clips` reads: a folder with a folder for each class
            (perhaps below train, val and test), ESC-50, Speech Commands, AudioSet, a .csv, .zarr,
            .nc or .h5; in Python also an xarray.Dataset. None: made sounds, in the file
            "sounds.zarr", which is made when it is not there yet.
        generate: make `path` with a solver ({"solver": "sounds", "samples": 2000, ...}) when it is
            not there yet.
        frames: of a spectrogram, 10 ms each; None: as many as the longest clip has.
        front_end: "kaldi" (AST) or "passt"; see `surform.data.mel.FrontEnd`.
        rate: samples per second of the sounds [Hz].
        mel_bins: mel bands.
        low, high: edges of the bands [Hz]; None: those of the front end.
        classes: names of the classes in the order of their numbers; None finds them.
        several: whether a clip may have several classes, or none; None: as the labels are.
        fold: of tables with folds (ESC-50), the one that tests.
        missing: "skip" leaves out files that a table names and that are not there.
        stereo: sounds of several channels are refused ("refuse"), averaged ("mean"), or their first
            one is taken ("left").
        resample: change other rates to `rate`, instead of refusing them.
        long: clips longer than `frames` give one sample ("one": a random stretch in training, the
            first in evaluation), or one for each window of that length ("windows").
        split: "train", "validation", "test" -> a count or a fraction of the clips, or of the
            training clips where they are divided already. Default: 10 per cent for validation,
            where it lacks, and as many for a test of undivided clips.
        split_seed: of the division.
        frequency_mask, time_mask: most bands and frames that training sets to 0.
        noise: training adds uniform noise to normalised spectrograms, as AST may.
        roll: most frames by which training moves a spectrogram round.
        jitter: training moves the edges of the bands by up to so many Hz (lowest, highest).
        normalize: "train": the mean and deviation of the training spectrograms; {"mean": -4.27,
            "std": 4.57} gives published ones. Spectrograms are (x - mean) / (2 std).
        batch_size: samples per training batch and process.
        eval_batch_size: likewise for validation, test and prediction; default `batch_size`.
        drop_last: leave out the last, incomplete training batch of an epoch.
        protocol: "clean", or "paper": the test clips choose the best weights, too, as in published
            code.
        workers: processes that read and vary clips.
        cache: "memory" makes spectrograms once, "files" whenever they are needed, "auto" decides by
            size (1 GiB).
        seed: of shuffling and variation.
    """

    def __init__(
        self,
        path: Any = None,
        generate: dict[str, Any] | None = None,
        frames: int | None = None,
        front_end: FrontEndKind = "kaldi",
        rate: int = 16000,
        mel_bins: int = 128,
        low: float | None = None,
        high: float | None = None,
        classes: list[str] | None = None,
        several: bool | None = None,
        fold: int = 1,
        missing: Literal["refuse", "skip"] = "refuse",
        stereo: Literal["refuse", "mean", "left"] = "refuse",
        resample: bool = False,
        long: Literal["one", "windows"] = "one",
        split: dict[str, int | float] | None = None,
        split_seed: int = 0,
        frequency_mask: int = 0,
        time_mask: int = 0,
        noise: bool = False,
        roll: int = 0,
        jitter: list[int] | None = None,
        normalize: str | dict[str, float] = "train",
        batch_size: int = 32,
        eval_batch_size: int | None = None,
        drop_last: bool = True,
        protocol: Literal["clean", "paper"] = "clean",
        workers: int = 0,
        cache: Literal["auto", "memory", "files"] = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, choices in (
            ("missing", missing, ("refuse", "skip")),
            ("long", long, ("one", "windows")),
            ("protocol", protocol, ("clean", "paper")),
            ("cache", cache, ("auto", "memory", "files")),
        ):
            if value not in choices:
                raise ValueError(f"{name}={value!r}: choose {', '.join(choices)}")
        for name, least, value in (
            ("frames", 1, frames), ("batch_size", 1, batch_size), ("workers", 0, workers),
            ("eval_batch_size", 1, eval_batch_size), ("seed", 0, seed), ("roll", 0, roll),
            ("split_seed", 0, split_seed), ("frequency_mask", 0, frequency_mask),
            ("time_mask", 0, time_mask),
        ):  # fmt: skip
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if jitter is not None and (len(jitter) != 2 or min(jitter) < 0):
            raise ValueError(f"jitter is {jitter}, but must be two numbers of Hz, not negative")
        if isinstance(normalize, str) and normalize != "train":
            raise ValueError(f"normalize={normalize!r}: choose train, or a mean and std")
        self.path = _FILE if path is None else path
        self.generate = SOUNDS if path is None and generate is None else generate
        self.front = FrontEnd(front_end, rate, mel_bins, low, high)
        self.reading = Reading(rate, stereo, resample)
        self.opening: dict[str, Any] = {
            "classes": classes, "several": several, "fold": fold, "missing": missing,
        }  # fmt: skip
        self._frames, self.every = frames, long == "windows"
        self.split, self.split_seed = split, split_seed
        low_jitter, high_jitter = jitter or (0, 0)
        self.variation = ClipVariation(
            frequency_mask, time_mask, noise, roll, (low_jitter, high_jitter)
        )
        self.normalize = normalize
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size
        self.drop_last, self.protocol, self.workers = drop_last, protocol, workers
        self.cache, self.seed = cache, seed
        self._source: ClipSource | None = None
        self._numbers: dict[str, np.ndarray] = {}
        self._samples: dict[tuple[str, bool], ClipSamples] = {}
        self._normalizer: Normalizer | None = None

    # -- what the data are -------------------------------------------------------------------

    @property
    def source(self) -> ClipSource:
        """The clips, opened and divided at first use."""
        if self._source is None:
            if self.generate is not None:
                provide(self.path, self.generate)
            source = open_clips(self.path, self.reading, **self.opening)
            self._require_sound(source)
            validate_on_test = self.protocol == "paper"
            self._numbers = divide_clips(source, self.split, self.split_seed, validate_on_test)
            self._source = source
        return self._source

    @property
    def frames(self) -> int:
        """Of a spectrogram."""
        return self._frames or self.front.frames(int(self.source.lengths.max()))

    def description(self) -> ClipsDescription:
        """Classes, spectrograms and provenance of the clips."""
        source = self.source
        counts = ", ".join(f"{len(n):,} {split}" for split, n in self._numbers.items())
        return ClipsDescription(
            classes=source.classes,
            frames=self.frames,
            front_end=self.front.to_dict(),
            several=source.several,
            source={"path": source.name, "clips": counts, "fingerprint": source.fingerprint()},
        )

    def normalizers(self) -> tuple[Normalizer]:
        """The normaliser of the spectrograms."""
        if self._normalizer is None:
            self._normalizer = self._fitted()
        return (self._normalizer,)

    def check(self, trained: ClipsDescription) -> None:
        """ValueError unless these data suit a model trained on data described by `trained`."""
        trained.require_match(self.description(), self.source.name)

    def held_bytes(self) -> int:
        """What the spectrograms take in memory."""
        return sum(each.nbytes() for each in self._samples.values() if each.held is not None)

    # -- Lightning's hooks -------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Open, check and, where they fit, transform the clips; make the samples of the stage."""
        splits = {"fit": ("train", "validation"), "validate": ("validation",)}.get(stage, ("test",))
        for split in splits:
            if self._has(split):
                ranks = joint_processes(self.trainer)[1]
                require_windows(len(self.samples(split)), ranks, f"{split} ")
                self._hold(self.samples(split, varied=split == "train" and stage == "fit"))

    # -- parts -------------------------------------------------------------------------------

    def samples(self, split: str, varied: bool = False) -> ClipSamples:
        """The clips of "train", "validation" or "test": a data set of `ClipBatch`.

        Args:
            varied: as training varies them.
        """
        if not self._has(split):
            raise ValueError(f"there are no {split} clips: there are {', '.join(self._numbers)}")
        if (split, varied) not in self._samples:
            window = self.front.samples(self.frames)
            windows = Windows.of(self.source, self._numbers[split], window, self.every)
            self._samples[split, varied] = ClipSamples(
                self.source,
                windows,
                self.front,
                self.frames,
                self.variation if varied else None,
                self.seed,
                wander=varied and not self.every,
            )
        return self._samples[split, varied]

    def _require_sound(self, source: ClipSource) -> None:
        """ValueError for clips that are too short for one frame."""
        short = np.flatnonzero(source.lengths < self.front.shortest)
        if len(short):
            at = int(short[0])
            raise ValueError(
                f"{source.title(at)} of {source.name} has {source.lengths[at]} samples, but one "
                f"frame takes {self.front.shortest}: leave it out"
            )

    def _hold(self, samples: ClipSamples) -> None:
        if self.cache == "memory" or (self.cache == "auto" and samples.nbytes() <= _MEMORY_LIMIT):
            with progress_bar(f"spectrograms of {self.source.name}") as progress:
                samples.hold(progress)

    def _fitted(self) -> Normalizer:
        if isinstance(self.normalize, dict):
            return _given(self.normalize)
        samples = self.samples("train", varied=True)
        self._hold(samples)
        chosen = np.linspace(0, len(samples) - 1, min(len(samples), _MOST)).round().astype(int)
        if samples.held is not None:
            held = samples.held[torch.from_numpy(chosen)].double()
            mean, std = held.mean(), held.std(correction=0)
        else:
            plain = self.samples("train")
            total = squares = count = 0.0
            for start in range(0, len(chosen), 64):
                found = plain[chosen[start : start + 64].tolist()].spectrograms.double()
                total, squares = total + found.sum(), squares + found.square().sum()
                count += found.numel()
            mean = torch.as_tensor(total / count)
            std = (torch.as_tensor(squares / count) - mean.square()).clamp(min=0).sqrt()
        if not std > 0:
            raise ValueError(f"all training clips of {self.source.name} are silent alike")
        return Normalizer(mean.float(), 2 * std.float())

    def _has(self, split: str) -> bool:
        return split in (self._numbers if self.source else {})

    def _loader(
        self, split: str, training: bool = False
    ) -> tuple[DataLoader[ClipBatch], BatchOrder]:
        samples = self.samples(split, varied=training)
        if training and self.variation.noise:
            samples.unit = float(self.normalizers()[0].std)
        return self._in_order(
            samples, EpochOrder if training else BatchOrder, training, self.workers
        )


def _given(normalize: dict[str, float]) -> Normalizer:
    """Published statistics; ValueError unless they are a mean and a deviation."""
    if set(normalize) != {"mean", "std"} or not normalize["std"] > 0:
        raise ValueError(f"normalize is {normalize}, but must be a mean and a positive std")
    mean, std = (torch.tensor(float(normalize[name])) for name in ("mean", "std"))
    return Normalizer(mean, 2 * std)
