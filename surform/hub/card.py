"""The model card, README.md of a saved model: what it is, what it reaches, how to load it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from surform.hub.config import Config

if TYPE_CHECKING:
    from surform.data.data_description import DataDescription
    from surform.hub.pretrained import Pretrained

__all__ = ["SECTIONS", "make_card"]

# The texts that `model.card` may hold, in the order in which the card shows them.
SECTIONS = ("summary", "paper", "data", "command", "limits", "license", "official")


def make_card(model: Pretrained, config: Config) -> str:
    """README.md with the hub's front matter; texts come from `model.card`, figures from metrics."""
    texts = {"summary": "", "paper": _paper(model.net)} | config.card
    about: DataDescription | None = model.description
    known = about.summary() if about is not None else ""
    texts["summary"] = texts["summary"] or known or _summary(model.net)
    parts = [
        _front_matter(config, texts),
        f"# {texts.get('title') or config.architecture}",
        texts["summary"],
        _section("Paper", texts["paper"]),
        _section("Official weights", texts.get("official", "")),
        _section("Data", texts.get("data", "") or _data(config.description)),
        _section("Inputs and outputs", _roles(about)),
        _section("Measured", _measured(config, texts.get("command", ""))),
        _section("Limits", texts.get("limits", "") or _default_limits(about)),
        _section("Load", _usage(model)),
        _section("Size", f"{sum(p.numel() for p in model.net.parameters()):,} parameters"),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(config: Config, texts: dict[str, str]) -> str:
    tags = ["surform", "surrogate-model", config.kind, config.architecture.rpartition(":")[2]]
    lines = ["---", "library_name: surform", "tags:", *(f"- {tag}" for tag in tags)]
    if texts.get("license"):
        lines.append(f"license: {texts['license']}")
    return "\n".join([*lines, "---"])


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}" if text else ""


def _summary(net: Any) -> str:
    lines = (type(net).__doc__ or "").strip().splitlines()
    return lines[0].strip() if lines else f"A {type(net).__name__}."


def _paper(net: Any) -> str:
    """The sentence of the class' docstring that names an arXiv number."""
    paragraphs = re.split(r"\n\s*\n", type(net).__doc__ or "")
    found = [" ".join(p.split()) for p in paragraphs if "arxiv" in p.lower()]
    return found[0] if found else ""


def _data(description: dict[str, Any] | None) -> str:
    source = (description or {}).get("source") or {}
    return "\n".join(f"- {name}: {value}" for name, value in source.items())


def _roles(description: DataDescription | None) -> str:
    """What goes in and comes out, with units, and how it is laid out."""
    if description is None or not description.roles():
        return ""
    rows = ["| role | name | units |", "| --- | --- | --- |"]
    rows += [f"| {role} | {name} | {unit} |" for role, name, unit in description.roles()]
    return "\n".join(rows) + (f"\n\n{description.layout()}" if description.layout() else "")


def _measured(config: Config, command: str) -> str:
    if not config.metrics:
        return "No figures were stored with this model."
    rows = ["| figure | value | protocol |", "| --- | --- | --- |"]
    for name, entry in config.metrics.items():
        value = "not finite" if entry["value"] is None else f"{entry['value']:.4g}"
        rows.append(f"| {name} | {value} | {entry['protocol']} |")
    made = f"\n\nMade by:\n\n```\n{command}\n```" if command else ""
    return "\n".join(rows) + made


def _default_limits(description: DataDescription | None) -> str:
    if description is None:
        return "The data behind these weights are unknown: check units and scaling before use."
    return description.limits()


def _usage(model: Pretrained) -> str:
    lines = ["import surform", "", 'model = surform.load_model("path/to/this/folder")']
    if model.usage and model.description is not None:
        lines.append(model.usage)
    return "```python\n" + "\n".join(lines) + "\n```"
