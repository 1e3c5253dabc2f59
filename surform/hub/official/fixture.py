"""What a golden fixture holds, what a replay returns, and what one official code base must provide.

A fixture is `<case>.json` beside `<case>.safetensors`: official constructor arguments, parameters,
inputs, outputs and gradients. Nothing may depend on a case's name.
"""

from __future__ import annotations

import fnmatch
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from surform.hub.official.accounting import account
from surform.registry import create_model

__all__ = ["Fixture", "Replay", "System"]

_DTYPES = ("float64", "float32")
_MODES = ("eval", "train", "init", "n/a")
State = dict[str, Tensor]


@dataclass(frozen=True)
class Fixture:
    """One recorded call of an official model; `tensors` keeps the file's keys (param/, in/).

    `faults` says what keeps a case from being verified: a tolerance in words, an unknown mode or
    precision, absent tensors. Such a case can be read all the same. `files` is the folder of public
    data that some kinds are made from; it is given by whoever replays them. `header` is all that
    the JSON holds: some kinds keep more there than the fields named here. `atol` may be a share of
    each tensor's largest number ("2e-4 * max|out|"): `atol_is_share`.

    A case without tensors whose JSON holds `keys`, {official key: {"shape": [...]}}, lists a
    checkpoint: `out/<official key>` is its shape. One with lists of {"source", "target", "length"}
    lists samples: `out/<list>.source` are the bytes of all sources, one per line.
    """

    system: str
    kind: str
    options: dict[str, Any]
    constructor: dict[str, Any]
    mode: str
    dtype: torch.dtype
    rtol: float
    atol: float
    path: Path
    tensors: State
    faults: tuple[str, ...] = ()
    files: Path | None = None
    header: dict[str, Any] = field(default_factory=dict)
    atol_is_share: bool = False

    @classmethod
    def load(cls, path: str | Path, files: str | Path | None = None) -> Fixture:
        """Read `<case>.json` and its tensors; ValueError or FileNotFoundError names the file."""
        path = Path(path).with_suffix(".json")
        values, stored = _read_header(path), path.with_suffix(".safetensors")
        listed = None if stored.is_file() else _listed(values)
        header = _Header(values if listed is None else _LISTING | values)
        tensors = _read_tensors(stored, header.faults) if listed is None else listed
        atol, share = header.tolerance("atol")
        return cls(
            system=header.values["system"],
            kind=header.values["kind"],
            options=header.table("options"),
            constructor=header.table("constructor", required=True),
            mode=header.word("mode", _MODES, among=1),
            dtype=getattr(torch, header.word("dtype", _DTYPES)),
            rtol=header.number("rtol"),
            atol=atol,
            path=path,
            tensors=tensors,
            faults=tuple(header.faults),
            files=None if files is None else Path(files),
            header=header.values,
            atol_is_share=share,
        )

    def named(self, prefix: str) -> State:
        """The tensors below `prefix/`, keys without it."""
        start = f"{prefix}/"
        return {k.removeprefix(start): v for k, v in self.tensors.items() if k.startswith(start)}

    def inputs(self, dtype: torch.dtype) -> State:
        """Inputs as fresh leaves; floating ones in `dtype` and requiring a gradient."""
        values = {n: v for n, v in self.named("in").items() if not _is_cotangent(n)}
        return _Inputs(
            self.path.name,
            {n: _cast(v, dtype).requires_grad_(v.is_floating_point()) for n, v in values.items()},
        )

    def cotangent(self, output: str, dtype: torch.dtype) -> Tensor | None:
        """The weights of L = sum(out * cot) for one output; None when the file has none."""
        value = self.tensors.get(f"in/cot_{output}", self.tensors.get("in/cot"))
        return None if value is None else _cast(value, dtype)

    def parameters(self, dtype: torch.dtype) -> State:
        """The official state dict, floating tensors in `dtype`; copies."""
        return {name: _cast(value, dtype) for name, value in self.named("param").items()}


