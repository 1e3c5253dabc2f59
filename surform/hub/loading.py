"""`load_model`: from a name, a folder, an archive, the hub or an official checkpoint."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from surform.data.faults import parsing
from surform.hub.archive import is_archive, unpack
from surform.hub.building import build_net, call
from surform.hub.config import CONFIG, WEIGHTS, Config, read_config
from surform.hub.hugging_face import load_hugging_face, read_layout
from surform.hub.index import closest, entries, model_folder
from surform.hub.migrations import migrate_state
from surform.hub.room import no_larger_than
from surform.hub.weights import load_state, read_tensors
from surform.registry import find, names

if TYPE_CHECKING:
    from surform.hub.pretrained import Pretrained

__all__ = ["load_folder", "load_model"]

_CHECKPOINTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")


def load_model(
    source: str | Path,
    *,
    system: str | None = None,
    constructor: Mapping[str, Any] | None = None,
    kind: str | None = None,
    net: nn.Module | None = None,
    device: str | torch.device = "cpu",
    token: str | None = None,
) -> Pretrained:
    """A saved model in evaluation mode, ready to predict.

    Args:
        source: a folder (a run's holds its model), a .zip or .tar of one, a shipped model's name
            (`surform list`; a path of that name goes first), `hf://owner/repo[@revision]`, or,
            with `system`, an official checkpoint. Folders and repositories may also be those of
            transformers' VitPose and AST.
        system: official code base of the checkpoint, e.g. "galerkin".
        constructor: arguments of the official constructor, where they cannot be read off.
        kind: kind of model within `system`, where the constructor leaves it open.
        net: a network to load the weights into, for classes that are not registered.
        device: where to put the model.
        token: login for private repositories.

    Raises:
        FileNotFoundError: nothing of that name.
        ValueError: damaged, incomplete, hostile or too new; the sentence says which and where.
    """
    if system is not None:
        from surform.hub.convert import from_official

        return from_official(source, system, constructor, kind).model.to(device).eval()
    if constructor is not None or kind is not None:
        raise ValueError("`constructor` and `kind` belong to official checkpoints: give `system`")
    text = str(source)
    if text.startswith("hf://"):
        from surform.hub.remote import download

        return load_folder(download(text, token=token), net=net).to(device)
    folder = Path(source) if Path(source).exists() else model_folder(text) or Path(source)
    if folder.is_dir():
        return load_folder(_saved_in(folder), net=net).to(device)
    if not folder.is_file():
        raise FileNotFoundError(_not_found(text))
    if is_archive(folder):
        return _load_archive(folder, net).to(device)
    systems = ", ".join(sorted(names("official")))
    if folder.suffix in _CHECKPOINTS:
        raise ValueError(
            f"{source} is no saved surform model; official checkpoint of {systems}? "
            "Then give system="
        )
    raise ValueError(f"{source} is neither a folder nor a .zip or .tar archive of a saved model")


def _saved_in(folder: Path) -> Path:
    """A folder, or the model that a run left in it."""
    inside = folder / "model"
    is_run = (inside / CONFIG).is_file() and not (folder / CONFIG).exists()
    return inside if is_run else folder


def load_folder(folder: str | Path, *, net: nn.Module | None = None) -> Pretrained:
    """A saved folder as a model in evaluation mode; see `load_model` for the errors."""
    folder = Path(folder)
    foreign = read_layout(folder) if net is None else None
    if foreign is not None:
        with parsing(folder):
            return load_hugging_face(folder, *foreign)
    config = read_config(folder)
    with parsing(folder):
        return _built(config, folder, net)


def _built(config: Config, folder: Path, net: nn.Module | None) -> Pretrained:
    """The model that a configuration describes, with the weights beside it."""
    where = str(folder)
    state = migrate_state(read_tensors(folder / WEIGHTS), config.stored_version)
    _require_statistics(config, state, where)
    surrogate = find("surrogates", config.kind)
    if net is None:
        with no_larger_than(state):
            net = build_net(config.net, where)
    model = call(surrogate, {"net": net} | config.settings, where)
    if config.description is not None:
        model.description = model.read_description(config.description)
    model.metrics = {n: _number(entry["value"]) for n, entry in config.metrics.items()}
    model.protocols = {n: entry["protocol"] for n, entry in config.metrics.items()}
    model.card = dict(config.card)
    load_state(model, state, where)
    model.require_statistics()
    model.check_statistics()
    return model.eval()


def _load_archive(archive: Path, net: nn.Module | None) -> Pretrained:
    with tempfile.TemporaryDirectory(prefix="surform-") as temporary:
        folder = unpack(archive, temporary)
        try:
            return load_folder(folder, net=net)
        except (ValueError, OSError) as error:
            # The user knows the archive, not the folder it was unpacked to.
            raise type(error)(str(error).replace(str(folder), str(archive))) from error


def _require_statistics(config: Config, state: dict[str, Tensor], where: str) -> None:
    lost = [n for n in config.normalizers if f"{n}.mean" not in state or f"{n}.std" not in state]
    if lost:
        raise ValueError(
            f"{where} has lost the statistics of {' and '.join(lost)}: its predictions would be "
            "garbage, so it is not loaded"
        )


def _not_found(source: str) -> str:
    near = closest(source)
    shipped = (
        f"did you mean {', '.join(near)}?"
        if near
        else (f"shipped models: {', '.join(entries()) or 'none'}")
    )
    return f"no model {source!r}: neither a shipped name, nor a folder or archive; {shipped}"


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
