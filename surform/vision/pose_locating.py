"""From heatmaps to joints in the image, as the encoding of the training targets asks for."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from surform.layers.checks import one_of
from surform.vision.heatmap_decoding import Joints, Method, decode, to_image
from surform.vision.heatmap_targets import Encoding

__all__ = ["DECODING", "locate", "to_crop"]

# how heatmaps of each encoding are read
DECODING: dict[str, Method] = {
    "msra": "default",
    "msra_unbiased": "dark",
    "udp": "udp",
    "udp_combined": "combined",
    "megvii": "megvii",
}


def locate(
    heatmaps: Float[Tensor, "b c h w"],
    encoding: Encoding,
    center: Float[Tensor, "b 2"],
    scale: Float[Tensor, "b 2"],
) -> Joints:
    """Joints in pixels of the image that crops were cut from, and their scores.

    Args:
        encoding: of the targets that the network was trained on.
        center, scale: of the crops, as for `to_image`.

    Raises:
        ValueError: an unknown encoding.
    """
    one_of("encoding", encoding, list(DECODING))
    found = decode(heatmaps, DECODING[encoding])
    size = (heatmaps.shape[-2], heatmaps.shape[-1])
    aligned = encoding.startswith("udp")
    return Joints(to_image(found.xy, center, scale, size, aligned=aligned), found.score)


def to_crop(
    xy: Float[Tensor, "b k 2"],
    center: Float[Tensor, "b 2"],
    scale: Float[Tensor, "b 2"],
    image_size: tuple[int, int],
    *,
    aligned: bool,
) -> Float[Tensor, "b k 2"]:
    """Joints of the image in pixels of the crop: the inverse of `to_image` for its pixels.

    Args:
        image_size: (height, width) of the crop.
    """
    size = center.new_tensor(image_size, dtype=xy.dtype).flip(0)
    extent = (200.0 * scale.to(xy))[:, None]
    step = extent / (size - 1 if aligned else size)
    return (xy - center.to(xy)[:, None] + extent / 2) / step
