"""Write a model folder: weights, configuration and card, complete or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save_file

from surform.data.atomic import replacing, writer_lock
from surform.hub.card import make_card
from surform.hub.config import CARD, CONFIG, WEIGHTS, Config, write_config
from surform.hub.recorded import plain, recorded

if TYPE_CHECKING:
    from surform.hub.pretrained import Pretrained

__all__ = ["describe", "save"]


def save(model: Pretrained, folder: str | Path, *, model_card: str | None = None) -> Path:
    """`Pretrained.save_pretrained`."""
    folder = Path(folder)
    model.require_statistics()
    _require_own(folder)
    config = describe(model)
    card = make_card(model, config) if model_card is None else model_card
    with writer_lock(folder), replacing(folder) as partial:
        partial.mkdir()
        save_file(model.state_tensors(), partial / WEIGHTS, metadata={"format": "pt"})
        write_config(config, partial)
        (partial / CARD).write_text(card, encoding="utf-8")
    return folder


def describe(model: Pretrained) -> Config:
    """The configuration of a model; ValueError when something in it is no plain value."""
    if not model.kind:
        raise ValueError(f"{type(model).__name__} has no `kind`: it cannot be loaded again")
    description = model.description
    return Config(
        kind=model.kind,
        net=recorded(model.net),
        normalizers=tuple(model.normalizers()),
        settings=plain(model.settings(), f"{type(model).__name__}.settings()"),
        description=None if description is None else plain(description.to_dict(), "description"),
        metrics={
            name: {"value": float(value), "protocol": model.protocols.get(name, "clean")}
            for name, value in model.metrics.items()
        },
        card={name: str(text) for name, text in model.card.items()},
    )


def _require_own(folder: Path) -> None:
    """An existing folder is replaced as a whole: never one that holds anything else."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; a model is saved as a folder")
    others = sorted(p.name for p in folder.iterdir() if p.name not in (CARD, CONFIG, WEIGHTS))
    if others:
        raise FileExistsError(
            f"{folder} holds other files ({', '.join(others[:3])}): save to a folder of its own"
        )
