"""The configuration of a run, before any class is imported: recipes, files and overrides merged.

A configuration is a nested dict with the keys model, data, trainer and seed_everything. A class
is `{"class_path": ..., "init_args": {...}}`; registered names are allowed as class paths, and a
plain name stands for a class without arguments. Files are merged in order, later ones win; then
the overrides of the command line. Sections and classes are merged option by option; any other dict
(data.split, data.generate) replaces the former one. Where a later layer names another class, the
arguments of the former one are dropped.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from surform.data.faults import first_line
from surform.recipes import find_recipe
from surform.registry import lookup

__all__ = [
    "SECTIONS",
    "apply_overrides",
    "closest",
    "load_mapping",
    "merge",
    "merge_all",
    "parse_value",
    "read_config",
]

SECTIONS = ("model", "data", "trainer", "seed_everything")

# What a plain class name means under a key: the registry it is looked up in, then modules.
_REGISTRIES = {"model": "tasks", "data": "data", "net": "models", "loss": "losses"}
_MODULES = {
    "loss": "surform.training.losses",
    "schedule": "surform.training.schedules",
    "optimizer": "torch.optim",
    "base_optimizer": "torch.optim",
    "dense_optimizer": "torch.optim",
    "table_optimizer": "torch.optim",
    "callbacks": "lightning.pytorch.callbacks",
    "logger": "lightning.pytorch.loggers",
}
_ALIASES = {"one_cycle": "OneCycle", "onecycle": "OneCycle", "cosine": "Cosine"}
_ALIASES |= {"halving": "Halving", "cosine_epochs": "CosineEpochs"}
_ALIASES |= {"restarted_cosine": "RestartedCosine", "delayed_decay": "DelayedDecay"}
_ALIASES |= {"step_decay": "StepDecay", "warm_cosine": "WarmCosine"}
_ALIASES |= {"milestones": "Milestones", "whole_cosine": "WholeCosine", "plateau": "Plateau"}
_ALIASES |= {"constant": "Constant", "adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}
# Names of classes that lie elsewhere.
_OWN = {
    "SharpnessAware": "surform.training.sharpness.SharpnessAware",
    "TablesApart": "surform.training.tables_apart.TablesApart",
    "RowwiseAdagrad": "surform.training.rowwise_adagrad.RowwiseAdagrad",
}


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number and 10:30 none, as in YAML 1.2; dates are text.

    No key is given twice.
    """

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is yaml.ScalarNode and implicit[0] and ":" in value:  # YAML 1.1 counts to base 60
            return "tag:yaml.org,2002:str"
        return super().resolve(kind, value, implicit)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.value in seen and key_node.value != "<<":
                line = key_node.start_mark.line + 1
                raise ValueError(f"the key {key_node.value!r} is given twice (line {line})")
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*)?\.?\d+([eE][-+]?\d+)$"),
    list("-+0123456789."),
)


_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda loader, node: str(node.value))


