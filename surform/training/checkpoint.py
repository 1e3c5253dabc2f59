"""What a training checkpoint says about itself, in plain values, and how to read it back."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import is_zipfile

import torch
from torch import nn

import surform
from surform.data.faults import first_line, parsing
from surform.hub.building import build_net
from surform.hub.migrations import m2026_11_argument_names
from surform.hub.recorded import plain, recorded
from surform.registry import find

__all__ = ["load_surrogate", "read_checkpoint", "require_same_weights", "stored_description"]
__all__ += ["training_state", "up_to_date"]

FORMAT_VERSION = 2


def training_state(task: Any) -> dict[str, Any]:
    """`surform_config` of a checkpoint: enough to build the surrogate again and to resume.

    The same for a task built in Python and one built by the command line, which adds its resolved
    configuration under "config". Nothing in it needs unpickling.
    """
    surrogate = task.surrogate
    description = surrogate.description
    return {
        "format_version": FORMAT_VERSION,
        "surform_version": surform.__version__,
        "kind": surrogate.kind,
        "net": _recorded(task),
        "settings": plain(surrogate.settings(), "settings"),
        "description": None if description is None else description.to_dict(),
        "config": task.config,
        "seed": task.run_seed,
        "world_size": task.trainer.world_size,
        "protocol": task.protocol,
    }


def _recorded(task: Any) -> dict[str, Any]:
    # weights in shards change the network's class: the strategy keeps it as it was built
    net = getattr(task.trainer.strategy, "plain", None) or task.surrogate.net
    if "arguments" in net.__dict__:
        return recorded(net)
    # A third party's class without `record_arguments`: what the command line built it from.
    given = task.config.get("model", {}).get("init_args", {}).get("net")
    if given:
        module, _, name = given["class_path"].rpartition(".")
        return {"class_path": f"{module}:{name}", "arguments": given.get("init_args") or {}}
    cls = type(net)
    return {"class_path": f"{cls.__module__}:{cls.__qualname__}", "arguments": None}


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """A checkpoint of ours, on the CPU; nothing in it is executed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: truncated, not a checkpoint, or not written by surform.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    with parsing(path):  # a damaged table of a zip file may raise here already
        zipped = is_zipfile(path)
    if not zipped:
        raise ValueError(f"{path} is not a checkpoint, or it is truncated")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors and plain values: nothing of it was executed; "
            "surform reads only its own checkpoints"
        ) from error
    except Exception as error:  # a damaged stream can fail in any way
        raise ValueError(f"{path} is damaged: {first_line(error)}") from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("surform_config"), dict):
        raise ValueError(f"{path} was not written by surform: it has no surform_config")
    version = checkpoint["surform_config"].get("format_version", 0)
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise ValueError(f"{path} has format {version}, this surform reads up to {FORMAT_VERSION}")
    return checkpoint | {"surform_config": up_to_date(checkpoint["surform_config"])}


def up_to_date(stored: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's `surform_config` in the present format."""
    if stored.get("format_version") != 1:
        return stored
    return m2026_11_argument_names.run(stored) | {"format_version": FORMAT_VERSION}


def stored_description(stored: dict[str, Any]) -> Any:
    """The description of the data in a checkpoint's `surform_config`; None without one."""
    values = stored["description"]
    return None if values is None else find("surrogates", stored["kind"]).read_description(values)


def require_same_weights(stored: dict[str, Any], task: nn.Module) -> None:
    """ValueError, naming the first, when stored weights are not those of the task's network."""
    own = {n: tuple(p.shape) for n, p in task.named_parameters(remove_duplicate=False)}
    buffers = dict(task.named_buffers(remove_duplicate=False))  # statistics take the stored shapes
    found = {n: tuple(v.shape) for n, v in stored.items() if n not in buffers}
    for name in dict.fromkeys([*own, *found]):
        if own.get(name) != found.get(name):
            raise ValueError(
                f"the checkpoint holds other weights than this network: {name} is "
                f"{found.get(name, 'missing')} there and {own.get(name, 'missing')} here; "
                "leave the network's options as they were, or train a new one"
            )


def load_surrogate(path: str | Path, net: nn.Module | None = None) -> Any:
    """The surrogate that a training checkpoint holds, in eval mode, with its statistics.

    Args:
        net: the network to fill, for a class that is not registered: a file cannot make this
            process import one.
    """
    checkpoint = read_checkpoint(path)
    with parsing(path):
        return _rebuilt(checkpoint, net, str(path))


def _rebuilt(checkpoint: dict[str, Any], net: nn.Module | None, where: str) -> Any:
    stored = checkpoint["surform_config"]
    kind = find("surrogates", stored["kind"])
    net = net if net is not None else build_net(stored["net"], where)
    surrogate = kind(net, **stored["settings"])
    surrogate.description = stored_description(stored)
    prefix, state = "surrogate.", checkpoint["state_dict"]
    own = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
    surrogate.load_state_dict(own)
    return surrogate.eval()
