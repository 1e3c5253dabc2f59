"""AST: an audio classifier without convolutions between its patches (Gong et al., 2021)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.audio.adapting import adapt_positions
from surform.audio.patches import check_spectrograms, grid_of, pair
from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least, fraction, one_of
from surform.layers.drop_path import drop_rates
from surform.layers.dropout import Dropout
from surform.layers.prenorm_encoder import EncoderBlock, check_widths, initialize
from surform.layers.self_attention import AttentionKind

__all__ = ["AST"]

_POOLINGS = ("both", "class", "mean")


class AST(nn.Module):
    """Logits (B, num_classes) from normalised log-mel spectrograms (B, frames, mel_bins).

    Gong, Chung, Glass, "AST: Audio Spectrogram Transformer" (Interspeech 2021), arXiv 2104.01778;
    official code YuanGongND/ast@31088be8a3f6.

    A vision transformer over overlapping patches of the spectrogram, with a class token and a
    distillation token in front. The published weights take 1024 frames of 10 ms in 128 bins.

    Args:
        frames, mel_bins: of the spectrograms; positions are learned for them.
        num_classes: how many logits.
        patch_size: side of a patch, or (along frequency, along time) [bins, frames].
        stride: from patch to patch, one number or (along frequency, along time) [bins, frames].
        mlp_ratio: width of the feed-forward blocks over `dim`.
        pooling: what the head reads: the mean of the two first tokens ("both"), the class token
            ("class"), or the mean of all tokens ("mean").
        norm_eps: of the layer norms; transformers' copies of the weights are run with 1e-12.
        head_norm: whether a norm of its own precedes the last map.
        head_eps: of that norm.
        dropout: of tokens, projections and feed-forward blocks.
        attention_dropout: of the attention's weights.
        drop_path: share of the samples that skip the last block's branches in training; it grows
            linearly from 0.
        attention: kind of attention, by name; see docs/attention.md.
        attention_options: options of that kind.
    """

    undecayed: ClassVar[tuple[str, ...]] = ("positions", "class_token", "distillation_token")

    @record_arguments
    def __init__(
        self,
        frames: int = 1024,
        mel_bins: int = 128,
        num_classes: int = 527,
        *,
        patch_size: int | tuple[int, int] = 16,
        stride: int | tuple[int, int] = 10,
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        pooling: Literal["both", "class", "mean"] = "both",
        norm_eps: float = 1e-6,
        head_norm: bool = True,
        head_eps: float = 1e-5,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
        attention: AttentionKind = "softmax",
        attention_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        at_least(1, frames=frames, mel_bins=mel_bins)
        hidden = check_widths(dim, depth, heads, mlp_ratio, num_classes)
        fraction(dropout=dropout, attention_dropout=attention_dropout)
        one_of("pooling", pooling, _POOLINGS)
        if attention == "delta" and pooling != "mean":
            raise ValueError(
                f"attention is 'delta', which looks back only, but pooling={pooling!r} reads the "
                "first tokens: set pooling to mean"
            )
        self.frames, self.mel_bins, self.pooling = frames, mel_bins, pooling
        size, step = pair("patch_size", patch_size), pair("stride", stride)
        self.grid = grid_of(mel_bins, frames, size, step)
        self.patch = nn.Conv2d(1, dim, size, step)
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.distillation_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.positions = nn.Parameter(torch.empty(1, self.grid[0] * self.grid[1] + 2, dim))
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            EncoderBlock(
                dim,
                heads,
                hidden,
                norm_eps=norm_eps,
                dropout=dropout,
                attention_dropout=attention_dropout,
                drop_path=rate,
                attention=attention,
                attention_options=attention_options,
            )
            for rate in drop_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head_norm = nn.LayerNorm(dim, eps=head_eps) if head_norm else nn.Identity()
        self.head = nn.Linear(dim, num_classes)
        initialize(self, self.positions, self.class_token, self.distillation_token)

    def forward(self, spectrograms: Float[Tensor, "b t f"]) -> Float[Tensor, "b k"]:
        """Logits; ValueError for spectrograms of another size."""
        return self.head(self.head_norm(self.pooled(self.features(spectrograms))))

    def features(self, spectrograms: Float[Tensor, "b t f"]) -> Float[Tensor, "b n c"]:
        """All tokens after the last norm: class, distillation, then patches, frequency by row."""
        check_spectrograms(spectrograms, self.mel_bins)
        if spectrograms.shape[1] != self.frames:
            raise ValueError(
                f"spectrograms have {spectrograms.shape[1]} frames, but the network was built for "
                f"{self.frames}: cut or pad them, or build it for another number of frames"
            )
        patches = self.patch(spectrograms.transpose(1, 2).unsqueeze(1)).flatten(2).transpose(1, 2)
        first = torch.cat((self.class_token, self.distillation_token), 1)
        first = first.expand(len(spectrograms), -1, -1).to(patches.dtype)
        x = self.dropout(torch.cat((first, patches), 1) + self.positions)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def pooled(self, tokens: Float[Tensor, "b n c"]) -> Float[Tensor, "b c"]:
        """What the head reads."""
        if self.pooling == "class":
            return tokens[:, 0]
        return (tokens[:, :2] if self.pooling == "both" else tokens).mean(1)

    def adapted(self, state: dict[str, Tensor], source: Any) -> dict[str, Tensor]:
        """Another AST's state dict with positions for this one's grid; see `adapt_positions`."""
        table, grid = state.get("positions"), getattr(source, "grid", None)
        if table is None or grid is None:
            return state
        return state | {"positions": adapt_positions(table, grid, self.grid)}
