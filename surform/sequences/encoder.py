"""An encoder of long sequences of tokens that tells their class, with attention of any kind.

The setting of Tay et al., "Long Range Arena", 2020 (arXiv 2011.04006): tokens with positions, a
transformer, the mean over tokens, two linear maps; pairs of sequences are encoded alike and
compared. The block is the pre-norm one.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least, fraction, one_of
from surform.layers.dropout import Dropout
from surform.layers.prenorm_encoder import EncoderBlock, check_widths, initialize
from surform.layers.self_attention import AttentionKind
from surform.layers.sinusoid import sinusoid

__all__ = ["SequenceEncoder"]

Positions = Literal["learnable", "sine", "none"]


class SequenceEncoder(nn.Module):
    """Tokens (b, n), or pairs of sequences (b, 2, n), to logits (b, num_classes).

    In the setting of Tay et al., "Long Range Arena", 2020 (arXiv 2011.04006). Token 0 is padding:
    it is left out of attention and of the mean. Of a pair u, v the logits are
    made of (u, v, u * v, u - v), as in the Arena's matching tasks.

    Args:
        vocab_size: how many different tokens there are, padding among them.
        length: most tokens of a sequence.
        num_classes: how many logits.
        sequences: 1, or 2 for pairs.
        mlp_ratio: width of the feed-forward block over `dim`.
        dropout: of tokens, projections and feed-forward blocks.
        attention_dropout: of the attention's weights, where a kind has any.
        attention: kind of attention: softmax, additive, delta, knn, lsh, multiresolution or
            spectral; see docs/attention.md.
        attention_options: options of that kind.
        positions: "learnable", "sine" (a fixed table) or "none".
    """

    @record_arguments
    def __init__(
        self,
        vocab_size: int,
        length: int,
        num_classes: int,
        sequences: int = 1,
        dim: int = 512,
        depth: int = 6,
        heads: int = 8,
        mlp_ratio: float = 4.0,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        attention: AttentionKind = "softmax",
        attention_options: dict[str, Any] | None = None,
        positions: Positions = "learnable",
    ) -> None:
        super().__init__()
        hidden = check_widths(dim, depth, heads, mlp_ratio, num_classes)
        at_least(2, vocab_size=vocab_size)
        at_least(1, length=length)
        one_of("sequences", sequences, [1, 2])
        one_of("positions", positions, ["learnable", "sine", "none"])
        fraction(dropout=dropout, attention_dropout=attention_dropout)
        self.vocab_size, self.length, self.sequences = vocab_size, length, sequences
        self.embedding = nn.Embedding(vocab_size, dim, padding_idx=0)
        if positions == "learnable":
            self.positions = nn.Parameter(torch.empty(length, dim))
        else:
            table = sinusoid(length, dim) if positions == "sine" else None
            self.register_buffer("positions", table)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            EncoderBlock(
                dim,
                heads,
                hidden,
                dropout=dropout,
                attention_dropout=attention_dropout,
                attention=attention,
                attention_options=attention_options,
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim)
        self.hidden = nn.Linear(dim if sequences == 1 else 4 * dim, hidden)
        self.head = nn.Linear(hidden, num_classes)
        tables = [self.positions] if isinstance(self.positions, nn.Parameter) else []
        initialize(self, *tables)
        nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, tokens: Int[Tensor, "b *pair n"]) -> Float[Tensor, "b k"]:
        """Logits.

        Raises:
            ValueError: another number of sequences, longer ones, or tokens beyond the vocabulary.
        """
        self._check(tokens)
        if self.sequences == 1:
            features = self.encode(tokens)
        else:
            u, v = (self.encode(part) for part in tokens.unbind(1))
            features = torch.cat((u, v, u * v, u - v), -1)
        return self.head(F.relu(self.hidden(features)))

    def encode(self, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b c"]:
        """The mean over the tokens of each sequence; of an empty one zeros."""
        mask: Bool[Tensor, "b n"] = tokens != 0
        x = self.embedding(tokens)
        if self.positions is not None:
            x = x + self.positions[: tokens.shape[1]].to(x.dtype)
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, mask)
        x = self.norm(x) * mask.unsqueeze(-1)
        return x.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)

    def _check(self, tokens: Tensor) -> None:
        wanted = "(batch, tokens)" if self.sequences == 1 else "(batch, 2, tokens)"
        shape = tuple(tokens.shape)
        if tokens.ndim != self.sequences + 1 or (self.sequences == 2 and shape[1] != 2):
            raise ValueError(
                f"tokens have shape {shape}, but SequenceEncoder takes {wanted}: sequences is "
                f"{self.sequences}"
            )
        if shape[-1] > self.length:
            raise ValueError(
                f"sequences have {shape[-1]} tokens, but SequenceEncoder was built for at most "
                f"{self.length}: cut them (data.length), or build one with this length"
            )
        if torch.compiler.is_compiling() or not tokens.numel():
            return
        least, most = int(tokens.min()), int(tokens.max())
        if least < 0 or most >= self.vocab_size:
            wrong = least if least < 0 else most
            raise ValueError(
                f"sequences hold the token {wrong}, but the vocabulary has 0 (padding) to "
                f"{self.vocab_size - 1}"
            )
