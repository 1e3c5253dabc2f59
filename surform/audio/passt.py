"""PaSST: a spectrogram transformer that trains on part of its patches (Koutini et al., 2022)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.audio.adapting import resize_axis
from surform.audio.patches import check_spectrograms, grid_of, pair, patches_of
from surform.audio.patchout import Kept, draw
from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least, fraction
from surform.layers.drop_path import drop_rates
from surform.layers.dropout import Dropout
from surform.layers.prenorm_encoder import EncoderBlock, check_widths, initialize

__all__ = ["PaSST"]


class PaSST(nn.Module):
    """Logits (B, num_classes) from normalised log-mel spectrograms (B, frames, mel_bins).

    Koutini, Schlüter, Eghbal-zadeh, Widmer, "Efficient Training of Audio Transformers with
    Patchout" (Interspeech 2022), arXiv 2110.05069; official code kkoutini/PaSST@2a5c818afcc2.

    Positions are a table of frequency plus a table of time. In training patches are left out, the
    same of every sample of a batch, and the convolution is computed for those only that are kept.
    Shorter spectrograms use the front of the time table, in training a random window of it.

    Args:
        frames, mel_bins: of the spectrograms; shorter ones are taken, too.
        num_classes: how many logits.
        patch_size: side of a patch, or (along frequency, along time) [bins, frames].
        stride: from patch to patch, one number or (along frequency, along time) [bins, frames].
        mlp_ratio: width of the feed-forward blocks over `dim`.
        distilled: a distillation token beside the class token; features are their mean.
        representation_size: width of one more map with tanh before the head, of networks that are
            not distilled; 0: none.
        patchout_time, patchout_frequency: columns and rows of patches that training leaves out.
        patchout: single patches that training leaves out of what then remains.
        time_positions: entries of the time table; None: as many as `frames` have columns.
        cut_long: spectrograms with more columns than the time table has entries lose their end
            without a word, as in the official code; else they are refused.
        dropout: of tokens, projections and feed-forward blocks.
        attention_dropout: of the attention's weights.
        drop_path: share of the samples that skip the last block's branches in training; it grows
            linearly from 0.
    """

    undecayed: ClassVar[tuple[str, ...]] = (
        *("time_positions", "frequency_positions", "token_positions"),
        *("class_token", "distillation_token"),
    )

    @record_arguments
    def __init__(
        self,
        frames: int = 998,
        mel_bins: int = 128,
        num_classes: int = 527,
        *,
        patch_size: int | tuple[int, int] = 16,
        stride: int | tuple[int, int] = 10,
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        distilled: bool = True,
        representation_size: int = 0,
        patchout_time: int = 0,
        patchout_frequency: int = 0,
        patchout: int = 0,
        time_positions: int | None = None,
        cut_long: bool = False,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        at_least(1, frames=frames, mel_bins=mel_bins)
        at_least(0, patchout_time=patchout_time, patchout_frequency=patchout_frequency)
        at_least(0, patchout=patchout, representation_size=representation_size)
        hidden = check_widths(dim, depth, heads, mlp_ratio, num_classes)
        fraction(dropout=dropout, attention_dropout=attention_dropout)
        if distilled and representation_size:
            raise ValueError("representation_size is for networks with distilled=False")
        self.patch_size, self.stride = pair("patch_size", patch_size), pair("stride", stride)
        self.mel_bins, self.cut_long = mel_bins, cut_long
        self.grid = grid_of(mel_bins, frames, self.patch_size, self.stride)
        self.patchout_time, self.patchout_frequency = patchout_time, patchout_frequency
        self.patchout = patchout
        self._require_rest(self.grid)
        columns = self.grid[1] if time_positions is None else time_positions
        at_least(1, time_positions=columns)
        self.patch = nn.Conv2d(1, dim, self.patch_size, self.stride)
        self.class_token = nn.Parameter(torch.empty(1, 1, dim))
        self.distillation_token = nn.Parameter(torch.empty(1, 1, dim)) if distilled else None
        self.token_positions = nn.Parameter(torch.empty(1, 1 + distilled, dim))
        self.frequency_positions = nn.Parameter(torch.empty(1, dim, self.grid[0], 1))
        self.time_positions = nn.Parameter(torch.empty(1, dim, 1, columns))
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            EncoderBlock(
                dim,
                heads,
                hidden,
                dropout=dropout,
                attention_dropout=attention_dropout,
                drop_path=rate,
            )
            for rate in drop_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.representation = nn.Linear(dim, representation_size) if representation_size else None
        width = representation_size or dim
        self.head_norm, self.head = nn.LayerNorm(width), nn.Linear(width, num_classes)
        tables = (self.time_positions, self.frequency_positions, self.token_positions)
        tokens = (self.class_token, self.distillation_token)
        initialize(self, *tables, *(token for token in tokens if token is not None))

    def forward(
        self, spectrograms: Float[Tensor, "b t f"], kept: Kept | None = None
    ) -> Float[Tensor, "b k"]:
        """Logits; arguments and errors as for `features`."""
        return self.head(self.head_norm(self.features(spectrograms, kept)))

    def features(
        self, spectrograms: Float[Tensor, "b t f"], kept: Kept | None = None
    ) -> Float[Tensor, "b c"]:
        """What the head reads: the mean of the two first tokens, or the class token.

        Args:
            kept: the patches to compute with; None: all in evaluation, drawn ones in training.

        Raises:
            ValueError: spectrograms of other bins, shorter than a patch or longer than the table.
        """
        check_spectrograms(spectrograms, self.mel_bins)
        grid = self._grid(spectrograms.shape[1])
        if kept is None:
            kept = self._draw(grid) if self.training else Kept()
        x = self._tokens(spectrograms, grid, kept)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        if self.distillation_token is not None:
            return x[:, :2].mean(1)
        first = x[:, 0]
        return first if self.representation is None else self.representation(first).tanh()

    def adapted(self, state: dict[str, Tensor], source: Any) -> dict[str, Tensor]:
        """Another PaSST's state dict with tables of this one's sizes: the front of the time table,
        the middle of that of frequency; interpolated where they are to be longer.
        """
        found = dict(state)
        time, rows = found.get("time_positions"), found.get("frequency_positions")
        if time is None or rows is None:
            return found
        most = self.time_positions.shape[3]
        found["time_positions"] = resize_axis(time[..., :most], 3, most)
        found["frequency_positions"] = resize_axis(rows, 2, self.frequency_positions.shape[2])
        return found

    def _grid(self, frames: int) -> tuple[int, int]:
        rows, columns = grid_of(self.mel_bins, frames, self.patch_size, self.stride)
        most = self.time_positions.shape[3]
        if columns > most and not self.cut_long:
            longest = (most - 1) * self.stride[1] + self.patch_size[1] + self.stride[1] - 1
            raise ValueError(
                f"spectrograms have {frames} frames, but the network has positions for {longest}: "
                "cut them into windows, or build it for more frames"
            )
        return rows, min(columns, most)

    def _draw(self, grid: tuple[int, int]) -> Kept:
        self._require_rest(grid)
        starts = self.time_positions.shape[3] - grid[1] + 1
        return draw(grid, starts, self.patchout_frequency, self.patchout_time, self.patchout)

    def _require_rest(self, grid: tuple[int, int]) -> None:
        """ValueError where Patchout would leave nothing."""
        rows, columns = grid[0] - self.patchout_frequency, grid[1] - self.patchout_time
        if rows < 1 or columns < 1 or rows * columns <= self.patchout:
            raise ValueError(
                f"patchout_time={self.patchout_time}, patchout_frequency={self.patchout_frequency} "
                f"and patchout={self.patchout} leave none of {grid[0]} x {grid[1]} patches"
            )

    def _tokens(
        self, spectrograms: Tensor, grid: tuple[int, int], kept: Kept
    ) -> Float[Tensor, "b n c"]:
        patches = patches_of(spectrograms, self.patch_size, self.stride)[:, :, : grid[1]]
        time = self.time_positions[..., kept.start : kept.start + grid[1]]
        places = (time + self.frequency_positions).flatten(2).transpose(1, 2)  # (1, n, c)
        if kept.whole:
            x = self._embedded(patches.flatten(1, 2)) + places
        else:
            chosen = kept.places(grid).to(patches.device)
            row, column = chosen // grid[1], chosen % grid[1]
            x = self._embedded(patches[:, row, column]) + places[:, chosen]
        first = self.class_token + self.token_positions[:, :1]
        if self.distillation_token is not None:
            second = self.distillation_token + self.token_positions[:, 1:]
            first = torch.cat((first, second), 1)
        first = first.expand(len(x), -1, -1).to(x.dtype)
        return self.dropout(torch.cat((first, x), 1))

    def _embedded(self, patches: Float[Tensor, "b n p q"]) -> Float[Tensor, "b n c"]:
        """The convolution of single patches."""
        return F.linear(patches.flatten(2), self.patch.weight.flatten(1), self.patch.bias)
