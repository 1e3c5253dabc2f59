"""Informer and InformerStack: zhouhaoyi/Informer2020@29f2a739226a.

A constructor is {"cls": "Informer" or "InformerStack", ...official arguments}; without `cls` a list
of `e_layers` makes it a stack. Missing arguments take the defaults of the official classes, which
are not those of its command line. Weights of the variants in Autoformer's and Time-Series-Library's
repositories belong to another model (convolutions without bias, other attention) and do not fit.
"""

from __future__ import annotations

import copy
import re
from typing import Any

import torch
from torch import Tensor, nn

from surform.attention.key_samples import sampled_count
from surform.data.calendar import calendar_features, frequency_of
from surform.hub.official.fixture import Fixture, Replay, System
from surform.hub.official.informer_keys import to_official, to_ours
from surform.registry import import_object

__all__ = ["SYSTEM"]

Arguments = dict[str, Any]
State = dict[str, Tensor]

_DEFAULTS: Arguments = {
    "seq_len": 96,  # not read by the official model
    "label_len": 48,  # nor this one; both as on the command line
    "factor": 5,
    "d_model": 512,
    "n_heads": 8,
    "d_layers": 2,
    "d_ff": 512,
    "dropout": 0.0,
    "attn": "prob",
    "embed": "fixed",
    "freq": "h",
    "activation": "gelu",
    "distil": True,
    "mix": True,
    "padding": 0,  # of the official experiment
}
_MARKS = {"h": 4, "t": 5, "s": 6, "m": 1, "a": 1, "w": 2, "d": 3, "b": 3}  # of embed = timeF
_DROPPED = {"*.position_embedding.pe": "the table of sinusoids is computed"}


def _arguments(
    constructor: Arguments, *, kind: str | None = None, options: Arguments | None = None
) -> tuple[str, Arguments]:
    """Official constructor -> (registered name, our arguments)."""
    if kind not in (None, "model"):
        raise ValueError(f"kind {kind!r} is no Informer model: choose model")
    given = _DEFAULTS | constructor
    name = _class_of(given)
    depth = given.get("e_layers", 3 if name == "Informer" else (3, 2, 1))
    calendar = {"timeF": "continuous", "fixed": "fixed"}.get(given["embed"], "learned")
    horizon = given["pred_len"] if "pred_len" in given and "out_len" not in given else None
    ours = {
        "lookback": given["seq_len"],
        "horizon": given["out_len"] if horizon is None else horizon,
        "variates": given["enc_in"],
        "decoder_variates": given["dec_in"],
        "out_variates": given["c_out"],
        "marks": _marks(given["freq"], calendar),
        "label_length": given["label_len"],
        "dim": given["d_model"],
        "decoder_depth": given["d_layers"],
        "heads": given["n_heads"],
        "mlp_ratio": (given["d_ff"] or 4 * given["d_model"]) / given["d_model"],
        "dropout": given["dropout"],
        "factor": given["factor"],
        "attention": "prob" if given["attn"] == "prob" else "full",
        "calendar": calendar,
        "activation": "relu" if given["activation"] == "relu" else "gelu",
        "distil": bool(given["distil"]),
        "mix": bool(given["mix"]),
        "padding": given["padding"],
    }
    if name == "Informer":
        return "informer", ours | {"depth": depth}
    return "informer_stack", ours | {"depths": tuple(depth)}


def _class_of(given: Arguments) -> str:
    stacked = not isinstance(given.get("e_layers", 0), int)
    name = str(given.get("cls", "InformerStack" if stacked else "Informer")).rpartition(".")[2]
    if name not in ("Informer", "InformerStack"):
        raise ValueError(f"cls is {name!r}, but must be Informer or InformerStack")
    return name


def _marks(freq: str, calendar: str) -> int:
    if calendar != "continuous":
        return 5 if freq == "t" else 4  # tables up to the hour, whatever else the frequency
    if freq not in _MARKS:
        raise ValueError(f"freq is {freq!r}, but must be one of {', '.join(_MARKS)}")
    return _MARKS[freq]


