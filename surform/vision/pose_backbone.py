"""The plain vision transformer of ViTPose, with or without experts in its feed-forward blocks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from surform.layers.attends import Softmax
from surform.layers.checks import at_least
from surform.layers.drop_path import DropPath, drop_rates
from surform.layers.feed_forward import FeedForward
from surform.layers.multihead import SelfAttention

__all__ = ["ExpertFeedForward", "PoseBackbone", "Route", "group_samples"]

# which expert each sample takes: one number for all, or (B,) on the CPU, equal numbers together
Route = int | Tensor


class PoseBackbone(nn.Module):
    """Images (B, in_channels, H, W) -> features of patches (B, dim, h, w).

    Arguments are those of `ViTPose`; `experts` and `part_features` those of `ViTPosePlus`.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        patch_size: int,
        in_channels: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        qkv_bias: bool,
        drop_path: float,
        ratio: int,
        last_norm: bool,
        norm_eps: float,
        knowledge_dim: int,
        experts: int = 0,
        part_features: int = 0,
    ) -> None:
        super().__init__()
        _check_sizes(image_size, patch_size, in_channels, dim, depth, heads, ratio, knowledge_dim)
        hidden = int(dim * mlp_ratio)
        if hidden < 1:
            raise ValueError(f"mlp_ratio is {mlp_ratio!r}, but dim * mlp_ratio must be at least 1")
        self.image_size = (image_size[0], image_size[1])
        stride, padding = patch_size // ratio, 4 + 2 * (ratio // 2 - 1)
        self.grid = tuple((side + 2 * padding - patch_size) // stride + 1 for side in image_size)
        self.patch = nn.Conv2d(in_channels, dim, patch_size, stride, padding)
        self.positions = nn.Parameter(torch.empty(1, self.grid[0] * self.grid[1] + 1, dim))
        self.knowledge = KnowledgeToken(knowledge_dim, dim) if knowledge_dim else None
        self.blocks = nn.ModuleList(
            Block(dim, heads, hidden, qkv_bias, rate, norm_eps, experts, part_features)
            for rate in drop_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps) if last_norm else nn.Identity()
        _initialize(self)

    def forward(
        self, images: Float[Tensor, "b c H W"], route: Route = 0
    ) -> Float[Tensor, "b d h w"]:
        if images.ndim != 4 or images.shape[1:] != (self.patch.in_channels, *self.image_size):
            raise ValueError(
                f"images have shape {tuple(images.shape)}, but must be (batch, "
                f"{self.patch.in_channels}, {self.image_size[0]}, {self.image_size[1]}): crop them "
                "to that size, or build the network for another image_size"
            )
        # the first position belongs to a class token that is not there, as published
        places = self.positions[:, 1:] + self.positions[:, :1]
        x = places + self.patch(images).flatten(2).transpose(1, 2)  # (b, n, c)
        count = x.shape[1]
        if self.knowledge is not None:
            x = torch.cat((x, self.knowledge().expand(len(x), -1, -1)), 1)
        for block in self.blocks:
            x = block(x, route)
        x = self.norm(x[:, :count])
        return x.transpose(1, 2).unflatten(2, self.grid)  # channels last in memory


class Block(nn.Module):
    """x += attention(norm(x)); x += feed_forward(norm(x)): (b, n, dim) -> same."""

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        qkv_bias: bool,
        drop_path: float,
        norm_eps: float,
        experts: int,
        part_features: int,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attention = SelfAttention(dim, heads, Softmax(), qkv_bias=qkv_bias)
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.feed_forward: nn.Module = (
            ExpertFeedForward(dim, hidden, experts, part_features)
            if experts
            else FeedForward(dim, hidden)
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Float[Tensor, "b n c"], route: Route = 0) -> Float[Tensor, "b n c"]:
        x = self.drop_path.add(x, self._attend)
        if isinstance(route, Tensor):
            return self.drop_path.add(x, self._feed, route)
        return self.drop_path.add(x, lambda part: self._feed(part, route))

    def _attend(self, x: Tensor) -> Tensor:
        return self.attention(self.norm1(x))

    def _feed(self, x: Tensor, route: Route) -> Tensor:
        x = self.norm2(x)
        if isinstance(self.feed_forward, ExpertFeedForward):
            return self.feed_forward(x, route)
        return self.feed_forward(x)


class ExpertFeedForward(nn.Module):
    """cat(down(h), expert(h)), h = GELU(up(x)): the last `part_features` come from one expert.

    The samples' expert is given, not chosen (no gate), and only that one is evaluated.
    """

    def __init__(self, dim: int, hidden: int, experts: int, part_features: int) -> None:
        super().__init__()
        at_least(1, experts=experts, part_features=part_features)
        if part_features >= dim:
            raise ValueError(
                f"part_features is {part_features}, but must leave shared features of dim = {dim}"
            )
        self.up = nn.Linear(dim, hidden)
        self.down = nn.Linear(hidden, dim - part_features)
        self.experts = Experts(hidden, experts, part_features)

    def forward(self, x: Float[Tensor, "b n c"], route: Route) -> Float[Tensor, "b n c"]:
        hidden = F.gelu(self.up(x))
        if isinstance(route, int):
            return F.linear(hidden, *self.merged(route))
        weight, bias = self.experts.weight, self.experts.bias
        if torch.compiler.is_compiling():  # a program must not depend on how many take which
            own = torch.baddbmm(bias[route][:, None], hidden, weight[route].transpose(1, 2))
        else:
            found, counts = torch.unique_consecutive(route, return_counts=True)
            experts = found.tolist() or [0]  # where no sample is left, weights still have gradients
            parts = zip(hidden.split(counts.tolist() or [0]), experts, strict=True)
            own = torch.cat([F.linear(part, weight[e], bias[e]) for part, e in parts])
        return torch.cat((self.down(hidden), own), -1)

    def merged(self, expert: int) -> tuple[Tensor, Tensor]:
        """Weight (dim, hidden) and bias (dim,) of the one map that `down` and an expert make."""
        weight = torch.cat((self.down.weight, self.experts.weight[expert]))
        return weight, torch.cat((self.down.bias, self.experts.bias[expert]))


class Experts(nn.Module):
    """The maps of all experts, one above the other."""

    def __init__(self, hidden: int, experts: int, part_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, part_features, hidden))
        self.bias = nn.Parameter(torch.zeros(experts, part_features))
        nn.init.trunc_normal_(self.weight, std=0.02)


