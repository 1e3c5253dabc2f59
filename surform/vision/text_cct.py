"""Compact transformers for texts: the tokens are made from neighbouring words.

Hassani et al., "Escaping the Big Data Paradigm with Compact Transformers", 2021 (arXiv 2104.05704),
section on text classification. The official text models run neither with positions nor with masks;
these do both, so that no official numbers exist for them.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least
from surform.layers.self_attention import AttentionKind
from surform.vision.compact_encoder import CompactEncoder, Positions

__all__ = ["TextCCT", "TextCVT", "TextViTLite"]


class _Windows(nn.Module):
    """Convolution over words, perhaps ReLU and max-pooling: (b, l, w) -> (b, n, dim).

    A token exists where its window holds a word that does.
    """

    def __init__(
        self,
        word_dim: int,
        dim: int,
        window: tuple[int, int, int],
        pooling: tuple[int, int, int] | None,
    ) -> None:
        """window and pooling: kernel size, stride, padding."""
        super().__init__()
        self.window, self.pooling = window, pooling
        self.layer = nn.Conv1d(word_dim, dim, *window, bias=pooling is None)
        nn.init.kaiming_normal_(self.layer.weight)

    def tokens(self, length: int) -> int:
        """How many come from so many words."""
        for size, stride, padding in (self.window, self.pooling or (1, 1, 0)):
            length = max(0, (length + 2 * padding - size) // stride + 1)
        return length

    def forward(self, x: Float[Tensor, "b l w"]) -> Float[Tensor, "b n d"]:
        x = self.layer(x.transpose(1, 2))
        if self.pooling is not None:
            x = F.relu(F.max_pool1d(x, *self.pooling))
        return x.transpose(1, 2)

    def reduced(self, mask: Bool[Tensor, "b l"]) -> Bool[Tensor, "b n"]:
        """The mask of the tokens."""
        size, stride, padding = self.window
        kept = F.pad(mask.float().unsqueeze(1), (padding, padding))
        kept = F.max_pool1d(kept, size, stride)
        if self.pooling is not None:
            kept = F.max_pool1d(kept, *self.pooling)
        return kept.squeeze(1) > 0


class _CompactText(nn.Module):
    """Words (b, l) -> vectors -> tokens -> logits (b, num_classes)."""

    arguments: dict[str, Any]

    def _build(self, tokenizer: _Windows, class_token: bool = False) -> None:
        given = self.arguments
        at_least(1, vocab_size=given["vocab_size"], length=given["length"])
        self.words = nn.Embedding(given["vocab_size"], given["word_dim"])
        nn.init.normal_(self.words.weight, std=given["word_dim"] ** -0.5)
        self.words.weight.requires_grad_(not given["freeze_words"])
        self.tokenizer = tokenizer
        tokens = tokenizer.tokens(given["length"])
        if tokens < 1:
            raise ValueError(
                f"texts of length = {given['length']} leave no token: take longer ones, or smaller "
                "windows"
            )
        names = ("dim", "depth", "heads", "mlp_ratio", "num_classes", "positions")
        names += ("dropout", "attention_dropout", "drop_path")
        names += ("attention", "attention_options")
        options = {name: given[name] for name in names}
        self.encoder = CompactEncoder(tokens=tokens, class_token=class_token, **options)

    def forward(
        self, words: Int[Tensor, "b l"], mask: Bool[Tensor, "b l"] | None = None
    ) -> Float[Tensor, "b k"]:
        """Logits; words: numbers below `vocab_size`; mask: those that are no padding (True).

        Raises:
            ValueError: texts of another length, though there are positions, another mask, or words
                that the vocabulary does not have.
        """
        length = self.arguments["length"]
        if self.encoder.positions is not None and words.shape[1] != length:
            raise ValueError(
                f"texts have {words.shape[1]} words, but {type(self).__name__} was built for "
                f"{length}: pad them and give a mask"
            )
        if mask is not None and mask.shape != words.shape:
            raise ValueError(
                f"mask has shape {tuple(mask.shape)}, but the words {tuple(words.shape)}"
            )
        if not torch.compiler.is_compiling() and words.numel():
            self._check_words(int(words.min()), int(words.max()))
        x = self.words(words)
        if mask is None:
            return self.encoder(self.tokenizer(x))
        x = x * mask.unsqueeze(-1)
        return self.encoder(self.tokenizer(x), self.tokenizer.reduced(mask))

    def _check_words(self, least: int, largest: int) -> None:
        count = self.arguments["vocab_size"]
        if least < 0 or largest >= count:
            word = least if least < 0 else largest
            raise ValueError(
                f"texts hold the word {word}, but the vocabulary has the words 0 to {count - 1}: "
                "padding, too, must be one of them"
            )


class TextCCT(_CompactText):
    """Compact Convolutional Transformer for texts: convolution over words, sequence pooling.

    Hassani et al., "Escaping the Big Data Paradigm with Compact Transformers", 2021
    (arXiv 2104.05704). CCT-2/2x1 is depth 2, kernel_size 2.

    Args:
        vocab_size: how many different words there are.
        length: words per text.
        num_classes: how many logits.
        word_dim: width of the word vectors (`model.words.weight` may be filled with known ones).
        freeze_words: keep the word vectors as they are.
        kernel_size: words per token before pooling; 1, 2 or 4 as published.
        stride: between windows; None: max(1, kernel_size // 2 - 1).
        padding: words of padding on both sides; None: max(1, kernel_size // 2).
        pool_size, pool_stride, pool_padding: of the max-pooling.
        positions: "learnable", "sine" (a fixed table) or "none", which serves texts of any length.
        dropout: of tokens, projections and feed-forward blocks.
        attention_dropout: of the attention's weights.
        drop_path: share of the samples that skip the last block's branches in training; it grows
            linearly from 0 in the first.
        attention: kind of attention, by name; see docs/attention.md.
        attention_options: options of that kind.
    """

    @record_arguments
    def __init__(
        self,
        vocab_size: int,
        length: int,
        num_classes: int,
        word_dim: int = 300,
        freeze_words: bool = False,
        dim: int = 128,
        depth: int = 2,
        heads: int = 2,
        mlp_ratio: float = 1.0,
        kernel_size: int = 2,
        stride: int | None = None,
        padding: int | None = None,
        pool_size: int = 2,
        pool_stride: int = 2,
        pool_padding: int = 1,
        positions: Positions = "learnable",
        dropout: float = 0.0,
        attention_dropout: float = 0.1,
        drop_path: float = 0.1,
        attention: AttentionKind = "softmax",
        attention_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        at_least(1, dim=dim, word_dim=word_dim, kernel_size=kernel_size, pool_size=pool_size)
        stride = max(1, kernel_size // 2 - 1) if stride is None else stride
        padding = max(1, kernel_size // 2) if padding is None else padding
        at_least(1, stride=stride, pool_stride=pool_stride)
        at_least(0, padding=padding, pool_padding=pool_padding)
        if pool_padding > pool_size // 2:
            raise ValueError(
                f"pool_padding is {pool_padding}, but at most half of pool_size = {pool_size}"
            )
        window, pooling = (kernel_size, stride, padding), (pool_size, pool_stride, pool_padding)
        self._build(_Windows(word_dim, dim, window, pooling))


class TextCVT(_CompactText):
    """Compact Vision Transformer for texts: neighbouring words as tokens, sequence pooling.

    Hassani et al., "Escaping the Big Data Paradigm with Compact Transformers", 2021
    (arXiv 2104.05704).

    Args:
        vocab_size: how many different words there are.
        length: words per text.
        num_classes: how many logits.
        word_dim: width of the word vectors.
        freeze_words: keep the word vectors as they are.
        patch_size: words per token.
        positions: "learnable", "sine" (a fixed table) or "none", which serves texts of any length.
        dropout: of tokens, projections and feed-forward blocks.
        attention_dropout: of the attention's weights.
        drop_path: share of the samples that skip the last block's branches in training; it grows
            linearly from 0 in the first.
        attention: kind of attention, by name; see docs/attention.md.
        attention_options: options of that kind.
    """

    @record_arguments
    def __init__(
        self,
        vocab_size: int,
        length: int,
        num_classes: int,
        word_dim: int = 300,
        freeze_words: bool = False,
        dim: int = 128,
        depth: int = 2,
        heads: int = 2,
        mlp_ratio: float = 1.0,
        patch_size: int = 2,
        positions: Positions = "learnable",
        dropout: float = 0.0,
        attention_dropout: float = 0.1,
        drop_path: float = 0.1,
        attention: AttentionKind = "softmax",
        attention_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        at_least(1, dim=dim, word_dim=word_dim, patch_size=patch_size)
        self._build(_Windows(word_dim, dim, (patch_size, patch_size, 0), None))


class TextViTLite(_CompactText):
    """ViT-Lite for texts: neighbouring words as tokens and a class token.

    Hassani et al., "Escaping the Big Data Paradigm with Compact Transformers", 2021
    (arXiv 2104.05704).

    Args:
        vocab_size: how many different words there are.
        length: words per text.
        num_classes: how many logits.
        word_dim: width of the word vectors.
        freeze_words: keep the word vectors as they are.
        patch_size: words per token.
        positions: "learnable", "sine" (a fixed table) or "none", which serves texts of any length.
        dropout: of tokens, projections and feed-forward blocks.
        attention_dropout: of the attention's weights.
        drop_path: share of the samples that skip the last block's branches in training; it grows
            linearly from 0 in the first.
        attention: kind of attention, by name; see docs/attention.md.
        attention_options: options of that kind.
    """

    @record_arguments
    def __init__(
        self,
        vocab_size: int,
        length: int,
        num_classes: int,
        word_dim: int = 300,
        freeze_words: bool = False,
        dim: int = 128,
        depth: int = 2,
        heads: int = 2,
        mlp_ratio: float = 1.0,
        patch_size: int = 1,
        positions: Positions = "learnable",
        dropout: float = 0.0,
        attention_dropout: float = 0.1,
        drop_path: float = 0.1,
        attention: AttentionKind = "softmax",
        attention_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        at_least(1, dim=dim, word_dim=word_dim, patch_size=patch_size)
        self._build(_Windows(word_dim, dim, (patch_size, patch_size, 0), None), class_token=True)
