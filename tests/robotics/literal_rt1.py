"""RT-1 as its published formulas read, for comparison in tests and benchmarks.

Every convolution, norm and score is written out; an action takes one pass of the transformer for
each of its tokens, over a state of fixed slots that rolls to the left. Parameters are those of
`RT1`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["LiteralState", "literal_encoder", "literal_learner", "literal_logits"]


def literal_encoder(encoder, images: Tensor, context: Tensor) -> Tensor:
    """Tokens (b, n, dim) of images (b, 3, h, w) from 0 to 1, in evaluation."""
    side = encoder.image_size
    x = F.interpolate(images, (side, side), mode="bilinear", align_corners=False)
    deviation = torch.tensor((0.229, 0.224, 0.225), dtype=x.dtype)
    x = (x - encoder.mean[:, None, None]) / encoder.variance.sqrt()[:, None, None]
    x = x / deviation.sqrt()[:, None, None]
    films = _films(encoder.film, context)
    trunk = encoder.trunk
    x = _swish(_norm(trunk.bn1, _convolution(trunk.conv_stem, x)))
    for stage in trunk.blocks:
        for block in stage:
            x = _film(_block(block, x), *next(films))
    x = _swish(_norm(trunk.bn2, _convolution(trunk.conv_head, x)))
    x = torch.einsum("bchw,dc->bdhw", x, encoder.project.weight[:, :, 0, 0])
    return _film(x, *next(films)).flatten(2).transpose(1, 2)


def literal_learner(learner, x: Tensor) -> Tensor:
    """TokenLearner of (b, n, dim)."""
    centred = x - x.mean(-1, keepdim=True)
    normed = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    normed = normed * learner.norm.weight + learner.norm.bias
    y = normed @ learner.hidden.weight.t() + learner.hidden.bias
    y = 0.5 * y * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (y + 0.044715 * y**3)))
    scores = (y @ learner.out.weight.t() + learner.out.bias).exp()
    return torch.einsum("bnk,bnd->bkd", scores / scores.sum(1, keepdim=True), x)


def literal_logits(transformer, images: Tensor, actions: Tensor) -> Tensor:
    """Logits at all positions of full histories (b, frames, n, dim).

    `actions` (b, frames, a, width) are embedded tokens of actions, and set to zero as published.
    """
    tokens = torch.cat((images, torch.zeros_like(actions)), 2).flatten(1, 2)
    onehot = torch.eye(tokens.shape[1], dtype=tokens.dtype)
    x = tokens @ transformer.embed.weight.t() + transformer.embed.bias
    x = x + (onehot @ transformer.positions + transformer.position_bias)
    slot = [i % transformer.step_tokens >= transformer.image_tokens for i in range(x.shape[1])]
    for block in transformer.blocks:
        h = _layer_norm(block.norm1, x)
        q, k, v = (h @ block.attention.qkv.weight.t() + block.attention.qkv.bias).chunk(3, -1)
        width = q.shape[-1] // block.attention.heads
        heads = []
        for head in range(block.attention.heads):
            part = slice(head * width, (head + 1) * width)
            scores = q[..., part] @ k[..., part].transpose(1, 2) / width**0.5
            for i in range(x.shape[1]):
                for j in range(x.shape[1]):
                    if j > i or (slot[i] and slot[j]):
                        scores[:, i, j] = -torch.inf
            heads.append(torch.softmax(scores, -1) @ v[..., part])
        x = x + block.attention.out(torch.cat(heads, -1))
        x = x + block.linear(_layer_norm(block.norm2, x))
    return transformer.head(x)


class LiteralState:
    """Slots for tokens of frames and actions; `seq_idx` counts up to `frames`."""

    def __init__(self, transformer, batch: int, dtype: torch.dtype) -> None:
        self.net, self.index = transformer, 0
        frames, width = transformer.frames, transformer.token_dim
        self.images = torch.zeros(batch, frames, transformer.image_tokens, width, dtype=dtype)
        self.actions = torch.zeros(batch, frames, transformer.action_tokens, width, dtype=dtype)

    def step(self, new: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (b, a, v) and tokens (b, a) of the next action, by a pass for each token."""
        last = self.net.frames - 1
        if self.index > last:
            self.images, self.actions = self.images.roll(-1, 1), self.actions.roll(-1, 1)
        here = min(self.index, last)
        self.images[:, here] = new
        logits, tokens = [], []
        for j in range(self.net.action_tokens):
            whole = literal_logits(self.net, self.images, self.actions)
            place = here * self.net.step_tokens + self.net.image_tokens - 1 + j
            logits.append(whole[:, place])
            tokens.append(logits[-1].argmax(-1))
            self.actions[:, here, j] = tokens[-1][:, None].to(new.dtype)  # goes in as zero
        self.index += 1
        return torch.stack(logits, 1), torch.stack(tokens, 1)


def _films(maps, context: Tensor):
    out = context @ maps.weight.t() + maps.bias
    for part in out.split(maps.sizes, -1):
        yield part.chunk(2, -1)


def _film(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return (1 + scale[:, :, None, None]) * x + shift[:, :, None, None]


def _block(block, x: Tensor) -> Tensor:
    y = x
    if hasattr(block, "conv_pwl"):
        y = _swish(_norm(block.bn1, _convolution(block.conv_pw, y)))
        y = _swish(_norm(block.bn2, _convolution(block.conv_dw, y)))
        y = _norm(block.bn3, _convolution(block.conv_pwl, _squeeze(block.se, y)))
    else:
        y = _swish(_norm(block.bn1, _convolution(block.conv_dw, y)))
        y = _norm(block.bn2, _convolution(block.conv_pw, _squeeze(block.se, y)))
    return x + y if x.shape == y.shape else y


def _squeeze(se, x: Tensor) -> Tensor:
    mean = x.mean((2, 3), keepdim=True)
    gate = torch.sigmoid(se.conv_expand(_swish(se.conv_reduce(mean))))
    return x * gate


def _convolution(conv, x: Tensor) -> Tensor:
    """Of stride 1: as large as before; of stride 2: a pixel less before than behind."""
    half, stride = conv.kernel_size[0] // 2, conv.stride[0]
    before = half if stride == 1 else half - 1
    x = F.pad(x, (before, half, before, half))
    return F.conv2d(x, conv.weight, stride=stride, groups=conv.groups)


def _norm(norm, x: Tensor) -> Tensor:
    scale = norm.weight / (norm.running_var + 1e-3).sqrt()
    shift = norm.bias - norm.running_mean * scale
    return x * scale[:, None, None] + shift[:, None, None]


def _layer_norm(norm, x: Tensor) -> Tensor:
    return F.layer_norm(x, (x.shape[-1],), norm.weight, norm.bias, 1e-6)


def _swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)
