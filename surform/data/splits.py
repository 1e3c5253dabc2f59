"""Which samples train, validate and test."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["SPLITS", "split_samples"]

SPLITS = ("train", "validation", "test")


def split_samples(split: Mapping[str, float], samples: int, where: str) -> dict[str, range]:
    """Ranges of samples per split: train from the first on, test up to the last.

    Validation lies directly before test; samples between train and validation are unused. So
    `{"train": 1024, "test": 100}` of 2048 samples are the first 1024 and the last 100, as the
    papers split their files.

    Args:
        split: "train", "validation", "test" -> a count (int), or a fraction of all samples
            (float of at most 1).
        samples: how many samples there are.
        where: names the data in errors.

    Raises:
        ValueError: unknown names, negative, empty or overlapping splits.
    """
    for name in split:
        if name not in SPLITS:
            raise ValueError(f"unknown split {name!r}: choose {', '.join(SPLITS)}")
    counts = {name: _count(name, split[name], samples, where) for name in SPLITS if name in split}
    if sum(counts.values()) > samples:
        parts = " + ".join(f"{name} {count}" for name, count in counts.items())
        raise ValueError(
            f"the splits overlap: {parts} = {sum(counts.values())} samples, but {where} has "
            f"{samples}"
        )
    end_of_validation = samples - counts.get("test", 0)
    starts = {
        "train": 0,
        "validation": end_of_validation - counts.get("validation", 0),
        "test": end_of_validation,
    }
    return {name: range(starts[name], starts[name] + counts[name]) for name in counts}


def _count(name: str, amount: float, samples: int, where: str) -> int:
    if isinstance(amount, bool) or not isinstance(amount, (int, float)) or amount < 0:
        raise ValueError(f"split {name}={amount!r}: give a count or a fraction of the samples")
    if isinstance(amount, float) and amount > 1:
        raise ValueError(f"split {name}={amount}: a fraction is at most 1.0, a count is an integer")
    # 0.1 of 30 is 3, although 0.1 * 30 is a little more and 0.7 * 10 a little less
    count = int(amount * samples + 1e-6) if isinstance(amount, float) else amount
    if count == 0:
        raise ValueError(f"split {name}={amount} is empty: {where} has {samples} samples")
    return count
