"""ViTPose: keypoints from a plain vision transformer (Xu et al., 2022)."""

from __future__ import annotations

from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.arguments import record_arguments
from surform.vision.heatmap_head import Decoder, HeatmapHead
from surform.vision.pose_backbone import PoseBackbone

__all__ = ["SIZES", "Layered", "ViTPose"]

# published backbones; layer_decay and part_features belong to training and to ViTPose+
SIZES: dict[str, dict[str, Any]] = {
    "s": {"dim": 384, "depth": 12, "heads": 12, "drop_path": 0.1},
    "b": {"dim": 768, "depth": 12, "heads": 12, "drop_path": 0.3},
    "l": {"dim": 1024, "depth": 24, "heads": 16, "drop_path": 0.5},
    "h": {"dim": 1280, "depth": 32, "heads": 16, "drop_path": 0.55},
}


class Layered(nn.Module):
    """What both ViTPoses tell about their parameters; see `surform.training.parameter_groups`."""

    undecayed: ClassVar[tuple[str, ...]] = ("backbone.positions", "backbone.knowledge.token")
    backbone: PoseBackbone
    arguments: dict[str, Any]

    @property
    def layers(self) -> int:
        """Layers above the embedding: the blocks, and norm and heads as one."""
        return len(self.backbone.blocks) + 1

    def layer_of(self, name: str) -> int:
        """The layer of a parameter: 0 for the embedding, i + 1 for block i, last for the rest."""
        if name.startswith(("backbone.patch.", "backbone.positions", "backbone.knowledge.")):
            return 0
        if name.startswith("backbone.blocks."):
            return int(name.split(".")[2]) + 1
        return self.layers


class ViTPose(Layered):
    """Heatmaps (B, joints, H/4, W/4) from crops (B, 3, H, W) of one person or animal each.

    Xu, Zhang, Zhang, Tao, "ViTPose: Simple Vision Transformer Baselines for Human Pose Estimation"
    (NeurIPS 2022), arXiv 2204.12484; official code ViTAE-Transformer/ViTPose@c050ed29112d.

    A plain pre-norm transformer over patches, without a class token, and a decoder of two
    deconvolutions ("classic") or one upsampling ("simple"). Crops are normalised by the mean and
    deviation of ImageNet's colours. `SIZES` holds the published S, B, L and H.

    Args:
        image_size: (height, width) of the crops; positions are learned for it.
        patch_size: of square patches, cut with a border of two pixels as published.
        in_channels: of the crops, 3 for colours.
        joints: heatmaps; three times the keypoints where offsets are predicted as well.
        mlp_ratio: width of the feed-forward blocks over `dim`.
        qkv_bias: whether queries, keys and values have a bias.
        drop_path: share of samples that skip the last block in training, rising from 0.
        ratio: patches overlap, and come `ratio` times as dense along each axis.
        last_norm: whether features are normalised before the decoder.
        norm_eps: of the layer norms; transformers' copies of the weights are run with 1e-12.
        decoder: "classic" or "simple".
        deconv_channels, deconv_kernels: of the classic decoder, one entry per doubling of the grid.
        upsample: of the simple decoder.
        final_kernel: of the last convolution; None: 1 for the classic decoder, 3 for the simple.
        knowledge_dim: width of a teacher's knowledge token, see `surform.vision.distillation`; 0:
            there is none.
    """

    @record_arguments
    def __init__(
        self,
        image_size: tuple[int, int] = (256, 192),
        patch_size: int = 16,
        in_channels: int = 3,
        joints: int = 17,
        *,
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path: float = 0.0,
        ratio: int = 1,
        last_norm: bool = True,
        norm_eps: float = 1e-6,
        decoder: Decoder = "classic",
        deconv_channels: tuple[int, ...] = (256, 256),
        deconv_kernels: tuple[int, ...] = (4, 4),
        upsample: int = 4,
        final_kernel: int | None = None,
        knowledge_dim: int = 0,
    ) -> None:
        super().__init__()
        self.backbone = PoseBackbone(
            image_size,
            patch_size,
            in_channels,
            dim,
            depth,
            heads,
            mlp_ratio,
            qkv_bias,
            drop_path,
            ratio,
            last_norm,
            norm_eps,
            knowledge_dim,
        )
        self.head = HeatmapHead(
            dim, joints, decoder, deconv_channels, deconv_kernels, upsample, final_kernel
        )

    def forward(self, images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b k h w"]:
        """Heatmaps of normalised crops; ValueError for crops of another size."""
        return self.head(self.backbone(images))
