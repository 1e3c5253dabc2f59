"""Is a configuration valid? Names checked here, types by jsonargparse; one-sentence errors."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

from surform.cli.fit_config import closest
from surform.hub.migrations import former_names

__all__ = ["check_class", "check_names", "explain", "import_class", "refusal"]

# Handed over by whoever calls the class, never configured.
_GIVEN = ("self", "params", "params_t", "args", "kwargs")


def check_names(config: dict[str, Any]) -> None:
    """Every class exists, every option is one of its parameters, none that it needs is missing.

    Raises:
        ValueError: names the option and the closest valid name.
    """
    from lightning.pytorch import Trainer

    for section in ("model", "data"):
        if not isinstance(config.get(section), dict):
            raise ValueError(f"there is no {section}: give a recipe with --config, or --{section}")
        if "class_path" not in config[section]:
            raise ValueError(f"{section} needs a class_path; give --{section} NAME or a recipe")
        check_class(section, config[section])
    trainer = config.get("trainer") or {}
    valid = [name for name in inspect.signature(Trainer.__init__).parameters if name != "self"]
    for name, value in trainer.items():
        if name not in valid:
            raise ValueError(f"trainer has no option {name!r}: {closest(name, valid)}")
        _check_value(f"trainer.{name}", value)


def explain(error: Exception, config: dict[str, Any]) -> str:
    """The innermost cause of a jsonargparse error, in one sentence."""
    lines = str(error).splitlines()
    keys, depth, cause = [], -1, ""
    for number, line in enumerate(lines):
        found = re.search(r'Parser key "([^"]+)"', line)
        indent = len(line) - len(line.lstrip())
        if found and indent > depth:
            keys.append(found.group(1))
            depth, cause = indent, "\n".join(lines[number:])
        elif found:
            break
    if not keys:
        return " ".join(str(error).split())
    option = ".".join(keys).replace(".init_args.", ".")
    return f"{option}{_reason(cause)}"


def refusal(error: Exception) -> str | None:
    """What a constructor said, where jsonargparse wraps it because the object may also be None."""
    found = re.search(r"Errors:\s*- (.*?)\s*- Expected a <class 'NoneType'>", str(error), re.S)
    if not found or "Parser key" in found.group(1):  # of a type, which `explain` words
        return None
    return " ".join(found.group(1).split())


def _reason(cause: str) -> str:
    value = re.search(r"(?:Got value|Given value): (.*)", cause)
    given = value.group(1).partition(". Got value")[0] if value else "it"
    choices = re.search(r"Expected a typing\.Literal\[(.*?)\]\.", cause)
    if choices:
        names = [name.strip("' ") for name in choices.group(1).split(",")]
        return f" is {given!r}: {closest(given, names)}"
    types = re.findall(r"<class '([\w.]+)'>", cause.partition("Given value")[0])
    names = [t.rpartition(".")[2] for t in dict.fromkeys(types) if t != "NoneType"]
    if names:
        return f" must be {' or '.join(names)}, got {given!r}"
    text = " ".join(cause.splitlines()[1:]).split()
    return ": " + " ".join(text)[:300]


def check_class(where: str, node: dict[str, Any]) -> None:
    """ValueError unless the class of a node exists and takes its options, all the way down."""
    cls = import_class(where, node["class_path"])
    unknown = sorted(set(node) - {"class_path", "init_args", "dict_kwargs"})
    if unknown:
        raise ValueError(f"{where}: {unknown[0]!r} must stand under init_args")
    arguments = node.get("init_args") or {}
    parameters = inspect.signature(cls).parameters
    valid = [name for name in parameters if name not in _GIVEN]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name, now in former_names(node["class_path"], arguments):
        raise ValueError(f"{where} has no option {name!r}: it is called {now} now")
    for name, value in arguments.items():
        if name not in valid and not takes_any:
            raise ValueError(f"{where} has no option {name!r}: {closest(name, valid)}")
        _check_value(f"{where}.{name}", value)
    for name in valid:
        required = parameters[name].default is inspect.Parameter.empty
        variable = parameters[name].kind in (
            inspect.Parameter.VAR_KEYWORD,
            inspect.Parameter.VAR_POSITIONAL,
        )
        if required and not variable and name not in arguments:
            raise ValueError(f"{where} ({cls.__name__}) needs the option {name}: --{where}.{name}")


def _check_value(where: str, value: Any) -> None:
    if isinstance(value, dict) and isinstance(value.get("class_path"), str):
        check_class(where, value)
    elif isinstance(value, list):
        for item in value:
            _check_value(where, item)


def import_class(where: str, path: str) -> Any:
    """The class at a dotted path; ValueError, naming the option `where`, when there is none."""
    module_name, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            hint = ""
            if Path(*module_name.split(".")).with_suffix(".py").is_file():
                hint = "; python -m surform in place of surform finds the files of this folder"
            problem = f"{where}: there is no module {error.name!r} (for {path})"
            raise ValueError(problem + hint) from error
        raise
    except ValueError as error:
        raise ValueError(f"{where}: {path!r} is not the path of a class") from error
    if not hasattr(module, name):
        valid = [n for n, v in vars(module).items() if isinstance(v, type)]
        raise ValueError(f"{where}: {module_name} has no class {name!r}: {closest(name, valid)}")
    return getattr(module, name)
