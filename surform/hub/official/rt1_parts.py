"""Replays of RT-1's parts: FiLM, TokenLearner, image and action tokenizers, the transformer."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from surform.hub.official.accounting import account
from surform.hub.official.fixture import Fixture, Replay
from surform.hub.official.rt1_keys import ENCODER, film_entries, to_official, to_ours
from surform.registry import create_model, find, import_object

__all__ = ["KINDS", "fields_of"]

State = dict[str, Tensor]
_DROPPED = {"_action_token_emb/*": "multiplied by zero"}
# official argument -> its default, in the order of ours
_SIZES = {
    "time_sequence_length": 1, "tokens_per_image": None, "tokens_per_action": None,
    "vocab_size": 256, "token_embedding_size": 512, "feed_forward_size": 512, "num_layers": 1,
    "num_heads": 8, "layer_size": 4096, "dropout_rate": 0.1,
}  # fmt: skip


def fields_of(constructor: dict[str, Any]) -> tuple[tuple[Any, ...], ...]:
    """Our fields of an official action; those without a specification are the published ones."""
    published = import_object("surform.robotics.action_tokens:PUBLISHED_FIELDS")
    known = {field[0]: field for field in published}
    spec = constructor.get("action_spec") or {}
    order = constructor.get("action_order") or constructor.get("order") or list(spec or known)
    fields = []
    for name in order:
        if name in spec:
            one = spec[name]
            bounds = () if one["discrete"] else (one["min"], one["max"])
            fields.append((name, one["size"], *bounds))
        elif name in known:
            fields.append(known[name])
        else:
            raise ValueError(
                f"action_spec does not say what {name!r} is, and the published models have none"
            )
    return tuple(fields)


def _actions(constructor: dict[str, Any]) -> Any:
    return import_object("surform.robotics.action_tokens:ActionTokens")(
        fields_of(constructor), constructor.get("vocab_size", 256)
    )


def _film(fixture: Fixture, dtype: torch.dtype) -> Replay:
    inputs, params = fixture.inputs(dtype), fixture.parameters(dtype)
    make, modulate = (import_object(f"surform.robotics.film:{n}") for n in ("FilmMaps", "Modulate"))
    maps = make(inputs["context"].shape[1], [fixture.constructor["num_channels"]]).to(dtype)
    (weight, bias) = film_entries("", [""], [])
    joined = {e.ours[1:]: e.join([params[key] for key in e.official]) for e in (weight, bias)}
    maps.load_state_dict(joined)
    x = inputs["features_bhwc"].permute(0, 3, 1, 2)
    out = modulate()(x, maps(inputs["context"])).permute(0, 2, 3, 1)

    def back(state: State) -> State:
        return {
            key: value
            for e in (weight, bias)
            for key, value in zip(e.official, e.split(state[e.ours[1:]]), strict=True)
        }

    return Replay({"features_bhwc": out}, inputs, maps, to_official=back)


def _token_learner(fixture: Fixture, dtype: torch.dtype) -> Replay:
    inputs, given = fixture.inputs(dtype), fixture.constructor
    x = inputs["tokens"]
    learner = import_object("surform.robotics.token_learner:TokenLearner")(
        x.shape[-1], given["num_tokens"], given.get("bottleneck_dim", 64)
    )
    part = _Part(learner.to(dtype), "tokenizer.learner.", "_image_tokenizer/_token_learner/")
    part.load(fixture, dtype)
    mid = {"selection": learner.weights(x).detach()}
    return Replay({"tokens": learner(x)}, inputs, learner, mid=mid, to_official=part.official)


def _transformer(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """All steps at once with the loss, then an episode step by step."""
    inputs, given = fixture.inputs(dtype), fixture.constructor
    actions = _actions(given)
    net = _action_transformer(given, actions).to(dtype).eval()
    part = _Part(net, "transformer.", "", given)
    part.load(fixture, dtype)
    tokens = inputs["image_tokens"]
    logits = net(tokens)
    last = actions.split(actions.decode(net.read(logits)[:, -1].argmax(-1)))
    outputs: State = {"logits_all_positions": logits}
    outputs |= {f"last_action_{name}": value for name, value in last.items()}
    mid: State = {"attention_mask": net.keep.to(dtype)}
    loss: Tensor | None = None
    # labels are those of the record, whatever the precision
    exact = _below(fixture.inputs(fixture.dtype), "action_")
    if exact:
        mid["action_labels"] = labels = actions.encode(actions.join(exact).detach())
        each = import_object("surform.robotics.action_tokens:action_loss")(
            net.read(logits), labels, step_tokens=net.step_tokens
        )
        outputs |= {"loss_per_step": each, "loss_mean": each.mean()[None]}
        loss = each.mean()
    if "rollout_image_tokens" in inputs:
        steps = _rolled(net, inputs["rollout_image_tokens"].detach())
        outputs |= {"rollout_logits": steps, "rollout_action_tokens": steps.argmax(-1)}
    with torch.no_grad():
        first, x = net.blocks[0], net.sequence(tokens)
        size = x.shape[1]
        mid["attention_layer0"] = first.attention.forward_with_map(
            first.norm1(x), mask=net.keep[None, None, :size, :size]
        )[1]
    return Replay(outputs, inputs, net, loss=loss, mid=mid, to_official=part.official)


def _action_transformer(given: dict[str, Any], actions: Any) -> Any:
    own = {
        "tokens_per_image": 8 if given.get("use_token_learner", True) else 81,
        "tokens_per_action": actions.count,
    }
    sizes = {name: given.get(name, own.get(name, default)) for name, default in _SIZES.items()}
    if sizes["tokens_per_action"] != actions.count:
        raise ValueError(
            f"tokens_per_action is {sizes['tokens_per_action']}, but action_order and action_spec "
            f"make {actions.count}"
        )
    return import_object("surform.robotics.action_transformer:ActionTransformer")(*sizes.values())


@torch.no_grad()
def _rolled(net: Any, images: Tensor) -> Tensor:
    remember = import_object("surform.robotics.rt1:remember")
    tokens, found = None, []
    for image in images:
        tokens = remember(tokens, image[None], net.frames)
        found.append(net.last(tokens)[0])
    return torch.stack(found)


def _action_tokenizer(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """In the precision of the record: bins have edges."""
    inputs, given = fixture.inputs(fixture.dtype), fixture.constructor
    actions = _actions(given)
    outputs: State = {"tokens": actions.encode(actions.join(inputs).detach())}
    if "tokens_to_decode" in inputs:
        decoded = actions.split(actions.decode(inputs["tokens_to_decode"]))
        outputs |= {f"decoded_{name}": value for name, value in decoded.items()}
    return Replay(outputs, inputs, nn.Identity())


def _image_tokenizer(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """Parameters that the case does not hold are made from their names."""
    inputs, given = fixture.inputs(dtype), fixture.constructor
    tokens = given.get("num_tokens", 8) if given.get("use_token_learner", True) else 0
    net = import_object("surform.robotics.image_tokenizer:ImageTokenizer")(
        ENCODER,
        given.get("embedding_output_dim", 512),
        300,
        inputs["context"].shape[-1],
        tokens,
        given.get("bottleneck_dim", 64),
    )
    net = net.to(dtype).eval()
    part = _Part(net, "tokenizer.", "")
    if fixture.named("param"):
        part.load(fixture, dtype)
    else:
        named = {k: filled(k, tuple(v.shape)) for k, v in part.official(net.state_dict()).items()}
        part.take({key: value.to(dtype) for key, value in named.items()})
    mid = _watch(net.encoder)
    image = inputs["image_uint8"].permute(0, 3, 1, 2)
    outputs: State = {}
    net.encoder.register_forward_hook(
        lambda _, __, out: outputs.update(features_9x9=out.unflatten(1, (9, 9)))
    )
    outputs["tokens"] = net(image, net.modulation(inputs["context"]))
    return Replay(outputs, inputs, net, mid=mid, to_official=part.official)


def _watch(encoder: Any) -> State:
    """Means of the channels behind the stem and behind every block."""
    mid: State = {}

    def keep(name: str, module: nn.Module) -> None:
        module.register_forward_hook(
            lambda _, __, out: mid.update({f"{name}_channel_mean": out.detach().mean((2, 3))})
        )

    keep("stem", encoder.trunk.bn1)
    for i, modulate in enumerate(encoder.modulates[:-1]):
        keep(f"block{i:02d}", modulate)
    return mid


def filled(key: str, shape: tuple[int, ...]) -> Tensor:
    """The recorded rule: numbers in [-1, 1) hashed from the name and the index, scaled by role."""
    signs = torch.from_numpy(_hashed(key, int(np.prod(shape)))).reshape(shape)
    leaf = key.rsplit("/", 1)[-1]
    if key.endswith("layer_with_weights-0/mean"):
        return torch.tensor((0.485, 0.456, 0.406), dtype=torch.float64)
    if key.endswith("layer_with_weights-0/variance"):
        return torch.tensor((0.229, 0.224, 0.225), dtype=torch.float64)
    if leaf in ("gamma", "moving_variance"):
        return 1 + 0.2 * signs
    if leaf in ("beta", "bias", "moving_mean"):
        return 0.1 * signs
    fan_in = np.prod(shape[:2] if leaf == "depthwise_kernel" else shape[:-1])
    return signs * float((0.3 if "_projection_" in key else 1.05) * (3 / fan_in) ** 0.5)


def _hashed(key: str, count: int) -> np.ndarray:
    """splitmix64 of the name's CRC and the index."""
    with np.errstate(over="ignore"):
        z = np.uint64(zlib.crc32(key.encode()) << 32) + np.arange(count, dtype=np.uint64)
        z += np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return 2 * ((z >> np.uint64(11)) * 2.0**-53) - 1


