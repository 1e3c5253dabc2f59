"""Official checkpoints as our models, with every key accounted for, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from surform.data.atomic import replacing, writer_lock
from surform.data.normalizers import Normalizer
from surform.hub.building import build_net, call
from surform.hub.official.accounting import Accounting, account
from surform.hub.official.checkpoint import open_checkpoint
from surform.hub.official.fixture import System
from surform.hub.pretrained import Pretrained
from surform.hub.recorded import plain
from surform.registry import find

__all__ = ["Converted", "convert_state", "from_official", "to_official", "wrap"]

_LIMITS = (
    "Converted from an official checkpoint, which holds no normalisation statistics: inputs and "
    "outputs are in the official code's normalised units, and the data are not described."
)
_NO_DATA = "Converted from an official checkpoint: the data behind the weights are not described."


@dataclass(frozen=True)
class Converted:
    """A converted model and what became of the official keys."""

    model: Pretrained
    accounting: Accounting


def from_official(
    checkpoint: str | Path,
    system: str,
    constructor: Mapping[str, Any] | None = None,
    kind: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Converted:
    """Read an official checkpoint file; its statistics are identities (see the card's limits).

    Args:
        checkpoint: .pt, .pth, .ckpt or .safetensors.
        system: registered official code base.
        constructor: official constructor arguments; None: those in the file, or read off the
            tensors, when the system can.
        kind: kind of model, where the constructor leaves it open.
        options: what the golden fixtures of that kind call options.

    Raises:
        ValueError: the file is refused or damaged, or keys are missing, unknown or misshapen.
    """
    official: System = find("official", system)
    if kind is not None and kind not in official.kinds:
        raise ValueError(f"{system} has no kind {kind!r}: choose {', '.join(official.kinds)}")
    state, file = open_checkpoint(checkpoint, official.unpack)
    if official.translate is not None:
        state = official.translate(state)
    if constructor is None and official.recorded is not None:
        constructor = official.recorded(file)
    if constructor is None:
        if official.infer is None:
            raise ValueError(f"{system} checkpoints need their constructor arguments (a JSON file)")
        try:
            constructor = official.infer(state)
        except (LookupError, ArithmeticError) as error:
            raise ValueError(
                f"{checkpoint} is no {system} checkpoint that tells its constructor arguments "
                f"(no {error}): give them, or another system"
            ) from error
    constructor = dict(constructor)
    if official.complete is not None:
        constructor = official.complete(constructor, state)
    net, accounting = convert_state(
        official, state, constructor, kind, dict(options or {}), str(checkpoint)
    )
    source = f"{official.name}: {Path(checkpoint).name}"
    held = dict(file) | {"state_dict": state}
    statistics = {} if official.statistics is None else official.statistics(held)
    settings = {} if official.settings is None else official.settings(constructor)
    model = wrap(net, official, source, str(checkpoint), statistics, settings)
    if official.adopt is not None:
        official.adopt(model, file)
    return Converted(model, accounting)


def convert_state(
    official: System,
    state: dict[str, Tensor],
    constructor: dict[str, Any],
    kind: str | None,
    options: dict[str, Any],
    where: str,
) -> tuple[nn.Module, Accounting]:
    """Our network with an official state dict's values; ValueError unless every key fits."""
    name, arguments = official.described(constructor, kind, options, where)
    arguments = plain(arguments, f"{name} arguments")
    net = build_net({"name": name, "arguments": arguments}, where)
    dtypes = {t.dtype for t in state.values() if t.is_floating_point()}
    if len(dtypes) == 1:
        net = net.to(dtypes.pop())
    needed = official.to_official(net.state_dict(), constructor)
    accounting = account(state, needed, official.left(state, constructor))
    accounting.require_complete(where)
    net.load_state_dict(official.to_ours({k: state[k] for k in accounting.used}, constructor))
    return net.eval(), accounting


def to_official(model: Pretrained, system: str, folder: str | Path) -> Path:
    """Write a model for the official code: `weights.pth`, {"state_dict": ...}, and
    `constructor.json`, what its constructor is to be called with; returns the folder.

    Raises:
        ValueError: the system is not written, or has no network that computes the same.
        FileExistsError: there is a folder or file of that name.
    """
    official: System = find("official", system)
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} exists: give the name of a new folder")
    if official.describe is None:
        raise ValueError(f"surform does not write checkpoints of {system}")
    constructor = official.describe(model.net)
    if constructor is None:
        raise ValueError(f"{system} has no counterpart of a {type(model.net).__name__}")
    state = official.to_official(model.net.state_dict(), constructor)
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}
    with writer_lock(folder), replacing(folder) as partial:
        partial.mkdir()
        torch.save({"state_dict": tensors}, partial / "weights.pth")
        text = json.dumps(constructor, indent=2) + "\n"
        (partial / "constructor.json").write_text(text, encoding="utf-8")
    return folder


def wrap(
    net: nn.Module,
    official: System,
    source: str,
    where: str,
    statistics: Mapping[str, tuple[Tensor, Tensor]] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Pretrained:
    """The surrogate of a converted network; normalisers without statistics change nothing.

    Args:
        source: where the weights come from, for the model card.
        where: the file, for errors.
        statistics: (mean, deviation) of normalisers by their names; a model may lack some.
        settings: of the surrogate.
    """
    values = {"net": net} | dict(settings or {})
    model = call(find("surrogates", official.surrogate), values, where)
    normalizers = model.normalizers()
    for name, (mean, deviation) in (statistics or {}).items():
        if name in normalizers:
            normalizers[name].fit(mean, deviation)
    unknown = [each for each in normalizers.values() if not bool(each.fitted)]
    for normalizer in unknown:
        _fit_identity(normalizer)
    model.card = {"official": source, "limits": _LIMITS if unknown else _NO_DATA}
    return model


def _fit_identity(normalizer: Normalizer) -> None:
    """Give a normaliser statistics that change nothing."""
    normalizer.fit(torch.zeros(()), torch.ones(()))
