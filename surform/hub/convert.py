"""An official checkpoint as one of our models, with every key accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from surform.data.normalizers import Normalizer
from surform.hub.building import build_net, call
from surform.hub.official.accounting import Accounting, account
from surform.hub.official.checkpoint import read_checkpoint
from surform.hub.official.fixture import System
from surform.hub.pretrained import Pretrained
from surform.hub.recorded import plain
from surform.registry import find

__all__ = ["Converted", "convert_state", "from_official"]

_LIMITS = (
    "Converted from an official checkpoint, which holds no normalisation statistics: inputs and "
    "outputs are in the official code's normalised units, and the data are not described."
)


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
        constructor: official constructor arguments; read off the tensors when the system can.
        kind: kind of model, where the constructor leaves it open.
        options: what the golden fixtures of that kind call options.

    Raises:
        ValueError: the file is refused or damaged, or keys are missing, unknown or misshapen.
    """
    official: System = find("official", system)
    if kind is not None and kind not in official.kinds:
        raise ValueError(f"{system} has no kind {kind!r}: choose {', '.join(official.kinds)}")
    state = read_checkpoint(checkpoint)
    if official.translate is not None:
        state = official.translate(state)
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
    return Converted(_surrogate(net, official, checkpoint), accounting)


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
    accounting = account(state, needed, dict(official.dropped))
    accounting.require_complete(where)
    net.load_state_dict(official.to_ours({k: state[k] for k in accounting.used}, constructor))
    return net.eval(), accounting


def _surrogate(net: nn.Module, official: System, checkpoint: str | Path) -> Pretrained:
    model = call(find("surrogates", official.surrogate), {"net": net}, str(checkpoint))
    for normalizer in model.normalizers().values():
        _fit_identity(normalizer)
    model.card = {"official": f"{official.name}: {Path(checkpoint).name}", "limits": _LIMITS}
    return model


def _fit_identity(normalizer: Normalizer) -> None:
    """Give a normaliser statistics that change nothing."""
    normalizer.fit(torch.zeros(()), torch.ones(()))
