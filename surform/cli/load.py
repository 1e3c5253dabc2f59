"""Whatever names a model on the command line: a checkpoint, a run, or what `load_model` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["load_any", "names_saved_model"]


def load_any(source: str, device: str = "cpu", net: Any = None) -> Any:
    """A surrogate in evaluation mode from a .ckpt, a run folder, or the hub's sources.

    Args:
        net: a network to fill, of a class that is not registered.
    """
    path = Path(source)
    if path.suffix == ".ckpt":
        from surform.training.checkpoint import load_surrogate

        return load_surrogate(path, net).to(device).eval()
    from surform.hub import load_model

    return load_model(source, device=device, net=net)


def names_saved_model(source: str) -> bool:
    """Whether a source is a saved model, and neither a checkpoint nor a run that holds some."""
    from surform.hub.archive import is_archive
    from surform.hub.index import model_folder

    path = Path(source)
    if path.is_dir():
        return (path / "config.json").is_file()
    if path.is_file():
        return path.suffix != ".ckpt" and is_archive(path)
    return source.startswith("hf://") or model_folder(source) is not None
