"""Efficient kinds of attention, each from its authors' code: one kind of case for each.

delta_rule, gated_delta_rule: fla-org/flash-linear-attention@bc3b101dcb71; fastformer_attention and
fastformer_encoder: wuch15/Fastformer@84cc859f6dfb; learned_kernel: cs1160701/OnLearningTheKernel
@a8e3d3bb80bd; mra2: mlpen/mra-attention@7e08afeb6f34; reformer_lsh: lucidrains/reformer-pytorch
@66a19b6caf48. Constructors are the official arguments; shapes are the official ones, too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from surform import attention
from surform.attention.spectral_features import mixture_features, positive_features
from surform.hub.official.accounting import account
from surform.hub.official.fastformer_keys import (
    attention_to_official,
    attention_to_ours,
    to_official,
    to_ours,
)
from surform.hub.official.fixture import Fixture, Replay, System
from surform.layers.additive_attention import AdditiveAttention

__all__ = ["SYSTEM"]

Arguments = dict[str, Any]
State = dict[str, Tensor]
_CHUNK = 32


def _plain(fixture: Fixture, outputs: State, inputs: State, mid: State) -> Replay:
    """Of a function without parameters; the recorded weights are those of the output o, where no
    others say so."""
    terms = []
    for name, found in outputs.items():
        if name == "o" or f"in/cot_{name}" in fixture.tensors:
            weights = fixture.cotangent(name, found.dtype)
            terms += [] if weights is None else [(found * weights).sum()]
    loss = torch.stack(terms).sum() if terms else None
    return Replay(outputs, inputs, nn.Module(), loss, mid, lambda found: found)


# -- delta rule ----------------------------------------------------------------------------------


def _delta(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """Heads outside of tokens: (batch, heads, tokens, width)."""
    inputs = fixture.inputs(dtype)
    given = _delta_arguments(fixture, inputs)
    q, k, v, beta = (inputs[name] for name in ("q", "k", "v", "beta"))
    out, state = attention.delta_states(q, k, v, beta, **given)
    outputs = {"o": out, "final_state": state}
    return _plain(fixture, outputs, inputs, _delta_mid(inputs, given))


def _gated_delta(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """Tokens outside of heads: (batch, tokens, heads, width)."""
    inputs = fixture.inputs(dtype)
    given = _delta_arguments(fixture, inputs)
    q, k, v, beta, g = (inputs[name].transpose(1, 2) for name in ("q", "k", "v", "beta", "g"))
    out, state = attention.delta_states(q, k, v, beta, decay=g, **given)
    return _plain(fixture, {"o": out.transpose(1, 2), "final_state": state}, inputs, {})


def _delta_arguments(fixture: Fixture, inputs: State) -> Arguments:
    said = fixture.constructor | fixture.options
    return {
        "chunk_size": said.get("chunk_size", _CHUNK),
        "scale": said.get("scale"),
        "initial_state": inputs.get("initial_state"),
    }


def _delta_mid(inputs: State, given: Arguments) -> State:
    """The chunkwise result; without a state, the matrix that acts on beta times the values."""
    q, k, v, beta = (inputs[name].detach() for name in ("q", "k", "v", "beta"))
    state = given["initial_state"]
    options = dict(given, initial_state=None if state is None else state.detach())
    with attention.use(delta="chunks"):
        mid = {"chunkwise_o": attention.delta(q, k, v, beta, **options)}
    if state is None:
        units = torch.eye(k.shape[2], dtype=k.dtype).expand(*k.shape[:2], -1, -1)
        mid["parallel_attn_matrix"] = attention.delta(
            q, k, units / beta[..., None], beta, **options
        )
    return mid


# -- additive attention --------------------------------------------------------------------------


def _fastformer_attention(fixture: Fixture, dtype: torch.dtype) -> Replay:
    given, inputs = fixture.constructor, fixture.inputs(dtype)
    module = AdditiveAttention(given["hidden_size"], given["num_attention_heads"]).to(dtype)
    state = fixture.parameters(dtype)
    needed = attention_to_official(module.state_dict())
    account(state, needed, {}).require_complete(fixture.path.name)
    module.load_state_dict(attention_to_ours(state))
    out = module(inputs["hidden"], mask=_kept(inputs))
    both = module.query_key(inputs["hidden"]).detach()
    mid = {"query": both.chunk(2, -1)[0]}
    return Replay({"out": out}, inputs, module, mid=mid, to_official=attention_to_official)


def _fastformer_encoder(fixture: Fixture, dtype: torch.dtype) -> Replay:
    model, inputs = SYSTEM.build(fixture, dtype), fixture.inputs(dtype)
    return Replay({"out": model(inputs["hidden"], _kept(inputs))}, inputs, model)


def _kept(inputs: State) -> Tensor | None:
    mask = inputs.get("mask")
    return None if mask is None else mask > 0


# -- learned kernel ------------------------------------------------------------------------------


class _Frequencies(nn.Module):
    """The parameters of a learned kernel under their official names; noise is fixed."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self.mean, self.sigma = nn.Parameter(state["mean"]), nn.Parameter(state["sigma"])
        self.register_buffer("omega", state["omega"])


