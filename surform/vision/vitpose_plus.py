"""ViTPose+: one transformer for several sets of keypoints (Xu et al., 2023)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least
from surform.vision.heatmap_head import Decoder, HeatmapHead
from surform.vision.pose_backbone import ExpertFeedForward, PoseBackbone, group_samples
from surform.vision.vitpose import Layered, ViTPose

__all__ = ["DATASETS", "ViTPosePlus"]

# the published sets of keypoints, in the order of experts and heads
DATASETS = {"coco": 17, "aic": 14, "mpii": 16, "ap10k": 17, "apt36k": 17, "wholebody": 133}


class ViTPosePlus(Layered):
    """Heatmaps (B, K, H/4, W/4) from crops (B, 3, H, W) of several data sets with own keypoints.

    Xu, Zhang, Zhang, Tao, "ViTPose++: Vision Transformer for Generic Body Pose Estimation" (TPAMI
    2023), arXiv 2212.04246; official code ViTAE-Transformer/ViTPose@c050ed29112d.

    As `ViTPose`, but the last `part_features` of each feed-forward block come from an expert of the
    sample's data set, and each data set has its own head. Only the sample's own expert is
    evaluated, and in evaluation only its own head. In training every head sees the whole batch, as
    published: that decides the statistics of its batch norms. `merged` gives the plain `ViTPose`
    of one data set, with equal outputs at no extra cost.

    Args:
        image_size: (height, width) of the crops.
        joints: heatmaps of each data set's head; a single entry is one head for all.
        experts: number of data sets.
        part_features: features of each block that an expert makes; published: 192, 192, 256, 320
            for S, B, L, H (the released S weights: 96).
        others: as in `ViTPose`.
    """

    @record_arguments
    def __init__(
        self,
        image_size: tuple[int, int] = (256, 192),
        patch_size: int = 16,
        in_channels: int = 3,
        joints: tuple[int, ...] = (17, 14, 16, 17, 17, 133),
        *,
        experts: int = 6,
        part_features: int = 192,
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
        at_least(1, experts=experts)
        if len(joints) not in (1, experts):
            raise ValueError(
                f"joints {tuple(joints)} must have one entry for each of the {experts} experts, or "
                "a single one"
            )
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
            experts,
            part_features,
        )
        self.heads = nn.ModuleList(
            HeatmapHead(
                dim, count, decoder, deconv_channels, deconv_kernels, upsample, final_kernel
            )
            for count in joints
        )
        self.experts, self.joints = experts, tuple(joints)

    def forward(
        self, images: Float[Tensor, "b c H W"], dataset: Int[Tensor, " b"] | int
    ) -> Float[Tensor, "b k h w"]:
        """Heatmaps of each sample's own head.

        Args:
            images: normalised crops.
            dataset: number of the data set, one for all samples or one per sample.

        Returns:
            K is that data set's number of joints; with one number per sample the largest of all
            heads, the channels that a sample's own head does not have being zero.

        Raises:
            ValueError: crops of another size, no such data set, or not one number per sample.
        """
        if isinstance(dataset, int):
            self._check_number(dataset)
            features = self.backbone(images, dataset)
            if not self.training:
                return self._head(dataset)(features)
            return [head(features) for head in self.heads][self._head_number(dataset)]
        features = self.features(images, dataset)
        if len(self.heads) == 1:
            return self.heads[0](features)
        if self.training or torch.compiler.is_compiling():
            return self._chosen([head(features) for head in self.heads], dataset)
        return self._own_heads(features, dataset)

    def features(
        self, images: Float[Tensor, "b c H W"], dataset: Int[Tensor, " b"]
    ) -> Float[Tensor, "b d h w"]:
        """What the heads read; errors as for `forward`."""
        if torch.compiler.is_compiling():
            return self.backbone(images, dataset)
        self._check_numbers(images, dataset)
        order, route = group_samples(dataset)
        if len(route) and bool(route[0] == route[-1]):
            return self.backbone(images, int(route[0]))
        if order is None:
            return self.backbone(images, route)
        return self.backbone(images[order], route)[order.argsort()]

    def all_heads(
        self, images: Float[Tensor, "b c H W"], dataset: Int[Tensor, " b"]
    ) -> list[Float[Tensor, "b _ h w"]]:
        """What every head makes of the whole batch; errors as for `forward`."""
        features = self.features(images, dataset)
        return [head(features) for head in self.heads]

    def joint_counts(self, dataset: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
        """How many joints each sample's own head has."""
        counts = self.joints * self.experts if len(self.joints) == 1 else self.joints
        return torch.tensor(counts, device=dataset.device)[dataset]

    @torch.no_grad()
    def merged(self, dataset: int, joints: int | None = None) -> ViTPose:
        """The plain network of one data set: `self(images, dataset)` without the other experts.

        Args:
            dataset: its number.
            joints: heatmaps to keep, the first ones of its head; None: all. Official weights may
                have heads wider than their data sets.

        Raises:
            ValueError: no such data set, or its head has fewer joints.
        """
        self._check_number(dataset)
        head = self._head(dataset)
        width = head.final.out_channels
        joints = width if joints is None else joints
        if not 1 <= joints <= width:
            raise ValueError(f"joints is {joints}, but the head of data set {dataset} has {width}")
        own = ("experts", "part_features", "joints")
        shared = {name: value for name, value in self.arguments.items() if name not in own}
        plain = ViTPose(joints=joints, **shared).to(self.backbone.positions)
        state = {f"head.{name}": value for name, value in head.state_dict().items()}
        state |= {f"backbone.{n}": v for n, v in self.backbone.state_dict().items()}
        for name in ("head.final.weight", "head.final.bias"):
            state[name] = state[name][:joints]
        for name, layer in self.named_modules():
            if isinstance(layer, ExpertFeedForward):
                state[f"{name}.down.weight"], state[f"{name}.down.bias"] = layer.merged(dataset)
        plain.load_state_dict({n: v for n, v in state.items() if ".experts." not in n})
        return plain.train(self.training)

    def _head_number(self, dataset: int) -> int:
        return dataset if len(self.heads) > 1 else 0

    def _head(self, dataset: int) -> HeatmapHead:
        return self.heads[self._head_number(dataset)]  # type: ignore[return-value]

    def _own_heads(self, features: Tensor, dataset: Tensor) -> Tensor:
        """Each sample's features through its own head alone; as `_chosen` otherwise."""
        out, widest = None, max(self.joints)
        for number in dataset.unique().tolist():
            mine = (dataset == number).nonzero().flatten()
            maps = _widened(self.heads[number](features[mine]), widest)
            if out is None:
                out = maps.new_zeros(len(features), *maps.shape[1:])
            out = out.index_copy(0, mine, maps)
        return self.heads[0](features) if out is None else out

    def _chosen(self, outputs: list[Tensor], dataset: Tensor) -> Tensor:
        """(B, widest, h, w): of every sample the maps of its own head, zeros behind them."""
        widest = max(self.joints)
        out = _widened(outputs[0], widest)
        for number, maps in enumerate(outputs[1:], 1):
            mine = (dataset == number)[:, None, None, None]
            out = torch.where(mine, _widened(maps, widest), out)
        return out

    def _check_number(self, dataset: int) -> None:
        if not 0 <= dataset < self.experts:
            raise ValueError(f"dataset is {dataset}, but must be one of 0 to {self.experts - 1}")

    def _check_numbers(self, images: Tensor, dataset: Tensor) -> None:
        if dataset.shape != images.shape[:1] or dataset.is_floating_point():
            raise ValueError(
                f"dataset has shape {tuple(dataset.shape)} and type {dataset.dtype}, but must hold "
                f"one whole number for each of the {len(images)} images"
            )
        if len(dataset):
            self._check_number(int(dataset.min()))
            self._check_number(int(dataset.max()))


def _widened(maps: Tensor, count: int) -> Tensor:
    """Zero channels appended up to `count`."""
    return F.pad(maps, (0, 0, 0, 0, 0, count - maps.shape[1]))
