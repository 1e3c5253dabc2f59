"""Small policies on the demonstrations of `tests.data.demonstration_files`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from surform import create_model
from surform.data.demonstrations_module import DemonstrationsData
from surform.robotics.policy import Policy

CHUNK = 4
LANGUAGE = 16
# network, its arguments, and how many observations its windows hold
NETS: dict[str, tuple[str, dict[str, Any], int]] = {
    "bc_mlp": (
        "bc_mlp",
        {"chunk": CHUNK, "state_dim": 4, "history": 2, "language_dim": LANGUAGE, "hidden": (32,)},
        2,
    ),
    "dit": (
        "dit_policy",
        {
            "chunk": CHUNK, "cameras": (), "state_dim": 4, "state_frames": 2, "dim": 16, "depth": 1,
            "language_dim": LANGUAGE, "language_as": "token", "heads": 2, "hidden": 16,
            "time_dim": 8, "dropout": 0.0, "state_dropout": 0.0, "sampling_steps": 4,
        },
        2,
    ),
    "dit_images": (
        "dit_policy",
        {
            "chunk": CHUNK, "cameras": ("front",), "frames": 2, "features": "patches",
            "patch_size": 8, "state_dim": 4, "dim": 16, "depth": 1, "heads": 2, "hidden": 16,
            "time_dim": 8, "dropout": 0.0, "state_dropout": 0.0, "sampling_steps": 4,
        },
        2,
    ),
    "unet": (
        "unet_policy",
        {
            "chunk": CHUNK, "state_dim": 4, "state_frames": 2, "language_dim": LANGUAGE,
            "language_as": "token", "dim": 16, "unet_channels": (8, 16), "unet_time_dim": 8,
            "sampling_steps": 4,
        },
        2,
    ),
    "hpt": (
        "hpt",
        {
            "chunk": CHUNK, "features": {"state": 4, "language": LANGUAGE}, "tokens": 2,
            "dim": 16, "depth": 1, "heads": 2, "history": 3, "stem_hidden": (8,),
            "stem_heads": 2, "stem_head_dim": 4, "head_hidden": (16, 16),
        },
        3,
    ),
    "rt1": (
        "rt1",
        {
            "fields": (("move", 2, -1.0, 1.0),), "dim": 12, "depth": 1, "heads": 3, "head_dim": 4,
            "vocab_size": 16, "token_dim": 8, "frames": 3, "image_tokens": 2, "bottleneck": 6,
            "instruction_dim": LANGUAGE, "encoder": "tf_efficientnet_b0", "image_size": 32,
        },
        3,
    ),
}  # fmt: skip


def data(name: str, path: str | Path, **options: Any) -> DemonstrationsData:
    """The windows that a network of `NETS` asks for."""
    given: dict[str, Any] = {
        "history": NETS[name][2],
        "chunk": 1 if name == "rt1" else CHUNK,
        "split": {"train": "train", "validation": "valid"},
        "batch_size": 32,
    }
    if name != "dit_images":
        given |= {"language": "text", "language_dim": LANGUAGE}
    if name in ("rt1", "dit_images"):
        given["cameras"] = ["front"]
    return DemonstrationsData(str(path), **given | options)


def net(name: str) -> Any:
    torch.manual_seed(0)
    kind, arguments, _ = NETS[name]
    action = {} if kind == "rt1" else {"action_dim": 2}
    return create_model(kind, **action, **arguments)


def fitted(name: str, demonstrations: DemonstrationsData) -> Policy:
    """With random weights and the statistics of the data."""
    policy = Policy(net(name))
    policy.fit_to(demonstrations.description(), *demonstrations.normalizers())
    for parameter in policy.net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return policy.eval()
