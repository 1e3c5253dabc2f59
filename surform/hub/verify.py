"""Replay golden fixtures through our models and measure every output and gradient.

In the fixture's own precision a tensor passes when |a - b| <= atol + rtol |b| everywhere, with the
fixture's rtol and atol. In any other precision it passes when max|a - b| <= 1e-4 max|b|. The error
that is shown is max|a - b| / max|b| in both cases.
"""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from surform.hub.official.fixture import Fixture, Replay, System
from surform.registry import find, names

__all__ = ["CaseReport", "Row", "find_cases", "system_of", "verify_case"]

REDUCED = 1e-4  # tolerance relative to max|b| in another precision than the fixture's


@dataclass(frozen=True)
class Row:
    """One compared tensor: `error` = max|a - b| / max|b|; `tolerance` as applied, in words."""

    name: str
    shape: tuple[int, ...]
    error: float
    tolerance: str
    passed: bool
    remark: str = ""


@dataclass(frozen=True)
class CaseReport:
    """All comparisons of one case; `problem` when the replay itself failed."""

    path: Path
    system: str
    kind: str
    dtype: str
    seconds: float
    rows: list[Row] = field(default_factory=list)
    problem: str = ""

    @property
    def passed(self) -> bool:
        """Whether something was compared and everything was within its tolerance."""
        return not self.problem and bool(self.rows) and all(row.passed for row in self.rows)

    @property
    def worst(self) -> Row | None:
        """The failed row with the largest error, else the row with the largest error."""
        ranked = sorted(self.rows, key=lambda row: (row.passed, -row.error))
        return ranked[0] if ranked else None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        rows = [vars(row) | {"shape": list(row.shape)} for row in self.rows]
        return vars(self) | {"path": str(self.path), "rows": rows, "passed": self.passed}


def find_cases(paths: Iterable[str | Path]) -> list[Path]:
    """The cases (`.json` beside `.safetensors`) that files and folders stand for, sorted.

    Raises:
        FileNotFoundError: a path does not exist.
        ValueError: a folder without any case.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        cases = sorted(path.rglob("*.json")) if path.is_dir() else [_case(path)]
        cases = [c for c in cases if c.with_suffix(".safetensors").is_file() or not path.is_dir()]
        if not cases:
            raise ValueError(f"{path} holds no golden fixture (<case>.json + <case>.safetensors)")
        found.update(dict.fromkeys(cases))
    return list(found)


def system_of(fixture: Fixture) -> System:
    """The system that replays a fixture; ValueError names the known systems and kinds."""
    known = names("official")
    if fixture.system not in known:
        near = difflib.get_close_matches(fixture.system, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(
            f"{fixture.path}: unknown system {fixture.system!r}; {hint}known: {', '.join(known)}"
        )
    system: System = find("official", fixture.system)
    if fixture.kind not in system.kinds:
        raise ValueError(
            f"{fixture.path}: {fixture.system} has no kind {fixture.kind!r}; "
            f"known kinds: {', '.join(system.kinds)}"
        )
    return system


def verify_case(fixture: Fixture, dtype: torch.dtype | None = None) -> CaseReport:
    """Replay one case in `dtype` (default: the fixture's) and compare all it holds."""
    dtype = fixture.dtype if dtype is None else dtype
    system = system_of(fixture)
    start = time.perf_counter()
    rows: list[Row] = []
    problem = ""
    with _default_dtype(dtype):
        try:
            rows = list(_compare(fixture, system, dtype))
        except (ValueError, TypeError, RuntimeError, KeyError) as error:
            problem = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return CaseReport(
        path=fixture.path,
        system=fixture.system,
        kind=fixture.kind,
        dtype=str(dtype).removeprefix("torch."),
        seconds=time.perf_counter() - start,
        rows=rows,
        problem=problem,
    )


def _compare(fixture: Fixture, system: System, dtype: torch.dtype) -> Iterator[Row]:
    replay = system.kinds[fixture.kind](fixture, dtype)
    for name, expected in fixture.named("out").items():
        yield _row(f"out/{name}", replay.outputs.get(name), expected, fixture, dtype)
    for name, expected in fixture.named("mid").items():
        if name in replay.mid:
            yield _row(f"mid/{name}", replay.mid[name], expected, fixture, dtype)
    gradients = fixture.named("grad")
    if not gradients:
        return
    found = _gradients(fixture, system, replay, dtype)
    for name, expected in gradients.items():
        yield _row(f"grad/{name}", found.get(name), expected, fixture, dtype)


def _gradients(
    fixture: Fixture, system: System, replay: Replay, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Gradients of L under the fixture's names: official keys, and in/<name>."""
    loss = replay.loss if replay.loss is not None else _loss(fixture, replay, dtype)
    loss.backward()
    # Buffers take part as zeros, so that the key map finds every name it knows.
    ours = {name: torch.zeros_like(value) for name, value in replay.model.state_dict().items()}
    for name, parameter in replay.model.named_parameters(remove_duplicate=False):
        if parameter.grad is not None:
            ours[name] = parameter.grad
    if replay.to_official is not None:
        found = dict(replay.to_official(ours))
    else:
        found = dict(system.to_official(ours, fixture.constructor))
    for name, value in replay.inputs.items():
        if value.grad is not None:
            found[f"in/{name}"] = value.grad
    return found


def _loss(fixture: Fixture, replay: Replay, dtype: torch.dtype) -> Tensor:
    terms = []
    for name in fixture.named("out"):
        cotangent = fixture.cotangent(name, dtype)
        if cotangent is not None and name in replay.outputs:
            terms.append((replay.outputs[name] * cotangent).sum())
    if not terms:
        raise ValueError("the fixture has gradients but no in/cot, and the replay gave no loss")
    return torch.stack(terms).sum()


def _row(
    name: str, found: Tensor | None, expected: Tensor, fixture: Fixture, dtype: torch.dtype
) -> Row:
    shape = tuple(expected.shape)
    native = dtype == fixture.dtype
    words = f"{fixture.atol:g} + {fixture.rtol:g}|b|" if native else f"{REDUCED:g} max|b|"
    if found is None:
        return Row(name, shape, float("inf"), words, False, "the replay gave no such tensor")
    if found.shape != expected.shape:
        return Row(name, shape, float("inf"), words, False, f"has shape {tuple(found.shape)}")
    a, b = found.detach().double(), expected.double()
    if a.numel() == 0:
        return Row(name, shape, 0.0, words, True, "empty")
    difference, size = (a - b).abs(), b.abs().max().item()
    error = difference.max().item() / size if size else difference.max().item()
    if native:
        passed = bool((difference <= fixture.atol + fixture.rtol * b.abs()).all())
    else:
        passed = error <= REDUCED
    return Row(name, shape, error, words, passed)  # NaN fails both comparisons


def _case(path: Path) -> Path:
    case = path.with_suffix(".json")
    if not case.is_file():
        raise FileNotFoundError(f"no golden fixture or folder at {path}")
    return case


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Models and buffers that are made without a dtype take this one."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def write_json(reports: list[CaseReport]) -> str:
    """The reports as JSON text; infinite errors as null."""
    values = [report.to_dict() for report in reports]
    for value in values:
        for row in value["rows"]:
            row["error"] = row["error"] if row["error"] < float("inf") else None
    return json.dumps(values, indent=2)
