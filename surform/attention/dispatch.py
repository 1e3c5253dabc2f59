"""Which kernel computes a call: every kind has a reference and any number of fast kernels.

A kind is a public function that ends in `dispatch(...)`; a kernel is a function with the same
arguments, registered under the kind with a priority and the reasons for which it steps aside:

- `supports(call)`: why it cannot run (None = it can); a kernel asked for by name then raises;
- `pays(call)`: why it would lose here although it can run; only the automatic choice listens.
"""

from __future__ import annotations

import difflib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = ["Call", "Explanation", "Kernel", "dispatch", "explain", "kernels", "kind", "register"]
__all__ += ["Sizes", "example", "function", "kinds", "requested", "use"]

logger = logging.getLogger("surform.attention")
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Call:
    """What a kernel may look at before it says yes or no: never the values of tensors."""

    kind: str
    device: str
    dtype: torch.dtype
    gradient: bool
    shapes: Mapping[str, Any]  # name -> shape, or tuple of shapes; only tensors that were given
    options: Mapping[str, Any]  # plain arguments such as scale, causal, normalizer
    exporting: bool = False  # torch.export is tracing: custom operators would bind it to surform

    def has(self, name: str) -> bool:
        """Whether this tensor argument was given, or this option is set to something true."""
        return name in self.shapes or bool(self.options.get(name))


Reason = Callable[[Call], str | None]


@dataclass(frozen=True)
class Kernel:
    """One way to compute a kind."""

    name: str
    run: Callable[..., Tensor]
    priority: int = 0
    supports: Reason | None = None
    pays: Reason | None = None

    @property
    def summary(self) -> str:
        """The first sentence of the function's docstring."""
        text = " ".join((self.run.__doc__ or "first in priority that can run").split())
        return text.partition(". ")[0].rstrip(".")

    def refusal(self, call: Call) -> str | None:
        """Why this kernel cannot run the call; None when it can."""
        return None if self.supports is None else self.supports(call)

    def loss(self, call: Call) -> str | None:
        """Why this kernel is not worth its while for the call; None when it is."""
        return None if self.pays is None else self.pays(call)


@dataclass(frozen=True)
class Sizes:
    """Sizes of a made-up call, for timings: see `example`."""

    batch: int = 1
    heads: int = 8
    tokens: int = 1024
    keys: int | None = None  # None = tokens
    width: int = 64
    grid: tuple[int, ...] = (64, 64)


Example = Callable[[Sizes, Callable[..., Tensor]], tuple[tuple[Any, ...], dict[str, Any]]]


