"""Files of adapters: what was trained of a frozen network, without the network itself."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from surform.data.atomic import replacing
from surform.data.faults import parsing
from surform.data.normalizers import Normalizer
from surform.hub.building import build_net
from surform.hub.pretrained import Pretrained
from surform.hub.recorded import plain
from surform.hub.weights import read_tensors, some

__all__ = ["load_adapters", "save_adapters"]


def save_adapters(model: Pretrained, file: str | Path) -> Path:
    """Write what is trained of a model with adapters (a .safetensors file); returns the path.

    With them go the normalisers, the description of their data, and a fingerprint of the frozen
    weights.

    Raises:
        ValueError: a model without adapters, or a file of another kind.
    """
    path, net = Path(file), _adapted(model)
    if path.suffix != ".safetensors":
        raise ValueError(f"adapters are written to a .safetensors file, not to {path}")
    names = set(net.trained_names())
    state = model.state_tensors()
    kept = {f"net.{name}" for name in names}
    tensors = {n: v for n, v in state.items() if n in kept or not n.startswith("net.")}
    about = model.description
    told = {
        "arguments": plain(net.arguments, "arguments"),
        "description": None if about is None else plain(about.to_dict(), "description"),
        "frozen": _fingerprint(net, names),
    }
    with replacing(path) as partial:
        save_file(tensors, partial, metadata={"format": "pt", "adapters": json.dumps(told)})
    return path


def load_adapters(base: Pretrained, file: str | Path) -> Pretrained:
    """A model in evaluation mode: the network of `base`, which stays, with the adapters of a file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no file of adapters, or one that belongs to another network.
    """
    path = Path(file)
    with parsing(path):
        return _joined(base, path)


def _joined(base: Pretrained, path: Path) -> Pretrained:
    tensors = read_tensors(path)
    told = _told(path)
    net: Any = build_net({"name": "adapted", "arguments": told["arguments"]}, str(path))
    own, given = net.state_dict(), net.adapted(dict(base.net.state_dict()), base.net)
    fitting = {n: v for n, v in given.items() if n in own and v.shape == own[n].shape}
    lost = [n for n in own if n not in fitting and f"net.{n}" not in tensors]
    if lost:
        raise ValueError(f"{path} belongs to another network: this one lacks {some(lost)}")
    net.load_state_dict(fitting, strict=False)
    model = type(base)(net, **base.settings())
    for name, normalizer in model.normalizers().items():
        _fit(normalizer, tensors, name, path)
    model.load_state_dict(model.state_dict() | tensors)
    if _fingerprint(net, set(net.trained_names())) != told["frozen"]:
        raise ValueError(f"{path} belongs to a network with other weights than this one")
    if told["description"] is not None:
        model.description = model.read_description(told["description"])
    return model.eval()


def _adapted(model: Pretrained) -> Any:
    if not hasattr(model.net, "trained_names"):
        raise ValueError(f"a {type(model.net).__name__} has no adapters: save it whole")
    return model.net


def _told(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        found = (file.metadata() or {}).get("adapters")
    if found is None:
        raise ValueError(f"{path} is no file of adapters: save_adapters did not write it")
    return json.loads(found)


def _fit(normalizer: Normalizer, tensors: dict[str, Tensor], name: str, path: Path) -> None:
    if f"{name}.mean" not in tensors:
        raise ValueError(f"{path} lacks the statistics of {name}")
    normalizer.fit(tensors[f"{name}.mean"], tensors[f"{name}.std"])


def _fingerprint(net: nn.Module, trained: set[str]) -> str:
    """sha256 of what is frozen."""
    digest = hashlib.sha256()
    for name, value in sorted(net.state_dict().items()):
        if name not in trained:
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