@dataclass
class Replay:
    """What our model gave for a fixture, under the fixture's names.

    outputs: `out/<name>`; inputs: the leaves that went in (`grad/in/<name>`); mid: `mid/<name>`;
    loss: overrides sum(out * cot); to_official: overrides the system's map (our parameter names ->
    official keys) for replays of a part of a model; slack: `out/<name>` -> the absolute error that
    rounding noise in the record explains, beside the fixture's tolerance.
    """

    outputs: State
    inputs: State
    model: nn.Module
    loss: Tensor | None = None
    mid: State = field(default_factory=dict)
    to_official: Callable[[State], State] | None = None
    slack: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class System:
    """One official code base: its kinds of fixture and the maps between its models and ours.

    arguments(constructor, *, kind=None, options=None) -> (registered name, our arguments); `kind`
        is None for a checkpoint that did not say: deduce it or raise ValueError naming the kinds.
    to_ours(state, constructor), to_official(state, constructor): linear (rename, reshape, slice,
        concatenate), because gradients go the same way; `constructor` is always the official one.
    dropped: shell patterns of official keys that are left out on purpose -> the reason.
    aside(state, constructor) -> official keys that are left out on purpose in that state dict, and
        why, where patterns cannot tell.
    surrogate: registered surrogate that wraps a converted network.
    infer(state) -> official constructor arguments read off the shapes of a bare state dict.
    modes: modes of a fixture that the replays tell apart.
    describe(net) -> official constructor arguments of one of our networks, to write it for the
        official code; None for networks of other systems. ValueError says why the official code
        would not compute the same.
    noise: our arguments that draw random numbers in training which no fixture can record; they are
        0 where a case is in train mode, as they were when it was made.
    complete(constructor, state) -> official constructor arguments with what only weights tell.
    translate(state) -> official state dict of what another version of the code base saved (other
        state dicts come back unchanged); ValueError says what does not fit.
    unpack(file) -> a checkpoint file with the weights that count as its state dict.
    recorded(file) -> official constructor arguments that a checkpoint file holds; None: none.
    settings(constructor) -> settings of the surrogate that the constructor decides.
    adopt(model, file): what else of a checkpoint file a converted surrogate takes over.
    statistics(file) -> {name of a normaliser of the surrogate: (mean, deviation)} of a checkpoint,
        its translated state dict under "state_dict".
    """

    name: str
    kinds: Mapping[str, Callable[[Fixture, torch.dtype], Replay]]
    arguments: Callable[..., tuple[str, dict[str, Any]]]
    to_ours: Callable[[State, dict[str, Any]], State]
    to_official: Callable[[State, dict[str, Any]], State]
    dropped: Mapping[str, str] = field(default_factory=dict)
    aside: Callable[[State, dict[str, Any]], Mapping[str, str]] | None = None
    infer: Callable[[State], dict[str, Any]] | None = None
    surrogate: str = "fields"
    modes: tuple[str, ...] = ("eval", "train")
    complete: Callable[[dict[str, Any], State], dict[str, Any]] | None = None
    translate: Callable[[State], State] | None = None
    unpack: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    statistics: Callable[[dict[str, Any]], dict[str, tuple[Tensor, Tensor]]] | None = None
    recorded: Callable[[dict[str, Any]], dict[str, Any] | None] | None = None
    settings: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    adopt: Callable[[Any, dict[str, Any]], None] | None = None
    describe: Callable[[nn.Module], dict[str, Any] | None] | None = None
    noise: tuple[str, ...] = ()

    def build(self, fixture: Fixture, dtype: torch.dtype) -> nn.Module:
        """Our registered model with the fixture's parameters, in its dtype and mode.

        Raises:
            ValueError: the constructor lacks an argument, or the parameters do not fit it.
        """
        where, training = fixture.path.name, fixture.mode == "train"
        name, arguments = self.described(fixture.constructor, fixture.kind, fixture.options, where)
        if training:
            arguments = arguments | dict.fromkeys(self.noise, 0.0)
        model = create_model(name, **arguments).to(dtype)
        state = fixture.parameters(dtype)
        needed = self.to_official(model.state_dict(), fixture.constructor)
        accounting = account(state, needed, self.left(state, fixture.constructor))
        accounting.require_complete(where)
        used = {key: state[key] for key in accounting.used}
        model.load_state_dict(self.to_ours(used, fixture.constructor))
        return model.train(training)

    def described(
        self, constructor: dict[str, Any], kind: str | None, options: dict[str, Any], where: str
    ) -> tuple[str, dict[str, Any]]:
        """`arguments`; ValueError says which official argument is missing, and where."""
        try:
            return self.arguments(constructor, kind=kind, options=options)
        except KeyError as error:
            raise ValueError(f"the constructor arguments for {where} lack {error}") from error

    def left(self, state: State, constructor: dict[str, Any]) -> dict[str, str]:
        """Patterns of the keys of a state dict that are left out on purpose, and why."""
        aside = {} if self.aside is None else self.aside(state, constructor)
        return {**self.dropped, **aside}

    def leaves_out(self, key: str) -> bool:
        """Whether an official key is left out on purpose."""
        return any(fnmatch.fnmatchcase(key, pattern) for pattern in self.dropped)


