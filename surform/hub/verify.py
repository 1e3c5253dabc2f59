"""Replay golden fixtures through our models and measure every output and gradient.

In the fixture's own precision a tensor passes when |a - b| <= atol + rtol |b| everywhere, with the
fixture's rtol and atol, which may be a share of max|b|. In any other precision it passes when
max|a - b| <= 1e-4 max|b|. Gradients are not held to less than eps times the case's largest, the
noise that the largest terms leave where they cancel; a gradient that is zero by symmetry, recorded
as nothing but such noise, to 8 times it. Gradients recorded for parameters that we leave out on
purpose must be zero.

The error that is shown is max|a - b| / max|b|, or for such gradients relative to the size whose
1e-4 that is. A miss in another precision says how far the tensor moves, in the fixture's own
precision, when the recorded parameters and inputs are merely rounded: that tells bad conditioning.
"""

from __future__ import annotations

import dataclasses
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
NOISE = 8  # sums that cancel leave up to so many eps of the largest gradient


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

    In a folder, a case's JSON without its tensors counts too, so that a partial copy is noticed.

    Raises:
        FileNotFoundError: a path does not exist.
        ValueError: a folder without any case.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        cases = sorted(path.rglob("*.json")) if path.is_dir() else [_case(path)]
        cases = [case for case in cases if not path.is_dir() or _is_case(case)]
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
    with _default_dtype(dtype), _one_thread():
        try:
            _require_replayable(fixture, system)
            rows = list(_compare(fixture, system, dtype))
        except (
            ValueError,
            TypeError,
            RuntimeError,
            LookupError,
            AttributeError,
            ArithmeticError,
        ) as error:
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


def _require_replayable(fixture: Fixture, system: System) -> None:
    faults = list(fixture.faults)
    no_matter = fixture.mode == "n/a" and not fixture.named("param")  # there is no model
    if not faults and fixture.mode not in system.modes and not no_matter:
        modes = " and ".join(system.modes)
        faults.append(f"{system.name} replays the modes {modes}, not {fixture.mode!r}")
    if faults:
        raise ValueError(f"{fixture.path.name} cannot be verified: {'; '.join(faults)}")


def _compare(fixture: Fixture, system: System, dtype: torch.dtype) -> Iterator[Row]:
    replay = system.kinds[fixture.kind](fixture, dtype)
    found = _shown(replay, fixture, system, dtype)
    largest = max((_largest(b) for b in fixture.named("grad").values()), default=0.0)
    motion: dict[str, float] | None = None
    for name, a in found.items():
        size = _largest(fixture.tensors[name])
        if dtype != fixture.dtype and name.startswith("grad/"):
            size = max(size, _noise(size, largest, fixture.dtype, dtype) / REDUCED)
        row = _row(name, a, fixture, dtype, size, replay.slack.get(name, 0.0))
        if not row.passed and not row.remark and dtype != fixture.dtype and size:
            motion = _rounding(fixture, system, dtype) if motion is None else motion
            row = _with_rounding(row, motion[name] / size)
        yield row


def _noise(size: float, largest: float, recorded: torch.dtype, dtype: torch.dtype) -> float:
    """What rounding leaves of a gradient of `size` that is zero by symmetry, or nearly so."""
    eps = torch.finfo(dtype).eps
    if size > NOISE * torch.finfo(recorded).eps * largest:
        return eps * largest
    return NOISE * max(eps, torch.finfo(recorded).eps) * largest


def _replayed(fixture: Fixture, system: System, dtype: torch.dtype) -> dict[str, Tensor | None]:
    return _shown(system.kinds[fixture.kind](fixture, dtype), fixture, system, dtype)


def _shown(
    replay: Replay, fixture: Fixture, system: System, dtype: torch.dtype
) -> dict[str, Tensor | None]:
    """What the replay gives for each tensor that the fixture holds and the replay shows."""
    found = {f"out/{name}": replay.outputs.get(name) for name in fixture.named("out")}
    found |= {f"mid/{n}": replay.mid[n] for n in fixture.named("mid") if n in replay.mid}
    gradients = fixture.named("grad")
    if gradients:
        unused = {k: v for k, v in fixture.parameters(dtype).items() if system.leaves_out(k)}
        ours = {name: torch.zeros_like(value) for name, value in unused.items()}
        ours |= _gradients(fixture, system, replay, dtype)
        found |= {f"grad/{name}": ours.get(name) for name in gradients}
    return found


def _rounding(fixture: Fixture, system: System, dtype: torch.dtype) -> dict[str, float]:
    """How far each tensor moves in the fixture's precision when all it is made of is rounded."""
    rounded = {
        name: value.to(dtype).to(value.dtype) if value.is_floating_point() else value
        for name, value in fixture.tensors.items()
    }
    with _default_dtype(fixture.dtype), _one_thread():
        exact = _replayed(fixture, system, fixture.dtype)
        moved = _replayed(dataclasses.replace(fixture, tensors=rounded), system, fixture.dtype)
    return {
        name: _largest(after - before)
        for (name, before), after in zip(exact.items(), moved.values(), strict=True)
        if before is not None and after is not None
    }


def _with_rounding(row: Row, motion: float) -> Row:
    """The row that misses, beside what rounding alone makes, relative to max|b|."""
    remark = f"error {row.error:.1e}; rounding parameters and inputs alone makes {motion:.1e}"
    return dataclasses.replace(row, remark=remark)


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
    name: str,
    found: Tensor | None,
    fixture: Fixture,
    dtype: torch.dtype,
    size: float,
    slack: float,
) -> Row:
    """One comparison; the error, beyond `slack`, is relative to `size`, which is max|b| or more."""
    expected = fixture.tensors[name]
    shape = tuple(expected.shape)
    native = dtype == fixture.dtype
    of = " max|b|" if fixture.atol_is_share else ""
    words = f"{fixture.atol:g}{of} + {fixture.rtol:g}|b|" if native else f"{REDUCED:g} max|b|"
    words += f" + {slack:.1e}" if slack else ""
    if found is None:
        return Row(name, shape, float("inf"), words, False, "the replay gave no such tensor")
    if found.shape != expected.shape:
        return Row(name, shape, float("inf"), words, False, f"has shape {tuple(found.shape)}")
    a, b = found.detach().double(), expected.double()
    if a.numel() == 0:
        return Row(name, shape, 0.0, words, True, "empty")
    difference = ((a - b).abs() - slack).clamp(min=0)
    if size > _largest(b):
        words = f"{REDUCED * size:.1e}, rounding of the largest gradient"
    error = difference.max().item() / size if size else difference.max().item()
    if native:
        atol = fixture.atol * (_largest(b) if fixture.atol_is_share else 1)
        passed = bool((difference <= atol + fixture.rtol * b.abs()).all())
    else:
        passed = error <= REDUCED
    return Row(name, shape, error, words, passed)  # NaN fails both comparisons


def _largest(value: Tensor) -> float:
    return value.detach().abs().max().item() if value.numel() else 0.0


def _is_case(path: Path) -> bool:
    if path.with_suffix(".safetensors").is_file():
        return True
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False  # not JSON, or not text
    return isinstance(header, dict) and {"system", "kind"} <= set(header)


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


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in the same order on every machine: some networks amplify rounding ten-thousandfold."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def write_json(reports: list[CaseReport]) -> str:
    """The reports as JSON text; infinite errors as null."""
    values = [report.to_dict() for report in reports]
    for value in values:
        for row in value["rows"]:
            row["error"] = row["error"] if row["error"] < float("inf") else None
    return json.dumps(values, indent=2)