def _infer(state: State) -> Arguments:
    """Never enough: the horizon, the heads and the kind of attention leave no trace in weights."""
    dim, enc_in, _ = state["enc_embedding.value_embedding.tokenConv.weight"].shape
    found: Arguments = {
        "enc_in": enc_in,
        "dec_in": state["dec_embedding.value_embedding.tokenConv.weight"].shape[1],
        "c_out": len(state["projection.weight"]),
        "d_model": dim,
        "d_layers": _count(state, r"decoder\.layers\.(\d+)\."),
    }
    if any(key.startswith("encoder.encoders.") for key in state):
        stacks = _count(state, r"encoder\.encoders\.(\d+)\.")
        found["e_layers"] = [
            _count(state, rf"encoder\.encoders\.{i}\.attn_layers\.(\d+)\.") for i in range(stacks)
        ]
    else:
        found["e_layers"] = _count(state, r"encoder\.attn_layers\.(\d+)\.")
    read = ", ".join(f"{name}={value}" for name, value in found.items())
    raise ValueError(
        f"an Informer's weights tell {read}, but not its out_len, n_heads, factor, attn, freq, "
        "activation and mix: give the official constructor arguments"
    )


def _count(state: State, pattern: str) -> int:
    numbers = [int(found[1]) for key in state if (found := re.match(pattern, key))]
    return 1 + max(numbers, default=-1)


def _model(fixture: Fixture, dtype: torch.dtype) -> Replay:
    model, inputs = SYSTEM.build(fixture, dtype), fixture.inputs(dtype)
    built = vars(model)["arguments"]
    past, start = inputs["x_mark_enc"], inputs["x_mark_dec"]
    if built["calendar"] != "continuous":  # columns without a table are not read
        past, start = past[..., : built["marks"]], start[..., : built["marks"]]
    call = (inputs["x_enc"], past, inputs["x_dec"], start)
    samples = _recorded_samples(inputs, model, fixture.path.name)
    mid = _inside(model, call, samples) if fixture.named("mid") else {}
    names = [name for name in fixture.named("out") if re.search(r"att|map", name)]
    names = [name for name in names if name not in fixture.named("param")]
    maps: list[Tensor] | None = [] if names else None
    outputs = {"y": model.forward_from(*call, samples=samples, maps=maps)}  # type: ignore[operator]
    outputs |= _named_maps(fixture.named("out"), names, maps or [], built.get("depths"))
    # fixtures in train mode may keep the running statistics after the pass, by their official keys
    buffers = SYSTEM.to_official(dict(model.named_buffers()), fixture.constructor)
    outputs |= {k: v.clone() for k, v in buffers.items() if f"out/{k}" in fixture.tensors}
    return Replay(outputs, inputs, model, loss=_loss(fixture, outputs, dtype), mid=mid)


def _recorded_samples(inputs: State, model: nn.Module, where: str) -> list[Tensor | None] | None:
    """Numbered as the official code drew them; None where they do not matter.

    Raises:
        ValueError: one is missing, and the queries that it chooses are not all.
    """
    attentions: Any = model.sampled_attentions
    if not attentions:
        return None
    built = vars(model)["arguments"]
    recorded = {
        int(name.rpartition(".")[2]): value.long()
        for name, value in inputs.items()
        if name.startswith("index_sample.")
    }
    lengths = _query_counts(inputs["x_enc"].shape[1], inputs["x_dec"].shape[1], built)
    missing = [
        f"in/index_sample.{i:02d}"
        for i, n in enumerate(lengths)
        if i not in recorded and sampled_count(n, built["factor"]) < n
    ]
    if missing:
        raise ValueError(f"{where} lacks the recorded samples {', '.join(missing)}")
    return [recorded.get(i) for i in range(attentions)]


def _query_counts(encoded: int, decoded: int, built: Arguments) -> list[int]:
    """Queries of each attention that samples, in the order in which they are called."""
    counts = []
    for number, depth in enumerate(built.get("depths") or (built["depth"],)):
        length = encoded // 2**number
        for _ in range(depth):
            counts.append(length)
            length = (length - 1) // 2 + 1 if built["distil"] else length
    return counts + [decoded] * built["decoder_depth"]