def _checkpoint_keys(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """Names and shapes of a checkpoint: a network of its sizes has a place for each of them."""
    system = find("official", "rt1")
    shapes = {name: tuple(v.long().tolist()) for name, v in fixture.named("out").items()}
    with torch.device("meta"):
        state = {name: torch.empty(shape) for name, shape in shapes.items()}
        constructor = system.infer(state)
        name, arguments = system.arguments(constructor)
        net = create_model(name, **arguments)
    needed = to_official(net.state_dict(), constructor)
    accounting = account(state, needed, dict(system.dropped))
    accounting.require_complete(fixture.path.name)
    ours = {key: tuple(needed[key].shape) for key in accounting.used}
    ours |= {key: shapes[key] for key in accounting.dropped}
    return Replay({k: torch.tensor(v) for k, v in ours.items()}, {}, nn.Identity())


class _Part:
    """One of our modules as a part of the network, under its official names."""

    def __init__(
        self, net: nn.Module, ours: str, official: str, constructor: dict[str, Any] | None = None
    ) -> None:
        self.net, self.ours, self.prefix, self.given = net, ours, official, constructor or {}

    def official(self, state: State) -> State:
        """Our names to official ones."""
        found = to_official({self.ours + k: v for k, v in state.items()}, self.given)
        return {key.removeprefix(self.prefix): value for key, value in found.items()}

    def load(self, fixture: Fixture, dtype: torch.dtype) -> None:
        """The fixture's parameters, every one accounted for."""
        state, needed = fixture.parameters(dtype), self.official(self.net.state_dict())
        account(state, needed, _DROPPED).require_complete(fixture.path.name)
        self.take(state)

    def take(self, state: State) -> None:
        """Official parameters."""
        found = to_ours({self.prefix + key: value for key, value in state.items()}, self.given)
        self.net.load_state_dict({k.removeprefix(self.ours): v for k, v in found.items()})


def _below(inputs: State, prefix: str) -> State:
    return {k.removeprefix(prefix): v for k, v in inputs.items() if k.startswith(prefix)}


KINDS = {
    "film": _film,
    "token_learner": _token_learner,
    "transformer_network": _transformer,
    "action_tokenizer": _action_tokenizer,
    "image_tokenizer": _image_tokenizer,
    "checkpoint_keys": _checkpoint_keys,
}
