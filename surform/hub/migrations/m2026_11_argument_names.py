"""2026-11, format 2 -> 3: one word for one thing in the arguments of networks and data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from surform.registry import names

__all__ = ["SOURCE", "config", "former_names", "run", "state"]

SOURCE = 2

Arguments = dict[str, Any]
_TABLES = {"vocab": "vocab_sizes", "multi_vocab": "multi_vocab_sizes"}
_COUNT = {"vocabulary": "vocab_size"}
_HPT = {"action_horizon": "chunk", "observation_horizon": "history"}
_HPT |= {"random_horizon": "random_history"}
# registered name (no network has that of a data module) -> former argument -> present one
_RENAMED: dict[str, dict[str, str]] = {
    "factformer2d": {"dim_head": "head_dim"},
    "factformer2d_steady": {"dim_head": "head_dim"},
    "factformer3d": {"dim_head": "head_dim"},
    "ifactformer": {"dim_head": "head_dim", "checkpoint": "recompute"},
    "samformer": {"revin": "normalize"},
    "pathformer": {"hidden_dropout": "ffn_dropout"},
    "dlinear": {"kernel": "kernel_size"},
    "equiformer_v2": {"alpha_drop": "attention_dropout", "proj_drop": "dropout"},
    "hiformer": _TABLES | {"eps": "norm_eps"},
    "autoint": _TABLES,
    "dcn_v2": _TABLES,
    "dlrm": _TABLES,
    "logistic_regression": _TABLES,
    "popularity": _TABLES,
    "text_cct": _COUNT,
    "text_cvt": _COUNT,
    "text_vit_lite": _COUNT,
    "sequence_encoder": _COUNT,
    "hpt": _HPT,
    "unet_policy": {n: f"unet_{n}" for n in ("kernel", "groups", "time_dim")},
    "demonstrations": {"frames": "unpacked"},
    "interactions": {"header": "columns"},
}
# what takes the arguments of others by the names of robots
_ROBOTS = {"hpt_embodiments": "hpt", "embodiments": "demonstrations"}


def config(values: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the network under their present names."""
    return values | {
        "net": _recorded(values.get("net")),
        "description": _described(values.get("description")),
    }


def state(tensors: dict[str, Any]) -> dict[str, Any]:
    """The tensors did not change."""
    return tensors


def run(values: dict[str, Any]) -> dict[str, Any]:
    """What a training checkpoint says of its network, and the configuration of its run."""
    return values | {
        "net": _recorded(values.get("net")),
        "description": _described(values.get("description")),
        "config": _configured(values.get("config")),
    }


def former_names(class_path: str, arguments: Arguments) -> Iterator[tuple[str, str]]:
    """Former arguments of a class, dotted where others take them, and what they are called now."""
    return _former(_name_of(class_path), arguments)


def _recorded(net: Any) -> Any:
    """{"name" | "class_path", "arguments"}; anything else stays for the reader to refuse."""
    if not isinstance(net, dict) or not isinstance(net.get("arguments"), dict):
        return net
    name = net.get("name") or _name_of(net.get("class_path"))
    return net | {"arguments": _arguments(name, net["arguments"])}


def _described(about: Any) -> Any:
    """Descriptions of sequences told the count of tokens as a vocabulary."""
    return _keys(about, _COUNT) if isinstance(about, dict) else about


def _configured(node: Any) -> Any:
    """The classes of a configuration, at any depth."""
    if isinstance(node, list):
        return [_configured(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _configured(value) for key, value in node.items()}
    if isinstance(node.get("init_args"), dict):
        node["init_args"] = _arguments(_name_of(node.get("class_path")), node["init_args"])
    return node


def _arguments(name: Any, given: Arguments) -> Arguments:
    """The arguments of a class, and of the networks that it is told to build inside."""
    given = _keys(given, _renamed(name))
    for inner, (*outer, last), own in _inside(name, given):
        holder = given
        for key in outer:
            holder[key] = holder = dict(holder[key])
        holder[last] = _arguments(inner, own)
    return given


def _former(name: Any, given: Arguments) -> Iterator[tuple[str, str]]:
    yield from ((key, now) for key, now in _renamed(name).items() if key in given)
    for inner, place, own in _inside(name, given):
        yield from ((".".join((*place, key)), now) for key, now in _former(inner, own))


def _renamed(name: Any) -> dict[str, str]:
    return _RENAMED.get(name, {}) if isinstance(name, str) else {}


def _inside(name: Any, given: Arguments) -> Iterator[tuple[str, tuple[str, ...], Arguments]]:
    """The name, the place and the arguments of each network that another is told to build."""
    robots = given.get("embodiments") if isinstance(name, str) and name in _ROBOTS else None
    found: list[tuple[Any, tuple[str, ...], Any]] = [
        (given.get("base"), ("options",), given.get("options")),
        ("hiformer", ("hiformer",), given.get("hiformer")),
    ]
    if isinstance(robots, dict):
        found += [(_ROBOTS[name], ("embodiments", robot), own) for robot, own in robots.items()]
    for inner, place, own in found:
        if isinstance(inner, str) and isinstance(own, dict):
            yield inner, place, own


def _keys(given: Arguments, table: dict[str, str]) -> Arguments:
    return {table.get(key, key): value for key, value in given.items()}


def _name_of(class_path: Any) -> str | None:
    """The registered name of a class, written as "module:Class" or "module.Class"."""
    if not isinstance(class_path, str):
        return None
    dotted = class_path.replace(":", ".")
    entries = (names("models") | names("data")).items()
    return next((name for name, path in entries if path.replace(":", ".") == dotted), None)