def _named_maps(
    recorded: State, names: list[str], maps: list[Tensor], depths: tuple[int, ...] | None
) -> State:
    """Encoder maps under names such as attn.1, or attn.0.1 for a stack's encoder 0."""
    depths = depths or (len(maps),)
    found = {}
    for name in names:
        numbers = [int(number) for number in re.findall(r"\d+", name)]
        if len(numbers) == 2 and numbers[0] < len(depths):
            numbers = [sum(depths[: numbers[0]]) + numbers[1]]
        if len(numbers) == 1 and numbers[0] < len(maps):
            found[name] = _official_background(maps[numbers[0]], recorded[name])
    return found


def _official_background(weights: Tensor, recorded: Tensor) -> Tensor:
    """The official code makes the 1 / n of inactive queries in the default precision of its run,
    whatever the model's is: they are float32's where those recorded are."""
    rounded = weights.float().to(weights.dtype)
    inactive = (weights == weights[..., :1]).all(-1, keepdim=True)
    if recorded.shape == weights.shape:
        target = recorded.to(weights.dtype)
        inactive = inactive & ((rounded - target).abs() < (weights - target).abs())
    return torch.where(inactive, rounded, weights)


def _loss(fixture: Fixture, outputs: State, dtype: torch.dtype) -> Tensor | None:
    """Maps count only with a cotangent of their own: `in/cot` is the forecast's."""
    terms = []
    for name, value in outputs.items():
        cotangent = fixture.cotangent(name, dtype)
        if cotangent is not None and (name == "y" or f"in/cot_{name}" in fixture.tensors):
            terms.append((value * cotangent).sum())
    return torch.stack(terms).sum() if terms else None


@torch.no_grad()
def _inside(model: nn.Module, call: tuple[Tensor, ...], samples: Any) -> State:
    """What the fixtures keep of the inside, from a pass of its own: the forecast's pass leaves out
    what it does not need of the last decoder layer."""
    model = copy.deepcopy(model)  # hooks and the batch norms' averages are not the forecast's
    built = vars(model)["arguments"]
    first = "encoder.encoders.0." if "depths" in built else "encoder."
    places = {
        "embedding": "enc_embedding",
        f"{first}layers.0.attention": "enc_attn0",
        f"{first}distil.0": "distil0",
        "encoder": "encoder",
        "decoder.0.attention": "dec_self_attn0",
        "decoder.0.cross": "dec_cross_attn0",
    }
    mid: State = {
        "pe_head": import_object("surform.layers.sinusoid:sinusoid")(64, built["dim"])[None]
    }
    modules = dict(model.named_modules())
    for place, name in places.items():
        if place in modules:
            modules[place].register_forward_hook(_keep(mid, name))
    model.forward_from(*call, samples=samples, every_step=True)  # type: ignore[operator]
    return mid


def _keep(mid: State, name: str) -> Any:
    def hook(_: nn.Module, __: Any, out: Tensor) -> None:
        mid.setdefault(name, out)

    return hook


def _time_features(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """`timeF.<freq>` scaled to [-0.5, 0.5], `fixed.<freq>` whole numbers."""
    inputs = fixture.inputs(fixture.dtype)  # seconds since 1970 do not fit into float32
    times = inputs["epoch_seconds"].detach().long().numpy().astype("datetime64[s]")
    encodings = {"timeF": "continuous", "fixed": "integer"}
    outputs = {}
    for name in fixture.named("out"):
        encoding, _, freq = name.partition(".")
        if encoding in encodings:
            columns = torch.from_numpy(calendar_features(times, freq, encodings[encoding]))  # type: ignore[arg-type]
            yearly = encoding == "fixed" and frequency_of(freq) == "year"  # our column is constant
            outputs[name] = columns[:, :0] if yearly else columns
    return Replay(outputs, inputs, nn.Module())


SYSTEM = System(
    name="informer",
    kinds={"model": _model, "time_features": _time_features},
    arguments=_arguments,
    to_ours=to_ours,
    to_official=to_official,
    dropped=_DROPPED,
    infer=_infer,
    surrogate="series",
    noise=("dropout",),
)
