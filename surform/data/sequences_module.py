"""Sequences of tokens with one class each as a Lightning data module."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from torch.utils.data import DataLoader

from surform.data.images_splits import divide
from surform.data.loaders import joint_processes
from surform.data.order import BatchOrder, require_windows
from surform.data.ordered_module import OrderedData
from surform.data.provision import provide
from surform.data.sequences_batch import SequenceBatch
from surform.data.sequences_description import TOKENS, SequencesDescription
from surform.data.sequences_open import open_sequences
from surform.data.sequences_samples import SequenceSamples
from surform.data.sequences_source import SequenceSource

__all__ = ["SequencesData"]


class SequencesData(OrderedData):
    """Long sequences of several classes: ListOps, bytes of texts or of pairs of them, pixels.

    Args:
        path: what `open_sequences` reads: generated ListOps or Pathfinder images (.zarr, .nc, .h5),
            tables (.tsv, .csv) of texts, of pairs or of the official ListOps, a folder of such for
            each split, folders of texts by class, or images.
        tokens: "listops", "bytes", "pairs" or "pixels"; "auto" decides by what the file holds.
        generate: make `path` when it is missing: {"solver": "listops", "samples": ..., ...}.
        length: tokens after which sequences are cut; None: that of the longest.
        split: "train", "validation", "test" -> a count or a fraction of the sequences, or of the
            training sequences where they are divided already; every class has its share. Default:
            10 per cent for validation, where it lacks, and as many for a test of undivided data.
        split_seed: of the division.
        batch_size: sequences (or pairs) per training batch and process.
        eval_batch_size: likewise for validation, test and prediction; default `batch_size`.
        drop_last: leave out the last, incomplete training batch of an epoch.
        workers: processes that make batches.
        seed: of shuffling.
    """

    protocol = "clean"

    def __init__(
        self,
        path: str,
        tokens: Literal["auto", "listops", "bytes", "pairs", "pixels"] = "auto",
        generate: dict[str, Any] | None = None,
        length: int | None = None,
        split: dict[str, int | float] | None = None,
        split_seed: int = 0,
        batch_size: int = 32,
        eval_batch_size: int | None = None,
        drop_last: bool = True,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, least, value in (
            ("length", 1, length), ("batch_size", 1, batch_size), ("workers", 0, workers),
            ("eval_batch_size", 1, eval_batch_size), ("seed", 0, seed),
            ("split_seed", 0, split_seed),
        ):  # fmt: skip
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if tokens not in ("auto", *TOKENS):
            raise ValueError(f"tokens={tokens!r}: choose auto, {', '.join(TOKENS)}")
        self.path, self.tokens, self.generate, self.asked_length = path, tokens, generate, length
        self.split, self.split_seed = split, split_seed
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size
        self.drop_last, self.workers, self.seed = drop_last, workers, seed
        self._source: SequenceSource | None = None
        self._numbers: dict[str, np.ndarray] = {}

    # -- what the data are -------------------------------------------------------------------

    @property
    def source(self) -> SequenceSource:
        """The sequences, made where they are missing, opened and divided at first use."""
        if self._source is None:
            if self.generate is not None:
                provide(self.path, self.generate)
            source = open_sequences(self.path, tokens=self.tokens)
            self._numbers = divide(source, self.split, self.split_seed, False, "sequence")
            self._source = source
        return self._source

    @property
    def length(self) -> int:
        """Tokens after which sequences are cut."""
        longest = self.source.longest
        return longest if self.asked_length is None else min(self.asked_length, longest)

    def description(self) -> SequencesDescription:
        """Classes, tokens and provenance of the sequences."""
        source = self.source
        counts = ", ".join(f"{len(n):,} {split}" for split, n in self._numbers.items())
        about = {"path": source.name, "sequences": counts, "fingerprint": source.fingerprint()}
        return SequencesDescription(
            classes=source.classes,
            tokens=source.tokens,
            vocab_size=source.vocab_size,
            length=self.length,
            source=about | dict(source.provenance),
        )

    def check(self, trained: SequencesDescription) -> None:
        """ValueError unless these data suit a model trained on those described by `trained`."""
        trained.require_match(self.description(), self.source.name)

    def held_bytes(self) -> int:
        """What the tokens take in memory."""
        return self.source.nbytes()

    def samples(self, split: str) -> SequenceSamples:
        """The sequences of "train", "validation" or "test": a data set of `SequenceBatch`."""
        if not self._has(split):
            raise ValueError(
                f"there are no {split} sequences: there are {', '.join(self._numbers)}"
            )
        return SequenceSamples(self.source, self._numbers[split], self.length)

    # -- Lightning's hooks -------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Open and divide the sequences."""
        splits = {"fit": ("train", "validation"), "validate": ("validation",)}.get(stage, ("test",))
        for split in splits:
            if self._has(split):
                ranks = joint_processes(self.trainer)[1]
                require_windows(len(self._numbers[split]), ranks, f"{split} ")

    def _has(self, split: str) -> bool:
        return bool(self.source) and split in self._numbers

    def _loader(
        self, split: str, training: bool = False
    ) -> tuple[DataLoader[SequenceBatch], BatchOrder]:
        return self._in_order(self.samples(split), BatchOrder, training, self.workers)
