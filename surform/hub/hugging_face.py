"""Model folders of the transformers library: read as they are, and written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_file
from torch import Tensor, nn

from surform.data.atomic import replacing, writer_lock
from surform.hub.config import CONFIG, PREPROCESSOR, WEIGHTS
from surform.hub.convert import convert_state, wrap
from surform.hub.official.fixture import System
from surform.hub.weights import read_tensors
from surform.registry import find, names

if TYPE_CHECKING:
    from surform.hub.pretrained import Pretrained

__all__ = ["Layout", "load_hugging_face", "read_layout", "save_hugging_face"]

State = dict[str, Tensor]
Values = dict[str, Any]


@dataclass(frozen=True)
class Layout:
    """How transformers writes one kind of model; registered under its `model_type`.

    system: the official code base whose names and arguments stand between that layout and ours.
    read(config, state) -> official constructor arguments and state dict; ValueError names a setting
        that has no counterpart.
    write(net) -> transformers' config and state dict, None for networks of another kind; ValueError
        says why a network has no exact counterpart.
    """

    system: str
    read: Callable[[Values, State], tuple[Values, State]]
    write: Callable[[nn.Module], tuple[Values, State] | None]


def read_layout(folder: str | Path) -> tuple[Layout, Values] | None:
    """The layout and config of a folder that transformers wrote; None for any other folder.

    Raises:
        ValueError: transformers wrote it, but for a kind of model that is not known here.
    """
    try:
        config = json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None  # whoever reads it as one of ours says what is wrong
    if not isinstance(config, dict) or "format_version" in config or "model_type" not in config:
        return None
    known = names("hugging_face")
    if config["model_type"] not in known:
        raise ValueError(
            f"{folder} holds a model of transformers of the type {config['model_type']!r}; "
            f"surform reads {', '.join(known)}"
        )
    return find("hugging_face", config["model_type"]), config


def load_hugging_face(folder: str | Path, layout: Layout, config: Values) -> Pretrained:
    """A folder of transformers as one of our models, in evaluation mode; every key accounted for.

    Raises:
        FileNotFoundError: it has no weights.
        ValueError: settings without a counterpart, or missing, unknown or misshapen weights.
    """
    folder = Path(folder)
    system: System = find("official", layout.system)
    try:
        constructor, state = layout.read(config, read_tensors(folder / WEIGHTS))
    except (LookupError, TypeError) as error:
        raise ValueError(
            f"{folder} is no readable {config['model_type']} model of transformers: "
            f"{type(error).__name__} at {error}"
        ) from error
    net, _ = convert_state(system, state, constructor, None, {}, str(folder))
    model = wrap(net, system, f"transformers, {config['model_type']}: {folder.name}", str(folder))
    colors = _read_colors(folder / PREPROCESSOR)
    if colors is not None and hasattr(model, "fit_colors"):
        model.fit_colors(*colors)  # type: ignore[operator]
    return model.eval()


def save_hugging_face(model: Pretrained, folder: str | Path) -> Path:
    """Write a model so that transformers reads it; returns the folder.

    Raises:
        ValueError: transformers has no such model, or none that computes exactly the same.
        FileExistsError: there is a folder or file of that name.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} exists: give the name of a new folder")
    layouts: list[Layout] = [find("hugging_face", kind) for kind in names("hugging_face")]
    written = next(filter(None, (layout.write(model.net) for layout in layouts)), None)
    if written is None:
        raise ValueError(f"transformers has no counterpart of a {type(model.net).__name__}")
    config, state = written
    colors = getattr(model, "normalizer", None)
    with writer_lock(folder), replacing(folder) as partial:
        partial.mkdir()
        tensors = {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}
        save_file(tensors, partial / WEIGHTS, metadata={"format": "pt"})
        _write(partial / CONFIG, config)
        if colors is not None:
            mean, std = (value.flatten().tolist() for value in (colors.mean, colors.std))
            _write(partial / PREPROCESSOR, {"image_mean": mean, "image_std": std})
    return folder


def _write(path: Path, values: Values) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _read_colors(path: Path) -> tuple[list[float], list[float]] | None:
    """Mean and deviation of the colours, where the folder tells them."""
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not {"image_mean", "image_std"} <= set(values):
            return None
        mean, std = ([float(v) for v in values[name]] for name in ("image_mean", "image_std"))
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} is no readable preprocessor configuration: {error}") from error
    return mean, std
