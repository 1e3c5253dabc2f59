"""Options of the network that a configuration leaves to the data: null becomes what they give."""

from __future__ import annotations

import copy
import inspect
import typing
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser
from lightning.pytorch import LightningDataModule

from surform.cli.fit_check import check_class, explain, import_class, refusal
from surform.training.sizes import Sizes, size

__all__ = ["build_data", "data_sizes", "filled", "net_arguments"]


def data_sizes(config: dict[str, Any]) -> Sizes:
    """What the data give, where an option of the network is open; {} where none is.

    An option is open when it is null though its type does not allow that, when it is required and
    absent, or when the class leaves it to the data: names in its `from_data`, null or absent. Only
    then the data are opened, which a solver may have to make first.

    Raises:
        ValueError: the data cannot be opened, or an option that is null is not theirs to give.
    """
    wanted = _open(config)
    node = config.get("data")
    if not wanted or not isinstance(node, dict) or "class_path" not in node:
        return {}
    data = build_data(config)
    if not hasattr(data, "description"):
        return {}
    sizes = data.description().sizes()
    for name, required in wanted.items():
        if name not in sizes and not required:
            raise ValueError(
                f"model.net.{name} is null, and the data do not give it (they give "
                f"{', '.join(sizes)}): give a value"
            )
    return sizes


def build_data(config: dict[str, Any]) -> Any:
    """The data module of a configuration; ValueError, in one sentence, where it cannot be built."""
    node = config["data"]
    check_class("data", node)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data")
    try:
        parsed = parser.parse_object({"data": copy.deepcopy(node)})
    except ArgumentError as error:
        raise ValueError(refusal(error) or explain(error, config)) from error
    try:
        return parser.instantiate_classes(parsed)["data"]
    except (ArgumentError, ValueError) as error:
        raise ValueError(refusal(error) or explain(error, config)) from error


def filled(config: dict[str, Any], sizes: Sizes) -> dict[str, Any]:
    """The configuration with the open options of its network as the data give them."""
    names = [name for name in _open(config) if name in sizes]
    if not names:
        return config
    config = copy.deepcopy(config)
    arguments = _net(config).setdefault("init_args", {})
    arguments |= {name: size(sizes[name]) for name in names}
    return config


def net_arguments(config: dict[str, Any]) -> Sizes:
    """The numbers that a complete configuration gives its network."""
    given = _net(config).get("init_args") or {}
    return {n: v for n, v in given.items() if _whole(v) or _all_whole(v)}


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _all_whole(value: Any) -> bool:
    return isinstance(value, list) and all(map(_whole, value))


def _open(config: dict[str, Any]) -> dict[str, bool]:
    """The open options, and whether the data need not give them."""
    net = _net(config)
    if not net:
        return {}
    cls = import_class("model.net", net["class_path"])
    given = net.get("init_args") or {}
    found = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if name in getattr(cls, "from_data", ()):
            if given.get(name) is None:
                found[name] = True
        elif name not in given:
            if parameter.default is parameter.empty:
                found[name] = True
        elif given[name] is None and not _may_be_none(cls, name, parameter):
            found[name] = False
    return found


def _may_be_none(cls: type, name: str, parameter: inspect.Parameter) -> bool:
    try:
        hint = typing.get_type_hints(cls.__init__).get(name)
    except (NameError, TypeError):  # a hint that only type checkers can resolve
        return "None" in str(parameter.annotation)
    return parameter.default is None or hint is None or type(None) in typing.get_args(hint)


def _net(config: dict[str, Any]) -> dict[str, Any]:
    model = config.get("model")
    arguments = (model.get("init_args") if isinstance(model, dict) else None) or {}
    net = arguments.get("net")
    return net if isinstance(net, dict) and isinstance(net.get("class_path"), str) else {}