class KnowledgeToken(nn.Module):
    """One more token, (1, 1, dim), whose `knowledge_dim` numbers a teacher learned.

    A linear map brings them to the student's width, where that is another.
    """

    def __init__(self, knowledge_dim: int, dim: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.empty(1, 1, knowledge_dim))
        self.map = nn.Linear(knowledge_dim, dim) if knowledge_dim != dim else nn.Identity()
        nn.init.trunc_normal_(self.token, std=0.02)

    def forward(self) -> Float[Tensor, "1 1 c"]:
        return self.map(self.token)


def group_samples(dataset: Int[Tensor, " b"]) -> tuple[Tensor | None, Tensor]:
    """(order that puts samples of the same expert together, or None; their `Route`)."""
    route = dataset.cpu()
    if bool((route[1:] >= route[:-1]).all()):
        return None, route
    order = route.argsort(stable=True)
    return order.to(dataset.device), route[order]


def _check_sizes(
    image_size: tuple[int, int],
    patch_size: int,
    in_channels: int,
    dim: int,
    depth: int,
    heads: int,
    ratio: int,
    knowledge_dim: int,
) -> None:
    if len(image_size) != 2:
        raise ValueError(f"image_size is {image_size!r}, but must be (height, width)")
    at_least(1, patch_size=patch_size, in_channels=in_channels, depth=depth, ratio=ratio)
    at_least(1, dim=dim, heads=heads)
    at_least(0, knowledge_dim=knowledge_dim)
    for name, side in zip(("height", "width"), image_size, strict=True):
        at_least(1, **{name: side})
        if side % patch_size:
            raise ValueError(
                f"image_size is {tuple(image_size)}, but its {name} must be a multiple of "
                f"patch_size {patch_size}"
            )
    if patch_size % ratio:
        raise ValueError(f"patch_size {patch_size} must be a multiple of ratio {ratio}")
    if dim % heads:
        raise ValueError(f"dim {dim} must be a multiple of heads {heads}")


def _initialize(backbone: PoseBackbone) -> None:
    nn.init.trunc_normal_(backbone.positions, std=0.02)
    for module in backbone.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
