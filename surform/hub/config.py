"""`config.json` of a saved model: read, checked, migrated and written without torch."""

from __future__ import annotations

import difflib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from surform.hub.migrations import FORMAT_VERSION, migrate_config

__all__ = ["CARD", "CONFIG", "PREPROCESSOR", "WEIGHTS", "Config", "read_config", "write_config"]

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
PREPROCESSOR = "preprocessor_config.json"  # of image models that transformers wrote
_LARGEST = 64 * 2**20  # bytes; a grid's coordinates are lists of numbers, nothing else is long
_REQUIRED = ("format_version", "surform_version", "kind", "net", "normalizers")
_OPTIONAL = ("settings", "description", "metrics", "card")


@dataclass(frozen=True)
class Config:
    """What is needed to build a saved model again; plain values only.

    Args:
        kind: name in the registry "surrogates".
        net: {"name" or "class_path": ..., "arguments": {...}}.
        normalizers: names of the normalisers whose statistics the weights must hold.
        settings: the surrogate's own constructor arguments.
        description: what the model was trained on, or None.
        metrics: {name: {"value": number or None, "protocol": "clean" or "paper"}}.
        card: texts for the model card.
        stored_version: the format of the file it was read from.
    """

    kind: str
    net: dict[str, Any]
    normalizers: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    description: dict[str, Any] | None = None
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    card: dict[str, str] = field(default_factory=dict)
    surform_version: str = ""
    stored_version: int = FORMAT_VERSION

    @property
    def architecture(self) -> str:
        """The registered name of the network, or its class path."""
        return self.net.get("name") or self.net["class_path"]


def read_config(folder: str | Path) -> Config:
    """Read `folder/config.json`, migrated to the present format.

    Raises:
        FileNotFoundError: there is none.
        ValueError: no valid JSON, a newer format, unknown or missing keys, wrong types.
    """
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is not a saved model: it has no {CONFIG}")
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"{path} is larger than {_LARGEST >> 20} MB: it is no model configuration")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a JSON object, not {type(values).__name__}")
    stored = _format_version(values, path)
    values = migrate_config(values, stored)
    _check(values, path)
    return Config(
        kind=values["kind"],
        net=values["net"],
        normalizers=tuple(values["normalizers"]),
        settings=values.get("settings") or {},
        description=values.get("description"),
        metrics=values.get("metrics") or {},
        card=values.get("card") or {},
        surform_version=values["surform_version"],
        stored_version=stored,
    )


def write_config(config: Config, folder: str | Path) -> None:
    """Write `folder/config.json` in the present format."""
    from surform import __version__

    values = {
        "format_version": FORMAT_VERSION,
        "surform_version": __version__,
        "kind": config.kind,
        "net": config.net,
        "settings": config.settings,
        "description": config.description,
        "normalizers": list(config.normalizers),
        "metrics": {name: _finite(entry) for name, entry in config.metrics.items()},
        "card": config.card,
    }
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    (Path(folder) / CONFIG).write_text(text + "\n", encoding="utf-8")


def _finite(entry: dict[str, Any]) -> dict[str, Any]:
    """A figure that diverged is kept as null: JSON has no NaN."""
    value = entry["value"]
    return entry | {"value": value if value is not None and math.isfinite(value) else None}


def _format_version(values: dict[str, Any], path: Path) -> int:
    version = values.get("format_version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ValueError(f"{path} has no valid format_version (found {version!r})")
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{path} has format {version}, written by surform {values.get('surform_version')}; "
            f"this surform reads formats 1 to {FORMAT_VERSION}: pip install --upgrade surform"
        )
    return version


def _check(values: dict[str, Any], path: Path) -> None:
    known = (*_REQUIRED, *_OPTIONAL)
    unknown = sorted(set(values) - set(known))
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"{path} has unknown keys: {', '.join(unknown)}{hint}")
    missing = [name for name in _REQUIRED if name not in values]
    if missing:
        raise ValueError(f"{path} lacks the keys {', '.join(missing)}")
    net = values["net"]
    keys = set(net) if isinstance(net, dict) else set()
    if keys not in ({"name", "arguments"}, {"class_path", "arguments"}):
        raise ValueError(f"{path}: 'net' must have the keys 'name' (or 'class_path') and arguments")
    _check_types(values, path)


def _check_types(values: dict[str, Any], path: Path) -> None:
    types: dict[str, tuple[Any, type | tuple[type, ...]]] = {
        "kind": (values["kind"], str),
        "net.name": (values["net"].get("name", ""), str),
        "net.class_path": (values["net"].get("class_path", ""), str),
        "net.arguments": (values["net"]["arguments"], dict),
        "normalizers": (values["normalizers"], list),
        "settings": (values.get("settings") or {}, dict),
        "description": (values.get("description") or {}, dict),
        "metrics": (values.get("metrics") or {}, dict),
        "card": (values.get("card") or {}, dict),
    }
    for name, (value, expected) in types.items():
        if not isinstance(value, expected):
            raise ValueError(f"{path}: {name!r} has the wrong type {type(value).__name__}")
    if not all(isinstance(name, str) for name in values["normalizers"]):
        raise ValueError(f"{path}: 'normalizers' must list names, not {values['normalizers']!r}")
    for name, text in (values.get("card") or {}).items():
        if not isinstance(text, str):
            raise ValueError(f"{path}: the card's {name!r} must be text, not {text!r}")
    for name, entry in (values.get("metrics") or {}).items():
        if not isinstance(entry, dict) or set(entry) != {"value", "protocol"}:
            raise ValueError(f"{path}: the figure {name!r} must have a value and a protocol")
        value, protocol = entry["value"], entry["protocol"]
        if isinstance(value, bool) or not isinstance(value, (int, float, type(None))):
            raise ValueError(f"{path}: the figure {name!r} must be a number, not {value!r}")
        if not isinstance(protocol, str):
            raise ValueError(f"{path}: the protocol of {name!r} must be text, not {protocol!r}")
