"""Replays of ViTPose's heatmaps: targets, decoding, losses, flips."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from surform.hub.official.fixture import Fixture, Replay
from surform.registry import import_object

__all__ = ["decode", "flip_pairs", "loss_of", "targets"]

Arguments = dict[str, Any]
State = dict[str, Tensor]

_LOSSES = {
    "JointsMSELoss": "HeatmapMSE",
    "JointsOHKMMSELoss": "HardKeypointMSE",
    "CombinedTargetMSELoss": "CombinedHeatmapMSE",
}
# (use_udp, target_type) or post_process -> our method
_PROCESSES = {None: "none", "default": "default", "unbiased": "dark", "megvii": "megvii"}


def loss_of(head: Arguments, output: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """The loss that an official head is configured with."""
    given = head.get("loss_keypoint") or {"type": "JointsMSELoss"}
    name = _LOSSES.get(given["type"])
    if name is None:
        raise ValueError(f"unknown loss {given['type']!r}: choose {', '.join(_LOSSES)}")
    options = {"top": given.get("topk", 8)} if name == "HardKeypointMSE" else {}
    loss = import_object(f"surform.vision.heatmap_losses:{name}")(**options)
    prediction = import_object("surform.vision.heatmap_losses:HeatmapPrediction")
    weighted = given.get("use_target_weight", given["type"] == "CombinedTargetMSELoss")
    found = loss(prediction(output, target, weight if weighted else None))
    return given.get("loss_weight", 1.0) * found


def flip_pairs(fixture: Fixture) -> list[tuple[int, int]]:
    """Pairs of left and right joints, where the header holds them."""
    pairs = fixture.header.get("flip_pairs", fixture.options.get("flip_pairs"))
    if pairs is None:
        raise ValueError(f"{fixture.path.name} does not say its flip_pairs")
    return [(int(left), int(right)) for left, right in pairs]


def targets(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """Targets of every configuration named in the constructor; a record may hold fewer persons."""
    inputs, outputs = fixture.inputs(dtype), {}
    joints, visible = inputs["joints"].detach(), inputs["visible"].detach()[..., 0]
    image, heatmap = (_size(fixture, name) for name in ("image_size_wh", "heatmap_size_wh"))
    make = import_object("surform.vision.heatmap_targets:make_targets")
    for name, given in fixture.constructor.items():
        options = _target_options(given)
        maps, weight = make(joints, visible, image, heatmap, **options)
        held = fixture.tensors.get(f"out/{name}_target")
        outputs[f"{name}_target"] = maps if held is None else maps[: len(held)]
        outputs[f"{name}_weight"] = weight[..., None]
        if "joint_weights" in inputs:
            weights = inputs["joint_weights"].detach().flatten()
            weighted = make(joints, visible, image, heatmap, joint_weights=weights, **options)[1]
            outputs[f"{name}_weight_joint_weighted"] = weighted[..., None]
    return Replay(outputs, inputs, nn.Identity(), to_official=lambda state: state)


def _target_options(given: Arguments) -> Arguments:
    encoding = given.get("encoding", "MSRA").lower()
    options: Arguments = {}
    if encoding == "msra" and given.get("unbiased_encoding"):
        encoding = "msra_unbiased"
    if encoding == "udp" and given.get("target_type", "").lower() == "combinedtarget":
        encoding = "udp_combined"
        options["radius"] = given.get("valid_radius_factor", 0.0546875)
    if "sigma" in given:
        options["sigma"] = given["sigma"]
    if "kernel" in given:
        kernel = given["kernel"]
        options["kernel"] = kernel if isinstance(kernel, int) else _one(kernel, "kernel")
    return options | {"encoding": encoding}


def decode(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """Joints by every configuration named in the constructor, flips, and the PCK of heatmaps."""
    inputs, outputs = fixture.inputs(dtype), {}
    maps = {name: value.detach() for name, value in inputs.items()}
    run = import_object("surform.vision.heatmap_decoding:decode")
    placed = import_object("surform.vision.heatmap_decoding:to_image")
    for name, given in fixture.constructor.items():
        options = _decode_options(given)
        aligned = options["method"] in ("udp", "combined")
        values = maps["combined_heatmaps" if options["method"] == "combined" else "heatmaps"]
        found = run(values, legacy_empty=True, **options)
        size = tuple(values.shape[-2:])
        xy = placed(found.xy, maps["center"], maps["scale"], size, aligned=aligned)
        outputs |= {f"{name}_preds": xy, f"{name}_maxvals": found.score[..., None]}
    outputs |= _flips(fixture, maps)
    if "pck_target" in maps:
        measure = import_object("surform.vision.heatmap_accuracy:heatmap_pck")
        threshold = fixture.options.get("pck_thr", 0.05)
        pck = measure(maps["heatmaps"], maps["pck_target"], maps["pck_mask"].bool(), threshold)
        outputs |= {"pck_per_joint": pck.per_joint, "pck_avg": pck.mean.reshape(1)}
        outputs["pck_count"] = pck.joints.reshape(1)
    return Replay(outputs, inputs, nn.Identity(), to_official=lambda state: state)


def _decode_options(given: Arguments) -> Arguments:
    options: Arguments = {"kernel": given.get("kernel", 11)}
    if given.get("use_udp"):
        combined = given.get("target_type", "GaussianHeatmap").lower() == "combinedtarget"
        if combined:
            options["radius"] = given.get("valid_radius_factor", 0.0546875)
        return options | {"method": "combined" if combined else "udp"}
    process = given.get("post_process", "default")
    if process not in _PROCESSES:
        known = ", ".join(str(name) for name in _PROCESSES)
        raise ValueError(f"unknown post_process {process!r}: choose {known}")
    return options | {"method": "dark" if given.get("unbiased") else _PROCESSES[process]}


def _flips(fixture: Fixture, maps: State) -> State:
    """Heatmaps flipped back, by pairs that the record itself shows: it names them in words only."""
    back = import_object("surform.vision.flipping:flip_back")
    found = {}
    for name, source in (("flip_back", "heatmaps"), ("flip_back_combined", "combined_heatmaps")):
        turned = fixture.tensors.get(f"out/{name}")
        if turned is not None:
            offsets = source.startswith("combined")
            pairs = _pairs_between(maps[source], turned, 3 if offsets else 1)
            found[name] = back(maps[source], pairs, offsets=offsets)
    return found


def _pairs_between(maps: Tensor, turned: Tensor, channels: int) -> list[tuple[int, int]]:
    """Which joints swap: each joint's first channel is looked for in the record."""
    first, mirrored = turned[:, ::channels].to(maps), maps[:, ::channels].flip(-1)
    distance = (first[:, :, None] - mirrored[:, None]).abs().amax((0, 3, 4))
    order = distance.argmin(1).tolist()
    return [(joint, other) for joint, other in enumerate(order) if joint < other]


def _size(fixture: Fixture, name: str) -> tuple[int, int]:
    """(height, width) from the header's (width, height)."""
    found = fixture.header.get(name, fixture.options.get(name))
    if found is None:
        raise ValueError(f"{fixture.path.name} does not say its {name}")
    return int(found[1]), int(found[0])


def _one(values: list[int], name: str) -> int:
    if len(set(values)) != 1:
        raise ValueError(f"{name} is {values}, but must be equal along both axes")
    return values[0]