def read_config(name: str) -> dict[str, Any]:
    """One recipe or file as a dict with full class paths; parts in files of their own included."""
    path = find_recipe(name)
    values = load_mapping(path)
    unknown = [key for key in values if key not in SECTIONS]
    if unknown:
        raise ValueError(
            f"{path} has the unknown key {unknown[0]!r}: {closest(unknown[0], SECTIONS)}"
        )
    try:
        return {key: _resolve(key, value, path.parent) for key, value in values.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: {first_line(error)}") from error


def apply_overrides(config: dict[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """`--key value` and `--key=value` applied in order; `--key+=value` appends to a list."""
    config = copy.deepcopy(config)
    for key, text in _pairs(words):
        append = key.endswith("+")
        path = _in_full(key.rstrip("+").split("."))
        if path[0] not in SECTIONS:
            raise ValueError(f"unknown option --{key}: {closest(path[0], SECTIONS, '--')}")
        value = _resolve(_kind_of(path), parse_value(text), Path())
        if append and not isinstance(value, list):
            value = [value]
        _assign(config, path, value, append)
    return config


def merge(old: Any, new: Any) -> Any:
    """`new` over `old`, a configuration or a class; see the module's notes."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return copy.deepcopy(new)
    if "class_path" in new and new["class_path"] != old.get("class_path", new["class_path"]):
        return copy.deepcopy(new)
    merged = dict(old)
    for key, value in new.items():
        merged[key] = _merge_option(key, old.get(key), value)
    return merged


def merge_all(config: dict[str, Any], layers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Several layers over a configuration, later ones win."""
    for layer in layers:
        config = merge(config, layer)
    return config


def _merge_option(key: str, old: Any, new: Any) -> Any:
    sections = (*SECTIONS, "init_args", "dict_kwargs")
    if key in sections or (isinstance(old, dict) and "class_path" in old):
        return merge(old, new)
    return copy.deepcopy(new)


def parse_value(text: str) -> Any:
    """The value that a command-line word stands for: number, boolean, null, list, dict, text.

    An empty word is the empty text: nothing is `null`.
    """
    if not text:
        return ""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError:
        return text


def closest(given: object, valid: Sequence[object], prefix: str = "") -> str:
    """ "did you mean ...?", or the list of what is valid."""
    given, names = str(given), [str(name) for name in valid]  # keys of YAML may be numbers
    near = difflib.get_close_matches(given, names, n=3, cutoff=0.5)
    near += [name for name in names if name.startswith(given) and name not in near]
    if near:
        return f"did you mean {', '.join(prefix + n for n in near)}?"
    return f"valid are {', '.join(prefix + n for n in sorted(names))}"


def load_mapping(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping; ValueError, in one sentence, where it holds none."""
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise ValueError(f"{path} is not valid YAML: {problem}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a mapping, not {type(values).__name__}")
    return values


def _resolve(key: str, value: Any, folder: Path) -> Any:
    """Full class paths for names, files for includes, all the way down."""
    if isinstance(value, str) and (key in _REGISTRIES or key in _MODULES):
        if value.endswith((".yaml", ".yml")):
            include = folder / value
            if not include.is_file():
                raise FileNotFoundError(f"{key}: there is no file {include}")
            return _resolve(key, load_mapping(include), include.parent)
        return {"class_path": _class_path(key, value)}
    if isinstance(value, list):
        return [_resolve(key, item, folder) for item in value] if key in _MODULES else value
    if not isinstance(value, dict):
        return value
    resolved = {
        name: _resolve("" if name in SECTIONS else name, item, folder)
        for name, item in value.items()
    }
    if isinstance(value.get("class_path"), str):
        resolved["class_path"] = _class_path(key, value["class_path"])
    return resolved


def _class_path(key: str, name: str) -> str:
    if "." in name or ":" in name:
        return name.replace(":", ".")
    registry, module = _REGISTRIES.get(key), _MODULES.get(key)
    if registry and (module is None or name.islower()):
        return lookup(registry, name).replace(":", ".")
    if module and name in _OWN:
        return _OWN[name]
    return f"{module}.{_ALIASES.get(name.lower(), name)}" if module else name


def _in_full(path: list[str]) -> list[str]:
    """--model.attention is that of the network: no task has one."""
    if len(path) > 1 and path[0] == "model" and path[1] in ("attention", "attention_options"):
        return ["model", "net", *path[1:]]
    return path


def _kind_of(path: Sequence[str]) -> str:
    """The name that says what a class under this path may be; model and data only at the top."""
    steps = [name for name in path if name not in ("class_path", "init_args")]
    return steps[-1] if len(steps) == 1 or steps[-1] not in SECTIONS else ""


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    pairs, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or len(word) < 3:
            raise ValueError(f"unexpected argument {word!r}: options look like --model.net.dim 64")
        key, equals, value = word[2:].partition("=")
        if not equals:
            if not rest or (rest[0].startswith("--") and len(rest[0]) > 2):
                raise ValueError(f"--{key} needs a value")
            value = rest.pop(0)
        pairs.append((key, value))
    return pairs


def _assign(config: dict[str, Any], path: list[str], value: Any, append: bool) -> None:
    node: Any = config
    for place, name in enumerate(path[:-1]):
        node = _descend(node, name)
        if not isinstance(node, dict):
            given = ".".join(path[: place + 1])
            raise ValueError(f"--{'.'.join(path)}: {given} is {node!r}, it has no options")
    node = _arguments(node, path[-1])
    name = path[-1]
    if append:
        node[name] = [*(node.get(name) or []), *value]
    elif name == "class_path":
        replaced = merge(node, value if isinstance(value, dict) else {"class_path": value})
        node.clear()
        node.update(replaced)
    else:
        node[name] = _merge_option(name, node.get(name), value)


def _descend(node: dict[str, Any], name: str) -> Any:
    node = _arguments(node, name)
    if node.get(name) is None:
        node[name] = {}
    return node[name]


def _arguments(node: dict[str, Any], name: str) -> dict[str, Any]:
    """The dict that holds option `name` of a node: a class keeps its options in init_args."""
    if name in ("class_path", "init_args") or "class_path" not in node:
        return node
    if node.get("init_args") is None:
        node["init_args"] = {}
    return node["init_args"]
