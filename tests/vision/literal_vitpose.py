"""ViTPose as its formulas say, on the weights of ours: what the tests and benchmarks compare with.

Queries, keys and values head by head over a written-out softmax; every expert on every token,
masked by multiplication; norms after their convolutions; features upsampled before the last one.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surform.vision.heatmap_head import HeatmapHead
from surform.vision.pose_backbone import Block, ExpertFeedForward, PoseBackbone

__all__ = ["literal_features", "literal_forward", "literal_head"]


def literal_forward(net: Any, images: Tensor, dataset: Tensor | None = None) -> Any:
    """Heatmaps; of a ViTPose+ the list of what each head makes of the whole batch."""
    features = literal_features(net.backbone, images, dataset)
    if dataset is None:
        return literal_head(net.head, features)
    return [literal_head(head, features) for head in net.heads]


def literal_features(backbone: PoseBackbone, images: Tensor, dataset: Tensor | None) -> Tensor:
    x = F.conv2d(
        images,
        backbone.patch.weight,
        backbone.patch.bias,
        backbone.patch.stride,
        backbone.patch.padding,
    )
    b, c, h, w = x.shape
    x = x.flatten(2).transpose(1, 2)
    x = x + backbone.positions[:, 1:] + backbone.positions[:, :1]
    if backbone.knowledge is not None:
        token = backbone.knowledge.map(backbone.knowledge.token)
        x = torch.cat((x, token.expand(b, 1, c)), 1)
    for block in backbone.blocks:
        x = _block(block, x, dataset)  # type: ignore[arg-type]
    x = backbone.norm(x)[:, : h * w]
    return x.permute(0, 2, 1).reshape(b, c, h, w).contiguous()


def literal_head(head: HeatmapHead, x: Tensor) -> Tensor:
    if head.relu_first:
        x = F.relu(x)
        x = F.interpolate(x, scale_factor=head.upsample, mode="bilinear", align_corners=False)
        return head.final(x)
    for each in head.deconvolutions:
        x = each.deconvolution(x)  # type: ignore[operator]
        x = F.relu(each.norm(x))  # type: ignore[operator]
    return head.final(x)


def _block(block: Block, x: Tensor, dataset: Tensor | None) -> Tensor:
    x = x + _dropped(block, _attention(block, block.norm1(x)))
    return x + _dropped(block, _feed_forward(block.feed_forward, block.norm2(x), dataset))


def _dropped(block: Block, x: Tensor) -> Tensor:
    rate = block.drop_path.rate
    if not block.training or rate == 0:
        return x
    return x.div(1 - rate) * (torch.rand(len(x), 1, 1, dtype=x.dtype) + 1 - rate).floor()


def _attention(block: Block, x: Tensor) -> Tensor:
    attention = block.attention
    b, n, c = x.shape
    qkv = attention.qkv(x).reshape(b, n, 3, attention.heads, c // attention.heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    q = q * q.shape[-1] ** -0.5
    weights = (q @ k.transpose(-2, -1)).softmax(-1)
    return attention.out((weights @ v).transpose(1, 2).reshape(b, n, c))


def _feed_forward(layer: nn.Module, x: Tensor, dataset: Tensor | None) -> Tensor:
    hidden = F.gelu(layer.up(x))  # type: ignore[operator]
    shared = layer.down(hidden)  # type: ignore[operator]
    if not isinstance(layer, ExpertFeedForward):
        return shared
    assert dataset is not None
    own = torch.zeros_like(shared[:, :, :1])
    for number, (weight, bias) in enumerate(
        zip(layer.experts.weight, layer.experts.bias, strict=True)
    ):
        chosen = (dataset == number).to(x.dtype).view(-1, 1, 1)
        own = own + F.linear(hidden, weight, bias) * chosen
    return torch.cat((shared, own), -1)