def _learned_kernel(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """Tokens outside of heads: (batch, tokens, heads, width)."""
    features = fixture.options.get("features")
    if features not in ("rks", "prf"):
        raise ValueError(f"features is {features!r}, but must be rks or prf")
    state, inputs = fixture.parameters(dtype), fixture.inputs(dtype)
    wanted = {name: state[name] for name in ("mean", "sigma", "omega") if name in state}
    for name in {"mean", "sigma", "omega"} - set(wanted):
        raise ValueError(f"{fixture.path.name} lacks param/{name}")
    module = _Frequencies(wanted)
    q, k, v = (inputs[name].transpose(1, 2) for name in ("q", "k", "v"))
    make = mixture_features if features == "rks" else positive_features
    temperature = fixture.constructor.get("softmax_temp") or q.shape[-1] ** -0.5
    given = (wanted["omega"], module.sigma, module.mean)
    phi_q, phi_k = (make(x * temperature**0.5, *given) for x in (q, k))
    mask = _kept(inputs)
    out = attention.spectral(phi_q, phi_k, v, mask=mask).transpose(1, 2)
    mid = {"phi_q": phi_q, "phi_k": phi_k}
    mid = {name: value.detach().transpose(1, 2) for name, value in mid.items()}
    return Replay({"o": out}, inputs, module, mid=mid, to_official=lambda found: found)


# -- two resolutions -----------------------------------------------------------------------------


def _mra(fixture: Fixture, dtype: torch.dtype) -> Replay:
    given, inputs = fixture.constructor, fixture.inputs(dtype)
    q, k, v = inputs["q"], inputs["k"], inputs["v"]
    mask = _kept(inputs)
    if mask is not None and bool(mask.all()):
        mask = None  # the official model leaves out a mask that leaves out nothing
    options: Arguments = {
        "block_size": given.get("block_size", 32),
        "first_blocks": given.get("initial_prior_first_n_blocks", 0),
        "diagonal_blocks": given.get("initial_prior_diagonal_n_blocks", 0),
        "mask": mask,
    }
    number = min(given["num_blocks"], (q.shape[2] // options["block_size"]) ** 2)
    mode = given.get("approx_mode", "full")
    out = attention.multiresolution(q, k, v, num_blocks=number, mode=mode, **options)
    index, scores = attention.selected_blocks(q.detach(), k.detach(), number, **options)
    mid = {"low_resolution_logit": scores.flatten(0, 1)}
    recorded = fixture.named("mid").get("selected_blocks")
    if recorded is not None:  # their order is of no meaning
        mid["selected_blocks"] = _in_order(index.flatten(0, 1), recorded)
    return _plain(fixture, {"o": out}, inputs, mid)


def _in_order(found: Tensor, recorded: Tensor) -> Tensor:
    """Numbers of each row as they stand in the record, where they are the same; else sorted."""
    if found.shape != recorded.shape or not torch.equal(found.sort(-1)[0], recorded.sort(-1)[0]):
        return found.sort(-1)[0]
    return recorded.clone()


# -- locality-sensitive hashing ------------------------------------------------------------------


def _lsh(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """One head: (batch * heads, tokens, width)."""
    given, inputs = fixture.constructor, fixture.inputs(dtype)
    qk, v, rotations = (inputs[name].unsqueeze(1) for name in ("qk", "v", "rotations"))
    if rotations.shape[0] == 1:
        rotations = rotations[0, 0]
    size = given.get("bucket_size", 64)
    options: Arguments = {
        "bucket_size": size,
        "mask": inputs.get("input_mask"),
        "causal": given.get("causal", False),
        "across_buckets": given.get("attend_across_buckets", True),
        "duplicates": given.get("allow_duplicate_attention", True),
        "legacy_count": True,
    }
    out = attention.lsh(qk, v, rotations, **options)
    buckets = attention.lsh_buckets(qk, rotations, size).flatten(1)
    # the result is linear in the values
    units = torch.eye(qk.shape[2], dtype=dtype).expand(*qk.shape[:2], -1, -1)
    mid = {"attn": attention.lsh(qk.detach(), units, rotations, **options).squeeze(1)}
    return _plain(fixture, {"o": out.squeeze(1), "buckets": buckets}, inputs, mid)


# -- names ---------------------------------------------------------------------------------------


def _arguments(
    constructor: Arguments, *, kind: str | None = None, options: Arguments | None = None
) -> tuple[str, Arguments]:
    """Official constructor of a Fastformer encoder -> (registered name, our arguments)."""
    if kind not in (None, "fastformer_encoder"):
        raise ValueError(f"{kind} is a kind of attention, not a model")
    pooler = constructor.get("pooler_type", "weightpooler")
    if pooler != "weightpooler":
        raise ValueError(f"pooler_type is {pooler!r}, but must be weightpooler")
    width = constructor["hidden_size"]
    return "fastformer", {
        "length": constructor["max_position_embeddings"],
        "dim": width,
        "depth": constructor["num_hidden_layers"],
        "heads": constructor["num_attention_heads"],
        "mlp_ratio": constructor["intermediate_size"] / width,
        "dropout": constructor.get("hidden_dropout_prob", 0.0),
    }


SYSTEM = System(
    name="attention_kinds",
    kinds={
        "delta_rule": _delta,
        "gated_delta_rule": _gated_delta,
        "fastformer_attention": _fastformer_attention,
        "fastformer_encoder": _fastformer_encoder,
        "learned_kernel": _learned_kernel,
        "mra2": _mra,
        "reformer_lsh": _lsh,
    },
    arguments=_arguments,
    to_ours=lambda state, constructor: to_ours(state, constructor["num_hidden_layers"]),
    to_official=lambda state, constructor: to_official(state, constructor["num_hidden_layers"]),
    noise=("dropout",),
)
