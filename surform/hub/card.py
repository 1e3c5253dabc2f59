"""The model card, README.md of a saved model: what it is, what it reaches, how to load it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from surform.hub.config import Config

if TYPE_CHECKING:
    from surform.hub.pretrained import Pretrained

__all__ = ["SECTIONS", "make_card", "summarize"]

# The texts that `model.card` may hold, in the order in which the card shows them.
SECTIONS = ("summary", "paper", "data", "command", "limits", "license", "official")


def make_card(model: Pretrained, config: Config) -> str:
    """README.md with the hub's front matter; texts come from `model.card`, figures from metrics."""
    texts = {"summary": "", "paper": _paper(model.net)} | config.card
    texts["summary"] = texts["summary"] or summarize(config) or _summary(model.net)
    parts = [
        _front_matter(config, texts),
        f"# {texts.get('title') or config.architecture}",
        texts["summary"],
        _section("Paper", texts["paper"]),
        _section("Official weights", texts.get("official", "")),
        _section("Data", texts.get("data", "") or _data(config.description)),
        _section("Inputs and outputs", _fields_table(config.description)),
        _section("Measured", _measured(config, texts.get("command", ""))),
        _section("Limits", texts.get("limits", "") or _default_limits(config)),
        _section("Load", _usage(model)),
        _section("Size", f"{sum(p.numel() for p in model.net.parameters()):,} parameters"),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def summarize(config: Config) -> str:
    """One sentence on what this model predicts, from which data; empty when they are unknown."""
    about = config.description
    if not about or "inputs" not in about:
        return ""
    targets, inputs = ", ".join(about["targets"]), ", ".join(about["inputs"])
    solver = (about.get("source") or {}).get("solver")
    data = f" of {solver} data" if solver else ""
    grid = " x ".join(str(points) for points in about["shape"])
    if about.get("input_steps") is None:
        return f"Predicts {targets} from {inputs}{data} on {grid} points."
    given, count = "" if inputs == targets else f" of {inputs}", about["input_steps"]
    where = "apart" if count > 1 else "before"
    step = f", {about['time_step']:g} time units {where}" if about.get("time_step") else ""
    frames = f"{count} frame{'s' * (count != 1)}{given}{step}"
    return f"Predicts the next {targets}{data} on {grid} points from {frames}."


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


def _fields_table(description: dict[str, Any] | None) -> str:
    """Variables and axes with their units, for descriptions of fields."""
    if not description or "inputs" not in description:
        return ""
    units = description.get("units") or {}
    rows = ["| role | name | units |", "| --- | --- | --- |"]
    for role in ("inputs", "parameters", "targets", "axes", "target_axes"):
        for name in description.get(role) or ():
            rows.append(f"| {role.replace('_', ' ')} | {name} | {units.get(name, '1')} |")
    shape, target_shape = (
        " x ".join(str(n) for n in description.get(key) or ()) for key in ("shape", "target_shape")
    )
    text = "\n".join(rows) + f"\n\nTrained on a grid of {shape or 'unknown size'} points"
    if target_shape:
        text += f", with targets on one of {target_shape}"
    if description.get("time_step") is not None:
        text += (
            f", frames {_time_step(description)} apart: "
            f"{description.get('input_steps')} in, {description.get('target_steps')} out"
        )
    return text + "."


def _time_step(description: dict[str, Any]) -> str:
    unit = (description.get("units") or {}).get("time", "1")
    return f"{description['time_step']:g} {'time units' if unit in ('', '1') else unit}"


def _measured(config: Config, command: str) -> str:
    if not config.metrics:
        return "No figures were stored with this model."
    rows = ["| figure | value | protocol |", "| --- | --- | --- |"]
    for name, entry in config.metrics.items():
        value = "not finite" if entry["value"] is None else f"{entry['value']:.4g}"
        rows.append(f"| {name} | {value} | {entry['protocol']} |")
    made = f"\n\nMade by:\n\n```\n{command}\n```" if command else ""
    return "\n".join(rows) + made


def _default_limits(config: Config) -> str:
    if config.description is None:
        return "The data behind these weights are unknown: check units and scaling before use."
    return (
        "Trusted only for data like those it was trained on: the same equation, parameter range, "
        "units, grid spacing and time step."
    )


def _usage(model: Pretrained) -> str:
    call = "prediction = model.predict(dataset)  # an xarray.Dataset in, an xarray.Dataset out"
    lines = ["import surform", "", 'model = surform.load_model("path/to/this/folder")']
    if hasattr(model, "predict") and model.description is not None:
        lines.append(call)
    return "```python\n" + "\n".join(lines) + "\n```"