class _Inputs(dict[str, Tensor]):
    """Inputs by name; a missing one is a sentence about its file."""

    def __init__(self, where: str, values: State) -> None:
        super().__init__(values)
        self.where = where

    def __missing__(self, name: str) -> Tensor:
        raise ValueError(f"{self.where} lacks the input in/{name}")


def _cast(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype, copy=True) if value.is_floating_point() else value.clone()


def _is_cotangent(name: str) -> bool:
    return name == "cot" or name.startswith("cot_")


# what a list of keys says of itself: nothing is computed, and shapes are exact
_LISTING = {"constructor": {}, "mode": "n/a", "dtype": "float64", "rtol": 0, "atol": 0}


def _listed(values: dict[str, Any]) -> State | None:
    """What a case lists, samples or the shapes of keys; None where it lists nothing."""
    samples = _listed_samples(values)
    if samples:
        return samples
    keys = values.get("keys")
    if not isinstance(keys, dict) or not keys:
        return None
    try:
        return {f"out/{key}": torch.tensor(entry["shape"]) for key, entry in keys.items()}
    except (TypeError, KeyError, ValueError, RuntimeError):
        return None


def _listed_samples(values: dict[str, Any]) -> State:
    """Lists of texts with whole numbers beside them: the texts as bytes, one per line."""
    found: State = {}
    for name, rows in values.items():
        if not isinstance(rows, list) or not rows:
            continue
        try:
            texts = "\n".join(row["source"] for row in rows)
            numbers = {word: [row[word] for row in rows] for word in ("target", "length")}
        except (TypeError, KeyError):
            continue
        found |= {f"out/{name}.{word}": torch.tensor(each) for word, each in numbers.items()}
        found[f"out/{name}.source"] = torch.tensor(list(texts.encode()))
    return found


def _read_header(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no golden fixture at {path}")
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(header, dict):
        raise ValueError(f"{path} must hold a JSON object, not {type(header).__name__}")
    lacking = [name for name in ("system", "kind") if not isinstance(header.get(name), str)]
    if lacking:
        raise ValueError(f"{path} is not a golden fixture: it lacks {' and '.join(lacking)}")
    return header


def _read_tensors(path: Path, faults: list[str]) -> State:
    if not path.is_file():
        faults.append(f"it has no tensors beside it: {path.name} is missing")
        return {}
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from error
    # Tensors mapped from a file may start at odd addresses, on which complex views crash.
    return {name: tensor.clone() for name, tensor in tensors.items()}


@dataclass
class _Header:
    """Values of a case's JSON; what cannot be used is noted in `faults` and replaced."""

    values: dict[str, Any]
    faults: list[str] = field(default_factory=list)

    def table(self, name: str, *, required: bool = False) -> dict[str, Any]:
        value = self.values.get(name)
        if isinstance(value, dict):
            return value
        if value is not None:
            self.faults.append(f"{name} must be a table, not {value!r}")
        elif required and name not in self.values:
            self.faults.append(f"it lacks {name}")
        return {}

    def word(self, name: str, choices: tuple[str, ...], among: int | None = None) -> str:
        """The first known word `among` so many; the value may carry remarks ("eval (no noise)")."""
        value = self.values.get(name)
        words = re.findall(r"[\w/]+", value if isinstance(value, str) else "")[:among]
        for word in words:
            if word in choices:
                return word
        self.faults.append(f"{name} must be one of {', '.join(choices)}, not {value!r}")
        return choices[0]

    def tolerance(self, name: str) -> tuple[float, bool]:
        """A number, and whether it is to be multiplied by the largest of each tensor."""
        value = self.values.get(name)
        found = re.fullmatch(r"(\S+) \* max\|\w+\|", value) if isinstance(value, str) else None
        if found is None:
            return self.number(name), False
        self.values[name] = found[1]
        return self.number(name), True

    def number(self, name: str) -> float:
        value = self.values.get(name)
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if 0 <= number < math.inf:
            return number
        self.faults.append(f"{name} must be a number, not {value!r}")
        return 0.0
