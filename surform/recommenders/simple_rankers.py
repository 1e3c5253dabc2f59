"""Rankers that every other should beat, fitted to the training split: for the report."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from surform.data.interactions_batch import InteractionsBatch
from surform.data.interactions_description import InteractionsDescription
from surform.data.normalizers import Normalizer
from surform.recommenders.logistic_regression import LogisticRegression
from surform.recommenders.popularity import Popularity
from surform.recommenders.ranker import Ranker
from surform.recommenders.split_scores import SplitScores
from surform.training.binary_cross_entropy import BinaryCrossEntropy
from surform.training.prediction import Prediction

__all__ = ["compared_rows"]

_BATCH = 4096
_STEPS = 400  # of logistic regression; and the batches that popularities are counted in
_FIGURES = ("auc", "log_loss", "normalized_entropy")


def compared_rows(ranker: Ranker, data: Any) -> list[dict[str, Any]]:
    """Figures on the validation split of a ranker, of popularity and of logistic regression.

    Of the popularities of each column only the best one is shown. The simple rankers see at most
    400 batches of 4096 training rows. Nothing is compared on rows that stay in their files: these
    would be read once more for each.
    """
    about = ranker.description
    if about is None or data.streams:
        return []
    rows: list[dict[str, Any]] = [
        {"ranker": type(ranker.net).__name__, **_figures(ranker, data, raw=True)}
    ]
    sizes = [about.rows(name) for name in about.categorical]
    if sizes:
        counted = {
            name: Popularity(tuple(sizes), feature=place, tasks=len(about.labels))
            for place, name in enumerate(about.categorical)
        }
        found = {name: _figures(_observed(net, data), data) for name, net in counted.items()}
        best = max(found, key=lambda name: found[name]["auc"])
        rows.append({"ranker": f"popularity of {best}", **found[best]})
    return [*rows, {"ranker": "logistic regression", **_figures(_regression(data, about), data)}]


def _observed(net: Popularity, data: Any) -> Popularity:
    for batch in _batches(data.samples("train"), _STEPS):
        net.observe(batch.categorical, batch.labels)
    return net


def _regression(data: Any, about: InteractionsDescription) -> nn.Module:
    """Logistic regression by Adam; sees rows in random order."""
    with torch.random.fork_rng([]), torch.enable_grad():
        torch.manual_seed(0)
        net = LogisticRegression(
            tuple(about.rows(name) for name in about.categorical),
            tuple(about.rows(name) for name in about.multivalued),
            len(about.dense),
            tasks=len(about.labels),
        )
        samples, loss = data.samples("train"), BinaryCrossEntropy()
        steps = min(_STEPS, max(_STEPS // 4, 3 * len(samples) // _BATCH))
        optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, steps)
        for _ in range(steps):
            batch = samples[torch.randint(len(samples), (min(_BATCH, len(samples)),)).tolist()]
            output = net(**_inputs(batch, data))
            known = ~batch.labels.isnan()
            target = batch.labels.nan_to_num(0.0)
            optimizer.zero_grad()
            loss(Prediction(output, target, known.to(output.dtype))).backward()
            optimizer.step()
            schedule.step()
    return net


@torch.no_grad()
def _figures(net: nn.Module, data: Any, raw: bool = False) -> dict[str, float]:
    """raw: the network standardises numbers itself."""
    scores, samples = SplitScores(), data.samples("validation")
    for batch in _batches(samples):
        chances = net(**(batch.inputs() if raw else _inputs(batch, data))).float().sigmoid()
        scores.add(batch.index, chances, batch.labels, batch.group)
    return scores.figures(_FIGURES)


def _inputs(batch: InteractionsBatch, data: Any) -> dict[str, torch.Tensor]:
    found = batch.inputs()
    if "dense" in found:
        normalizer: Normalizer = data.normalizers()[0]
        found["dense"] = normalizer.normalize(found["dense"]).to(torch.get_default_dtype())
    return found


def _batches(samples: Any, most: int | None = None) -> Any:
    """Batches of a split in its order; at most so many, spread over it."""
    count = -(-len(samples) // _BATCH)
    for number in range(0, count, -(-count // most) if most else 1):
        first = number * _BATCH
        yield samples[list(range(first, min(first + _BATCH, len(samples))))]