@dataclass
class _Kind:
    function: Callable[..., Any]
    example: Example | None
    kernels: tuple[Kernel, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """Which kernel computes a call, and what kept every other one from it."""

    kind: str
    rows: tuple[tuple[str, str, str], ...]  # (kernel, "chosen" | "able" | "refused", why)

    @property
    def chosen(self) -> str:
        """Name of the kernel that runs; empty when the requested one cannot."""
        return next((name for name, verdict, _ in self.rows if verdict == "chosen"), "")

    def __str__(self) -> str:
        width = max(len(name) for name, _, _ in self.rows)
        lines = [f"{name:<{width}}  {verdict:<7}  {why}" for name, verdict, why in self.rows]
        return "\n".join([f"attention kind {self.kind}", *lines])


class _Explained(Exception):  # noqa: N818 - carries a result out of a kind's public function
    def __init__(self, result: Any) -> None:
        self.result = result


class _Explaining(threading.local):
    on = False


@dataclass
class _Requests:
    # Process-wide on purpose: backward passes on CUDA, and what checkpointing recomputes in them,
    # run in autograd's own threads, where a thread-local or context-local request would be lost.
    layers: list[dict[str, Any]]  # the environment's, then one of each `use` that is open
    lock: threading.Lock = field(default_factory=threading.Lock)
    kernels: dict[str, str] = field(default_factory=dict)  # the sum: kind or "*" -> kernel
    second_order: bool = False

    def __post_init__(self) -> None:
        self._add_up()

    def push(self, layer: dict[str, Any]) -> None:
        with self.lock:
            self.layers.append(layer)
            self._add_up()

    def remove(self, layer: dict[str, Any]) -> None:
        """Blocks of two threads may end in any order."""
        with self.lock:
            self.layers = [one for one in self.layers if one is not layer]
            self._add_up()

    def _add_up(self) -> None:
        total: dict[str, Any] = {}
        for layer in self.layers:
            before = {_TWICE: total.get(_TWICE)} if "*" in layer else total
            total = before | layer
        self.second_order = bool(total.pop(_TWICE, False))
        self.kernels = total


_TWICE = "second_order"
_EXPLAINING = _Explaining()
_KINDS: dict[str, _Kind] = {}
_CHOICES: dict[Any, Kernel] = {}  # eager calls: what was chosen for this call before
_MOST_CHOICES = 4096


def kind(name: str, example: Example | None = None) -> Callable[[Function], Function]:
    """Declare a public function as a kind of attention; its body ends in `dispatch(name, ...)`.

    `example(sizes, make)` returns (args, kwargs) of a call; `make(*shape)` returns a random tensor.
    """

    def declare(function: Function) -> Function:
        if name in _KINDS:
            raise ValueError(f"attention kind {name!r} exists already")
        _KINDS[name] = _Kind(function, example)
        return function

    return declare


def register(
    kind: str,
    name: str,
    *,
    priority: int = 0,
    supports: Reason | None = None,
    pays: Reason | None = None,
) -> Callable[[Function], Function]:
    """Add a kernel to a kind; the highest priority that supports a call and pays computes it."""

    def add(function: Function) -> Function:
        entry = _entry(kind)
        if any(kernel.name == name for kernel in entry.kernels):
            raise ValueError(f"{kind} attention has a kernel named {name!r} already")
        kernel = Kernel(name, function, priority, supports, pays)
        entry.kernels = tuple(sorted((*entry.kernels, kernel), key=lambda one: -one.priority))
        _CHOICES.clear()
        return function

    return add


def kinds() -> tuple[str, ...]:
    """Names of all kinds of attention."""
    return tuple(_KINDS)


def kernels(kind: str) -> tuple[Kernel, ...]:
    """The kernels of a kind, the one that is asked first in front."""
    return _entry(kind).kernels


def function(kind: str) -> Callable[..., Tensor]:
    """The public function of a kind."""
    return _entry(kind).function


def example(kind: str, sizes: Sizes, make: Callable[..., Tensor] = torch.randn) -> Any:
    """(args, kwargs) of a call of this kind with these sizes; ValueError when it declares none."""
    build = _entry(kind).example
    if build is None:
        raise ValueError(f"attention kind {kind!r} declares no example call")
    return build(sizes, make)


def _entry(kind: str) -> _Kind:
    if kind not in _KINDS:
        raise ValueError(_unknown("attention kind", kind, list(_KINDS)))
    return _KINDS[kind]


def _unknown(what: str, name: str, valid: list[str]) -> str:
    near = difflib.get_close_matches(name, valid, n=3) or sorted(valid)
    return f"unknown {what} {name!r}: did you mean {', '.join(near)}?"


def _all_kernel_names() -> list[str]:
    return sorted({kernel.name for entry in _KINDS.values() for kernel in entry.kernels})


def _parse(text: str) -> dict[str, str]:
    """ "reference" or "softmax=sdpa,axial=reference" -> {kind or "*": kernel}."""
    requests: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        kind, separator, name = part.rpartition("=")
        requests[kind.strip() if separator else "*"] = name.strip()
    return requests


# Read once: a look at the environment on every call would end up in compiled graphs' guards.
_REQUESTS = _Requests([_parse(os.environ.get("SURFORM_ATTENTION", ""))])


@contextmanager
def use(
    name: str | None = None, *, second_order: bool | None = None, **by_kind: str
) -> Iterator[None]:
    """Ask for kernels by name: `use("reference")`, or per kind `use(softmax="sdpa")`.

    A kernel that is asked for runs or raises ValueError with its reason; kinds that have no kernel
    of that name choose as usual. "auto" gives the choice back. The environment variable
    SURFORM_ATTENTION does the same for a whole run: `reference` or `softmax=sdpa,axial=reference`.

    second_order=True: what is computed inside will be differentiated twice (physics losses and
    forces); kernels without a second derivative step aside.
    """
    if name is not None and name not in (valid := ["auto", *_all_kernel_names()]):
        raise ValueError(_unknown("attention kernel", name, valid))
    for kind, wanted in by_kind.items():
        if wanted not in (valid := ["auto", *(kernel.name for kernel in kernels(kind))]):
            raise ValueError(_unknown(f"{kind} attention kernel", wanted, valid))
    layer: dict[str, Any] = {} if name is None else {"*": name}
    layer |= by_kind | ({} if second_order is None else {_TWICE: second_order})
    _REQUESTS.push(layer)
    try:
        yield
    finally:
        _REQUESTS.remove(layer)


def requested(kind: str) -> str | None:
    """The kernel that was asked for, if any, by name."""
    requests, entry = _REQUESTS.kernels, _entry(kind)
    if not requests:
        return None
    own = [kernel.name for kernel in entry.kernels]
    name = requests.get(kind)
    if name is not None:
        if name != "auto" and name not in own:
            raise ValueError(_unknown(f"{kind} attention kernel", name, own))
        return None if name == "auto" else name
    name = requests.get("*", "auto")
    if name == "auto":
        return None
    if name not in own and name not in _all_kernel_names():
        raise ValueError(_unknown("attention kernel", name, _all_kernel_names()))
    return name if name in own else None


def _pick(call: Call) -> Kernel:
    wanted = requested(call.kind)
    for kernel in _KINDS[call.kind].kernels:
        if wanted is None:
            if kernel.refusal(call) is None and kernel.loss(call) is None:
                return kernel
        elif kernel.name == wanted:
            reason = kernel.refusal(call)
            if reason is not None:
                raise ValueError(f"{call.kind} attention kernel {wanted!r} cannot run: {reason}")
            return kernel
    raise ValueError(f"no kernel of {call.kind} attention supports this call")


def _flatten(tensors: Mapping[str, Any]) -> list[Tensor]:
    flat: list[Tensor] = []
    for value in tensors.values():
        if isinstance(value, (tuple, list)):
            flat.extend(value)
        elif value is not None:
            flat.append(value)
    return flat


def _describe(kind: str, tensors: Mapping[str, Any], options: Mapping[str, Any]) -> Call:
    flat = _flatten(tensors)
    shapes: dict[str, Any] = {}
    for name, value in tensors.items():
        if isinstance(value, (tuple, list)):
            shapes[name] = tuple(tuple(one.shape) for one in value)
        elif value is not None:
            shapes[name] = tuple(value.shape)
    gradient = torch.is_grad_enabled() and any(one.requires_grad for one in flat)
    exporting = torch.compiler.is_exporting()
    return Call(kind, flat[0].device.type, flat[0].dtype, gradient, shapes, options, exporting)


def _choose(kind: str, tensors: Mapping[str, Any], options: Mapping[str, Any]) -> Kernel:
    if torch.compiler.is_compiling():  # decided while tracing: nothing is left at run time
        return _pick(_describe(kind, tensors, options))
    flat = _flatten(tensors)
    key = (
        kind,
        tuple(options.values()),
        tuple([value is None for value in tensors.values()]),
        tuple([one.shape for one in flat]),
        flat[0].dtype,
        flat[0].device,
        torch.is_grad_enabled() and any(one.requires_grad for one in flat),
        tuple(_REQUESTS.kernels.items()),
    )
    try:
        kernel = _CHOICES.get(key)
    except TypeError:  # symbolic sizes have no hash
        return _pick(_describe(kind, tensors, options))
    if kernel is None:
        kernel = _pick(_describe(kind, tensors, options))
        if len(_CHOICES) >= _MOST_CHOICES:
            _CHOICES.clear()
        _CHOICES[key] = kernel
        logger.debug("%s attention: %s for %s", kind, kernel.name, key[3])
    return kernel


def _one_dtype(tensors: dict[str, Any]) -> dict[str, Any]:
    """Under autocast, tensors of different floating dtypes are cast to autocast's."""
    flat = [one for one in _flatten(tensors) if one.is_floating_point()]
    device = flat[0].device.type
    if not torch.is_autocast_enabled(device) or all(x.dtype == flat[0].dtype for x in flat):
        return tensors
    dtype = torch.get_autocast_dtype(device)

    def cast(value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            return tuple(cast(one) for one in value)
        return value.to(dtype) if value is not None and value.is_floating_point() else value

    return {name: cast(value) for name, value in tensors.items()}


def dispatch(kind: str, tensors: dict[str, Any], options: dict[str, Any]) -> Any:
    """Compute a call of this kind; both dicts together are the arguments of its kernels.

    Gives what they give: a tensor, of "delta" the last state beside it.

    tensors: tensors, tuples of tensors or None, the one that decides dtype and device first.
    """
    tensors = _one_dtype(tensors)
    if _REQUESTS.second_order and _TWICE in options:
        options = options | {_TWICE: True}
    if not torch.compiler.is_compiling() and _EXPLAINING.on:
        raise _Explained(_describe(kind, tensors, options))
    return _choose(kind, tensors, options).run(**tensors, **options)


def explain(kind: str, *args: Any, **kwargs: Any) -> Explanation:
    """Which kernel `attention.<kind>(*args, **kwargs)` runs, and why each other one does not."""
    function = _entry(kind).function
    _EXPLAINING.on = True
    try:
        function(*args, **kwargs)
    except _Explained as found:
        call: Call = found.result
    else:
        raise TypeError(f"the function of attention kind {kind!r} does not end in dispatch()")
    finally:
        _EXPLAINING.on = False
    return Explanation(kind, tuple(_verdicts(call)))


def _verdicts(call: Call) -> Iterator[tuple[str, str, str]]:
    wanted, taken = requested(call.kind), False
    for kernel in _entry(call.kind).kernels:
        reason = kernel.refusal(call)
        if reason is not None:
            yield kernel.name, "refused", reason
            continue
        loss = kernel.loss(call)
        if wanted is not None:
            mine = kernel.name == wanted
            yield kernel.name, "chosen" if mine else "able", "asked for by name" if mine else ""
        elif taken or loss is not None:
            yield kernel.name, "able", loss or "comes later in priority"
        else:
            taken = True
            yield kernel.name, "chosen", kernel.summary
