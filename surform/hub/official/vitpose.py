"""ViTPose and ViTPose+: ViTAE-Transformer/ViTPose@c050ed29112d, a fork of mmpose 0.24."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from surform.hub.official.fixture import Fixture, Replay, System
from surform.hub.official.vitpose_affine import affine
from surform.hub.official.vitpose_heatmaps import decode, flip_pairs, loss_of, targets
from surform.hub.official.vitpose_infer import infer
from surform.hub.official.vitpose_keys import DROPPED, to_official, to_ours
from surform.hub.official.vitpose_precision import coco_ap
from surform.hub.official.vitpose_start import init_mae, layer_decay
from surform.registry import import_object

__all__ = ["SYSTEM"]

NORM_EPS = 1e-6  # of the official layer norms
Arguments = dict[str, Any]
State = dict[str, Tensor]

_BACKBONE: Arguments = {  # official defaults
    "img_size": 224,
    "patch_size": 16,
    "in_chans": 3,
    "embed_dim": 768,
    "depth": 12,
    "num_heads": 12,
    "mlp_ratio": 4.0,
    "qkv_bias": False,
    "drop_path_rate": 0.0,
    "ratio": 1,
    "last_norm": True,
    "norm_eps": NORM_EPS,  # not an argument there: transformers' copies have another one
}
_SAME = {
    "patch_size": "patch_size",
    "in_chans": "in_channels",
    "embed_dim": "dim",
    "depth": "depth",
    "num_heads": "heads",
    "mlp_ratio": "mlp_ratio",
    "qkv_bias": "qkv_bias",
    "drop_path_rate": "drop_path",
    "ratio": "ratio",
    "last_norm": "last_norm",
}
# what we have not, and the values that mean its absence
_ABSENT = {"qk_scale": (None,), "hybrid_backbone": (None,), "use_abs_pos_emb": (True,)}
_KINDS = ("TopDown", "TopDownMoE")


def _arguments(
    constructor: Arguments, *, kind: str | None = None, options: Arguments | None = None
) -> tuple[str, Arguments]:
    """Official model config -> (registered name, our arguments)."""
    if constructor.get("type", "TopDown") not in _KINDS:
        raise ValueError(f"type is {constructor['type']!r}, but must be {' or '.join(_KINDS)}")
    backbone = constructor["backbone"]
    for name, values in _ABSENT.items():
        if backbone.get(name, values[0]) not in values:
            raise ValueError(f"{name} = {backbone[name]!r} is not supported in a ViTPose backbone")
    given = _BACKBONE | backbone
    size = given["img_size"]
    ours: Arguments = {"image_size": (size, size) if isinstance(size, int) else tuple(size)}
    ours |= {our: given[official] for official, our in _SAME.items()}
    ours["norm_eps"] = given["norm_eps"]
    heads = [constructor["keypoint_head"], *_associates(constructor)]
    decoders = [_decoder(head, given["embed_dim"]) for head in heads]
    if any(decoder != decoders[0] for decoder in decoders):
        raise ValueError("the heads of a ViTPose+ differ in more than their number of joints")
    ours |= decoders[0]
    joints = tuple(head["out_channels"] for head in heads)
    if not _plus(constructor):
        return "vitpose", ours | {"joints": joints[0]}
    experts = {"experts": given["num_expert"], "part_features": given["part_features"]}
    return "vitpose_plus", ours | experts | {"joints": joints}


def _plus(constructor: Arguments) -> bool:
    return constructor["backbone"].get("type", "ViT") == "ViTMoE"


def _associates(constructor: Arguments) -> list[Arguments]:
    given = constructor.get("associate_keypoint_head") or []
    return given if isinstance(given, list) else [given]


def _decoder(head: Arguments, dim: int) -> Arguments:
    """Our arguments of an official head."""
    extra = head.get("extra") or {}
    count = head.get("num_deconv_layers", 3)
    upsample = head.get("upsample", 0)
    kernel = extra.get("final_conv_kernel", 1)
    problems = {
        "num_conv_layers": extra.get("num_conv_layers", 0) > 0,
        "final_conv_kernel = 0": kernel == 0,
        "align_corners": upsample > 0 and head.get("align_corners", False),
        "upsampling before deconvolutions": upsample > 0 and count > 0,
        f"in_channels = {head.get('in_channels')}": head.get("in_channels", dim) != dim,
    }
    found = [name for name, is_so in problems.items() if is_so]
    if found:
        raise ValueError(f"{', '.join(found)} is not supported in a ViTPose head")
    shared: Arguments = {"final_kernel": kernel}
    if upsample:
        return shared | {"decoder": "simple", "upsample": upsample}
    filters, kernels = head.get("num_deconv_filters"), head.get("num_deconv_kernels")
    return shared | {
        "decoder": "classic",
        "deconv_channels": tuple((256, 256, 256) if filters is None else filters)[:count],
        "deconv_kernels": tuple((4, 4, 4) if kernels is None else kernels)[:count],
    }


def _describe(net: nn.Module) -> Arguments | None:
    """The official model config of one of our networks."""
    given: Arguments = net.__dict__.get("arguments", {})
    if not {"decoder", "joints", "knowledge_dim"} <= set(given):
        return None
    problems = {
        f"norm_eps = {given['norm_eps']}": given["norm_eps"] != NORM_EPS,
        "a knowledge token": given["knowledge_dim"] > 0,
    }
    found = [name for name, is_so in problems.items() if is_so]
    if found:
        raise ValueError(
            f"the official code has no counterpart of {' and '.join(found)}: it has layer norms of "
            f"eps {NORM_EPS}, and no distillation"
        )
    plus = isinstance(given["joints"], tuple | list)
    backbone: Arguments = {official: given[our] for official, our in _SAME.items()}
    backbone |= {"type": "ViT", "img_size": list(given["image_size"])}
    if plus:
        own = {"num_expert": given["experts"], "part_features": given["part_features"]}
        backbone |= own | {"type": "ViTMoE"}
    counts = given["joints"] if plus else [given["joints"]]
    heads = [_official_head(given, count) for count in counts]
    made: Arguments = {"type": "TopDown", "backbone": backbone, "keypoint_head": heads[0]}
    return made | {"type": "TopDownMoE", "associate_keypoint_head": heads[1:]} if plus else made


def _official_head(given: Arguments, joints: int) -> Arguments:
    head: Arguments = {
        "type": "TopdownHeatmapSimpleHead",
        "in_channels": given["dim"],
        "out_channels": joints,
        "loss_keypoint": {"type": "JointsMSELoss", "use_target_weight": True},
    }
    if given["decoder"] == "simple":
        kernel, sizes = given["final_kernel"] or 3, ()
        head["upsample"] = given["upsample"]
    else:
        kernel, sizes = given["final_kernel"] or 1, given["deconv_channels"]
    kernels = given["deconv_kernels"] if sizes else ()
    return head | {
        "num_deconv_layers": len(sizes),
        "num_deconv_filters": list(sizes),
        "num_deconv_kernels": list(kernels),
        "extra": {"final_conv_kernel": kernel},
    }


def _model(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """Heatmaps, losses, the flip test; of ViTPose+ what all heads make of the whole batch."""
    model: Any = SYSTEM.build(fixture, dtype)
    inputs = fixture.inputs(dtype)
    images = inputs["img"]
    plus = _plus(fixture.constructor)
    dataset = inputs["dataset_idx"] if plus else torch.zeros(len(images), dtype=torch.int64)
    mid, watching = _watch(model)
    made = model.all_heads(images, dataset) if plus else [model(images)]
    for handle in watching:
        handle.remove()
    if plus:
        order = dataset.argsort(stable=True).argsort()  # samples of one expert stand together
        mid = {name: value[order] for name, value in mid.items()}
    outputs = {"out": torch.cat(made, 1)}
    heads = [fixture.constructor["keypoint_head"], *_associates(fixture.constructor)]
    if "target" in inputs:
        target, weight = inputs["target"].detach(), inputs["target_weight"].detach().squeeze(-1)
        outputs["heatmap_loss"] = loss_of(heads[0], made[0], target, weight)
        if plus:
            outputs |= _losses(heads, made, target, weight, dataset)
    if "out/flip_avg_heatmap" in fixture.tensors:
        test, pairs = import_object("surform.vision.flipping:flip_test"), flip_pairs(fixture)
        beside = (dataset,) if plus else ()
        outputs["flip_avg_heatmap"] = test(model, images, pairs, *beside)
    cotangent = fixture.cotangent("out", dtype)
    loss = None if cotangent is None else (outputs["out"] * cotangent).sum()
    return Replay(outputs, inputs, model, mid=mid, loss=loss)


def _losses(
    heads: list[Arguments], made: list[Tensor], target: Tensor, weight: Tensor, dataset: Tensor
) -> State:
    each = import_object("surform.vision.heatmap_losses:per_head_losses")
    numbers = iter(heads)
    found = each(
        made,
        target,
        weight,
        dataset,
        lambda p, _: loss_of(next(numbers), p.output, p.target, p.weight),
    )
    return {"losses_per_head": found, "total_loss": found.sum()}


def _watch(model: nn.Module) -> tuple[State, list[Any]]:
    """What the fixtures keep of the inside, filled by the next forward pass."""
    mid: State = {}

    def keep(name: str, where: str) -> Any:
        def hook(_: nn.Module, __: Any, out: Tensor) -> None:
            mid[where] = out.detach()

        return model.get_submodule(name).register_forward_hook(hook)

    parts = {"patch": "patch_embed_proj_nchw", "": "features_nchw"}
    for number, block in enumerate(model.get_submodule("backbone.blocks").children()):
        parts[f"blocks.{number}"] = f"block{number}_out"
        for name, where in (("attention", "attn"), ("feed_forward", "mlp")):
            if hasattr(block, name):
                parts[f"blocks.{number}.{name}"] = f"block{number}_{where}_out"
    return mid, [keep(f"backbone.{name}".rstrip("."), where) for name, where in parts.items()]


SYSTEM = System(
    name="vitpose",
    kinds={
        "model": _model,
        "targets": targets,
        "decode": decode,
        "coco_ap": coco_ap,
        "affine": affine,
        "init_mae": init_mae,
        "layer_decay": layer_decay,
    },
    arguments=_arguments,
    to_ours=lambda state, constructor: to_ours(state, _plus(constructor)),
    to_official=lambda state, constructor: to_official(state, _plus(constructor)),
    dropped=DROPPED,
    infer=infer,
    surrogate="pose",
    describe=_describe,
    modes=("eval", "train", "init"),
    noise=("drop_path",),
)
