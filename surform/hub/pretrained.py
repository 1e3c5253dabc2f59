"""A trained network with everything needed to use it again: the base class of every domain."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from surform.data.normalizers import Normalizer

__all__ = ["Pretrained"]


class Pretrained(nn.Module):
    """A network, its normalisers, the description of its data and its measured figures.

    Subclasses set `kind` (their name in the registry "surrogates"), keep their normalisers as
    attributes, and override `settings` and `read_description`.

    Attributes:
        net: the network, in normalised units.
        description: what the network was trained on; has `to_dict()`; None when unknown.
        metrics: measured figures by name, e.g. {"relative_l2": 0.012}.
        protocols: protocol label ("clean" or "paper") of a figure; those not named are "clean".
        card: values for the model card: "summary", "paper", "data", "command", "limits".
    """

    kind: ClassVar[str] = ""
    usage: ClassVar[str] = ""  # the line that predicts with a loaded `model`, for the model card
    file_options: ClassVar[tuple[str, ...]] = ()  # of `predict_file`, beside the two paths
    ragged: ClassVar[dict[str, str]] = {}  # inputs whose length is not the batch's -> its name

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.description: Any = None
        self.metrics: dict[str, float] = {}
        self.protocols: dict[str, str] = {}
        self.card: dict[str, str] = {}

    def settings(self) -> dict[str, Any]:
        """This class' own constructor arguments beside `net`: plain values."""
        return {}

    @classmethod
    def read_description(cls, values: dict[str, Any]) -> Any:
        """The description that `description.to_dict()` gave; ValueError when it is not one."""
        return values

    def normalizers(self) -> dict[str, Normalizer]:
        """All normalisers by their name inside the state dict."""
        return {n: m for n, m in self.named_modules() if isinstance(m, Normalizer)}

    def require_statistics(self) -> None:
        """ValueError when a normaliser has none: such a model gives silent garbage."""
        empty = [name for name, module in self.normalizers().items() if not bool(module.fitted)]
        if empty:
            raise ValueError(
                f"{' and '.join(empty)} have no statistics: fit them on the training data first"
            )

    def check_statistics(self) -> None:
        """ValueError when the statistics do not fit the description's channels and grid."""

    def outputs(self, batch: Any) -> Tensor:
        """Physical predictions `(B, ...)` for a batch of the domain, shaped like its `targets`."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it answers a batch")

    def pooled_axes(self, ndim: int) -> tuple[int, ...]:
        """Axes of outputs of so many dimensions along which errors are alike (a grid's, say)."""
        return ()

    def error_scale(self, batch: Any) -> Tensor | None:
        """What errors of each sample are measured in, to compare samples of unlike size; broadcasts
        against outputs. None: the units of the data.
        """
        return None

    def predict_file(self, source: str, out: str | PathLike[str], **options: Any) -> Path:
        """Predict from a file into a labelled file, all or nothing; returns its path.

        Raises:
            ValueError: data that do not suit the model, or `out` would replace `source`.
        """
        raise ValueError(f"{type(self).__name__} does not predict from files")

    def example_inputs(self) -> dict[str, Tensor]:
        """A batch of two for `forward`, by its arguments' names: what `surform export` traces.

        Inputs in `ragged` hold as many entries for the first sample as for the second.
        """
        raise ValueError(
            f"{type(self).__name__} does not say what it takes (example_inputs): it is neither "
            "exported nor timed"
        )

    def example_batch(self, count: int) -> dict[str, Any]:
        """A batch of `count` samples for `forward`: those of `example_inputs` again and again."""
        inputs = self.example_inputs()
        sizes = {name: len(value) * count // 2 for name, value in inputs.items()}
        repeats = -(-count // 2)
        return {n: torch.cat([v] * repeats)[: sizes[n]].contiguous() for n, v in inputs.items()}

    def exportable(self) -> Any:
        """What `surform export` writes: a module with `example_inputs`, `example_batch`, `ragged`
        and, where it has several outputs, `output_names`.
        """
        return self

    def save_pretrained(self, folder: str | Path, *, model_card: str | None = None) -> Path:
        """Write `model.safetensors`, `config.json` and `README.md` into `folder`, all or nothing.

        Args:
            folder: made or replaced as a whole; returned.
            model_card: text of README.md; by default made from the configuration and metrics.

        Raises:
            ValueError: without statistics, or when an argument of the network is no plain value.
        """
        from surform.hub.saving import save

        return save(self, folder, model_card=model_card)

    @classmethod
    def from_pretrained(cls, source: str | Path) -> Self:
        """`surform.load_model(source)`, checked to be of this class."""
        from surform.hub.loading import load_model

        model = load_model(source)
        if not isinstance(model, cls):
            raise TypeError(f"{source} holds a {type(model).__name__}, not a {cls.__name__}")
        return model

    def push_to_hub(
        self,
        repo_id: str,
        *,
        revision: str | None = None,
        private: bool = False,
        token: str | None = None,
        message: str = "Upload a surform model",
    ) -> str:
        """Create the repository when needed and upload the saved model; returns the commit's URL.

        The endpoint is huggingface_hub's (`HF_ENDPOINT`), and so is the stored login.
        """
        from surform.hub.remote import push

        return push(self, repo_id, revision=revision, private=private, token=token, message=message)

    def state_tensors(self) -> dict[str, Tensor]:
        """The state dict as contiguous copies on the CPU, as it is written to disk."""
        state = self.state_dict()
        return {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
