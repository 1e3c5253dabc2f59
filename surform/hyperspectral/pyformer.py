"""PyFormer: convolutions over columns and bands, then attention over all of a small cube.

Ahmad et al., "Pyramid Hierarchical Spatial-Spectral Transformer for Hyperspectral Image
Classification", IEEE JSTARS 2024; official code mahmad00/PyFormer@2c5b83690b7f. The official
convolutions over three axes have kernels of one row: here rows are samples of convolutions over
two, the same numbers sooner. Tokens stand as (row, column, component), channels last.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.arguments import record_arguments
from surform.layers.attends import Softmax
from surform.layers.checks import at_least
from surform.layers.multihead import SelfAttention

__all__ = ["PyFormer", "RowConvolution"]

_EPS = 1e-3  # of the norms, Keras's default


class RowConvolution(nn.Conv2d):
    """ReLU of a convolution along columns and components, row by row, of the same size.

    (b, rows, columns, components, c) -> the same with other channels. Of an even kernel the longer
    part looks ahead, as in Keras.
    """

    def __init__(self, channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__(channels, out_channels, kernel_size)
        before = (kernel_size - 1) // 2
        self.margin = (before, kernel_size - 1 - before) * 2

    def forward(self, x: Float[Tensor, "b r w k c"]) -> Float[Tensor, "b r w k d"]:
        rows = F.pad(x.flatten(0, 1).permute(0, 3, 1, 2), self.margin)  # (b r, c, w, k)
        found = F.relu(super().forward(rows)).permute(0, 2, 3, 1)
        return found.unflatten(0, x.shape[:2])


class PyFormer(nn.Module):
    """Pyramid spatial-spectral transformer: the class of the pixel in the middle of a window.

    Ahmad et al., "Pyramid Hierarchical Spatial-Spectral Transformer for Hyperspectral Image
    Classification", IEEE JSTARS 2024 (arXiv 2404.14945). As published: no residual goes round the
    attention; the input itself is added to what it gives.

    Args:
        window: side of the patch round a pixel [pixels].
        in_channels: principal components of the spectra.
        num_classes: how many logits.
        filters: channels of the two convolutions of each level of the pyramid.
        levels: of the pyramid; each takes what the one before it gives, at the same size.
        depth: blocks of attention and convolutions.
        heads: of the attention, each as wide as there are components.
        hidden: width of the layer before the logits.
        l2: weight of the squared norm of this layer's matrix in the loss.
    """

    @record_arguments
    def __init__(
        self,
        window: int,
        in_channels: int,
        num_classes: int,
        filters: tuple[int, int] = (32, 64),
        levels: int = 2,
        depth: int = 2,
        heads: int = 4,
        hidden: int = 128,
        l2: float = 0.01,
    ) -> None:
        super().__init__()
        at_least(1, window=window, in_channels=in_channels, levels=levels, depth=depth, heads=heads)
        at_least(2, num_classes=num_classes)
        at_least(1, hidden=hidden)
        if not isinstance(filters, list | tuple) or len(filters) != 2:
            raise ValueError(f"filters is {filters!r}, but must be two numbers of channels")
        at_least(1, filters=filters[0])
        at_least(1, filters=filters[1])
        if not l2 >= 0:
            raise ValueError(f"l2 is {l2}, but must not be negative")
        self.size, self.l2 = (in_channels, window, window), l2
        self.pyramid = nn.ModuleList()
        channels = 1
        for _ in range(levels):
            self.pyramid.append(_level(channels, *filters, min(window, in_channels)))
            channels = filters[1]
        dim = levels * channels
        self.blocks = nn.ModuleList(
            PyramidBlock(dim, heads, in_channels, window) for _ in range(depth)
        )
        self.hidden = nn.Linear(window * window * in_channels * dim, hidden)
        self.head = nn.Linear(hidden, num_classes)
        self.apply(_begin)

    def forward(self, x: Float[Tensor, "b k h w"]) -> Float[Tensor, "b c"]:
        """Logits of patches of whitened components.

        Raises:
            ValueError: patches of another size.
        """
        if tuple(x.shape[1:]) != self.size:
            raise ValueError(
                f"patches have shape {tuple(x.shape)}, but this PyFormer takes (batch, "
                f"{self.size[0]} components, {self.size[1]} rows, {self.size[2]} columns)"
            )
        cube = x.permute(0, 2, 3, 1).unsqueeze(-1)  # (b, rows, columns, components, 1)
        level, levels = cube, []
        for convolutions in self.pyramid:
            level = convolutions(level)
            levels.append(level)
        x = torch.cat(levels, -1)
        for block in self.blocks:
            x = block(x, cube)
        return self.head(F.relu(self.hidden(x.flatten(1))))

    def penalty(self) -> Tensor:
        """What the published loss adds to the cross-entropy."""
        return self.l2 * self.hidden.weight.square().sum()


class PyramidBlock(nn.Module):
    """Attention of all positions, plus the cube, plus two convolutions of that."""

    def __init__(self, dim: int, heads: int, components: int, window: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=_EPS)
        self.attention = SelfAttention(dim, heads, Softmax(), head_dim=components)
        self.convolutions = _level(dim, components, dim, window)

    def forward(
        self, x: Float[Tensor, "b r w k c"], cube: Float[Tensor, "b r w k 1"]
    ) -> Float[Tensor, "b r w k c"]:
        tokens = self.attention(self.norm(x.flatten(1, 3)))
        x = tokens.unflatten(1, x.shape[1:4]) + cube
        return x + self.convolutions(x)


def _level(channels: int, between: int, out: int, kernel_size: int) -> nn.Sequential:
    return nn.Sequential(
        RowConvolution(channels, between, kernel_size), RowConvolution(between, out, kernel_size)
    )


def _begin(module: nn.Module) -> None:
    """Weights as Keras begins with: uniform after Glorot, no biases."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]
