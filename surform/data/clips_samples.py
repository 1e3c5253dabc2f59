"""The clips of one split as a data set of whole batches of spectrograms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from surform.data.clips_batch import ClipBatch
from surform.data.clips_source import ClipSource
from surform.data.mel import FrontEnd

__all__ = ["ClipSamples", "ClipVariation", "Windows", "spectrogram"]


@dataclass(frozen=True)
class Windows:
    """Which stretch of which clip is a sample.

    Args:
        clips: (N,) numbers of clips in the source.
        begins: (N,) first sample of each stretch.
    """

    clips: np.ndarray
    begins: np.ndarray

    @classmethod
    def of(cls, source: ClipSource, numbers: np.ndarray, window: int, every: bool) -> Windows:
        """One window of so many samples per clip, its first, or all that make it up.

        Of the last window of a clip at least half is sound, the first one apart.
        """
        clips: list[int] = []
        begins: list[int] = []
        for number in numbers.tolist():
            length = int(source.lengths[number])
            most = max(0, length - (window + 1) // 2) if every else 0
            starts = range(0, most + 1, window)
            clips += [number] * len(starts)
            begins += starts
        return cls(np.array(clips, dtype=np.int64), np.array(begins, dtype=np.int64))


@dataclass(frozen=True)
class ClipVariation:
    """What training does to spectrograms, as a function of random numbers that it is given.

    Args:
        frequency_mask, time_mask: most bands and frames that are set to 0 (SpecAugment: Park et
            al., 2019, arXiv 1904.08779).
        noise: uniform noise of up to a tenth of a uniform number is added to what normalised
            spectrograms are (AST).
        roll: most frames by which a spectrogram is moved round (AST).
        jitter: most [Hz] by which the lowest edge of the bands is raised, and width [Hz] of the
            change of the highest (PaSST); (0, 0): none.
    """

    frequency_mask: int = 0
    time_mask: int = 0
    noise: bool = False
    roll: int = 0
    jitter: tuple[int, int] = (0, 0)

    def edges(self, front: FrontEnd, generator: np.random.Generator) -> tuple[float, float]:
        """Of the bands, moved."""
        low, high = front.edges()
        rise, width = self.jitter
        low += int(generator.integers(rise)) if rise else 0
        high += int(generator.integers(width)) - width // 2 if width else 0
        return low, min(high, front.rate / 2)

    def __call__(self, found: Tensor, generator: np.random.Generator, unit: float = 1.0) -> Tensor:
        """A varied copy of (frames, bins); `unit` is by what normalisation will divide it."""
        found = found.clone()
        for axis, most in ((1, self.frequency_mask), (0, self.time_mask)):
            if most:
                width = int(generator.uniform(0, min(most, found.shape[axis])))
                begin = int(generator.uniform(0, found.shape[axis] - width))
                found.narrow(axis, begin, width).zero_()
        if self.noise:
            scale = unit * generator.random() / 10
            found += scale * torch.from_numpy(generator.random(found.shape)).to(found)
        if self.roll:
            found = found.roll(int(generator.integers(-self.roll, self.roll + 1)), 0)
        return found


class ClipSamples:
    """Batches of a split, prepared for evaluation or varied for training.

    A list of numbers n asks for sample n modulo the number of samples in epoch n divided by it; see
    `surform.data.images_samples.ImageSamples`. Of clips that are longer than a window training
    takes a random stretch, where each has one sample only.

    Args:
        windows: the samples.
        frames: of each spectrogram.
        variation: of training; None: as in evaluation.
        wander: whether stretches of longer clips are random.
    """

    def __init__(
        self,
        source: ClipSource,
        windows: Windows,
        front: FrontEnd,
        frames: int,
        variation: ClipVariation | None = None,
        seed: int = 0,
        wander: bool = False,
    ) -> None:
        self.source, self.windows, self.front, self.frames = source, windows, front, frames
        self.variation, self.seed, self.wander = variation, seed, wander
        self.held: Tensor | None = None
        self.unit = 1.0  # of normalised spectrograms, once it is known

    def __len__(self) -> int:
        return len(self.windows.clips)

    def __getitem__(self, asked: Sequence[int]) -> ClipBatch:
        index = np.asarray(asked) % len(self)
        labels = self.source.labels
        targets = labels[self.windows.clips[index]] if len(labels) else labels
        return ClipBatch(
            spectrograms=torch.stack([self._one(int(number)) for number in asked]),
            targets=torch.from_numpy(np.array(targets)),
            index=torch.from_numpy(index.astype(np.int64)),
        )

    def labels(self, index: Tensor) -> dict[str, Any]:
        """What each clip is called."""
        return {"name": [self.source.title(int(self.windows.clips[n])) for n in index.tolist()]}

    def nbytes(self) -> int:
        """What all spectrograms take in memory."""
        return len(self) * self.frames * self.front.bins * 4

    def hold(self, progress: Callable[[float], None]) -> None:
        """Make all spectrograms now, so that damaged files are found before training."""
        if self.held is None and not self._moves():
            made = []
            for number in range(len(self)):
                made.append(self._made(number, None))
                progress((number + 1) / len(self))
            self.held = torch.stack(made)

    def _moves(self) -> bool:
        """Whether a sample's sound differs from epoch to epoch, before it is varied."""
        if self.variation is not None and any(self.variation.jitter):
            return True
        longest = int(self.source.lengths[self.windows.clips].max(initial=0))
        return self.wander and self._is_long(longest)

    def _is_long(self, samples: int) -> bool:
        """Whether so many samples make more frames than are wanted."""
        return self.front.frames(samples) > self.frames

    def _one(self, asked: int) -> Tensor:
        epoch, number = divmod(asked, len(self))
        if self.variation is None:
            return self.held[number] if self.held is not None else self._made(number, None)
        place = int(self.windows.clips[number]), int(self.windows.begins[number])
        generator = np.random.default_rng([self.seed, epoch, *place])
        found = self.held[number] if self.held is not None else self._made(number, generator)
        return self.variation(found, generator, self.unit)

    def _made(self, number: int, generator: np.random.Generator | None) -> Tensor:
        clip, begin = int(self.windows.clips[number]), int(self.windows.begins[number])
        length = int(self.source.lengths[clip])
        window = self.front.samples(self.frames)
        edges = None
        if generator is not None and self.variation is not None:
            edges = self.variation.edges(self.front, generator)
            if self.wander and self._is_long(length):
                begin = int(generator.integers(length - window + 1))
        waveform = self.source.read(clip, begin, begin + window)
        return spectrogram(waveform, self.front, self.frames, edges)


def spectrogram(
    waveform: np.ndarray,
    front: FrontEnd,
    frames: int,
    edges: tuple[float, float] | None = None,
) -> Tensor:
    """(frames, bins) of a waveform no longer than that; shorter ones are filled up.

    As published: with zeros behind the spectrogram (AST), or silence behind the sound (PaSST).
    """
    values = torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32))
    least = front.samples(frames) if front.kind == "passt" else front.shortest
    values = F.pad(values, (0, max(0, least - len(values))))
    found = front(values[None], edges)[0, :frames]
    return F.pad(found, (0, 0, 0, frames - len(found)))
