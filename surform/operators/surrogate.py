"""A PDE operator in physical units: network, normalisers, boundary and description."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from jaxtyping import Float
from torch import Tensor, nn

from surform.data.batches import FieldBatch
from surform.data.description import FieldsDescription
from surform.data.normalizers import Normalizer
from surform.hub.pretrained import Pretrained
from surform.operators.windows import march

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["FieldSurrogate"]


class FieldSurrogate(Pretrained):
    """Fields on a regular grid in, fields out, both in physical units.

    Args:
        net: a registered model. Steady: `net(u, coordinates)`, u `(B, *grid, C)`. With
            `net.time_window` true: `net(u, coordinates, steps)`, u `(B, T_in, *grid, C)`.
        boundary: "free" leaves the output alone; "zero" sets it to zero (physical units) on the
            first and last point of every axis that is not periodic.
        predicts: "state", or "change": the network's output is added to the last frame of the
            window (in normalised units), so that it only learns what changes. Time windows only.
        walls: names of the velocity components, one per axis in the order of the axes, of a flow
            in a closed box. Each is zero (physical units) on the first plane of its own axis,
            where a staggered grid's lower faces lie on the wall: in what the network sees and in
            what it predicts, so also between the calls of a rollout. Periodic axes have no wall.
    """

    kind: ClassVar[str] = "fields"
    usage: ClassVar[str] = (
        "prediction = model.predict(dataset)  # an xarray.Dataset in, an xarray.Dataset out"
    )
    file_options: ClassVar[tuple[str, ...]] = ("steps", "batch_size", "any_grid")
    description: FieldsDescription | None

    def __init__(
        self,
        net: nn.Module,
        *,
        boundary: Literal["free", "zero"] = "free",
        predicts: Literal["state", "change"] = "state",
        walls: Sequence[str] = (),
    ) -> None:
        super().__init__(net)
        if boundary not in ("free", "zero"):
            raise ValueError(f"boundary must be 'free' or 'zero', not {boundary!r}")
        if predicts not in ("state", "change"):
            raise ValueError(f"predicts must be 'state' or 'change', not {predicts!r}")
        if predicts == "change" and not getattr(net, "time_window", False):
            raise ValueError(f"predicts='change' needs a model of time windows, not {_name(net)}")
        if isinstance(walls, str) or not all(isinstance(name, str) for name in walls):
            raise ValueError(f"walls must be a list of variables, one per axis, not {walls!r}")
        self.boundary = boundary
        self.predicts = predicts
        self.walls = tuple(walls)
        self.input_normalizer = Normalizer()
        self.target_normalizer = Normalizer()

    @property
    def time_window(self) -> bool:
        """Whether inputs and outputs carry a time axis."""
        return bool(getattr(self.net, "time_window", False))

    def settings(self) -> dict[str, Any]:
        return {"boundary": self.boundary, "predicts": self.predicts, "walls": list(self.walls)}

    @classmethod
    def read_description(cls, values: dict[str, Any]) -> FieldsDescription:
        return FieldsDescription.from_dict(values)

    def fit_to(
        self,
        description: FieldsDescription,
        input_normalizer: Normalizer,
        target_normalizer: Normalizer,
    ) -> None:
        """Take over the description and the fitted normalisers of the training data."""
        if self.time_window != (description.input_steps is not None):
            asked, given = ("time windows", "steady fields")[:: 1 if self.time_window else -1]
            raise ValueError(f"{type(self.net).__name__} needs {asked}, the data are {given}")
        if self.boundary == "zero" and all(
            description.periodic.get(a) for a in description.output_axes
        ):
            raise ValueError("boundary='zero' needs an axis that is not periodic")
        names = description.targets
        if self.predicts == "change" and description.inputs[: len(names)] != names:
            raise ValueError(
                f"predicts='change' needs the targets {', '.join(names)} as the first inputs, "
                f"not {', '.join(description.inputs)}"
            )
        self._check_walls(description)
        self.description = description
        self.input_normalizer = input_normalizer
        self.target_normalizer = target_normalizer
        self.require_statistics()
        self.check_statistics()

    def check_statistics(self) -> None:
        """ValueError when the statistics do not broadcast against the described fields."""
        about = self.description
        if about is None:
            return
        shape_of = {
            "input_normalizer": (*about.shape, about.in_channels),
            "target_normalizer": (*about.output_shape, about.out_channels),
        }
        for name, full in shape_of.items():
            found = tuple(self.normalizers()[name].mean.shape)
            if len(found) > len(full) or any(
                n not in (1, m) for n, m in zip(found[::-1], full[::-1], strict=False)
            ):
                raise ValueError(f"the statistics of {name} have shape {found}, the data {full}")

    def forward(
        self,
        inputs: Float[Tensor, "b *grid c"],
        coordinates: tuple[Tensor, ...],
        steps: int | None = None,
    ) -> Float[Tensor, "b *out_grid c_out"]:
        """Predict: physical units in, physical units out.

        Args:
            inputs: `(B, *grid, C)` or `(B, T_in, *grid, C)`, oldest frame first; channels are the
                input variables, then the parameters.
            coordinates: one `(n_i,)` tensor per axis.
            steps: how many frames to predict (time windows only); None = the model's maximum.
        """
        output = self.normalized(inputs, coordinates, steps)
        return self.apply_boundary(self.target_normalizer.denormalize(output))

    def normalized(
        self, inputs: Tensor, coordinates: tuple[Tensor, ...], steps: int | None = None
    ) -> Tensor:
        """As `forward`, but the raw output of the network, in normalised units."""
        inputs = self._apply_walls(inputs, "inputs")
        window = self.input_normalizer.normalize(inputs)
        if self.time_window:
            frames = self.net(window, coordinates, steps)
            if self.predicts == "state":
                return frames
            return frames + self.target_normalizer.normalize(
                inputs[:, -1:, ..., : frames.shape[-1]]
            )
        if steps is not None:
            raise ValueError(f"{type(self.net).__name__} is steady: it takes no `steps`")
        return self.net(window, coordinates)

    def apply_boundary(self, output: Tensor) -> Tensor:
        """Physical predictions as `boundary` and `walls` say."""
        output = self._apply_walls(output, "targets")
        if self.boundary == "free":
            return output
        first = self._first_axis
        grid = output.shape[first:-1]
        for axis, (name, points) in enumerate(zip(self._axis_names(len(grid)), grid, strict=True)):
            if self.description is not None and self.description.periodic.get(name):
                continue
            inside = output.new_ones(points)
            inside[0] = inside[-1] = 0
            shape = [1] * output.ndim
            shape[first + axis] = points
            output = output * inside.view(shape)
        return output

    def outputs(self, batch: FieldBatch, steps: int | None = None) -> Tensor:
        """Physical predictions of all target frames, fed back in calls of `steps` frames."""
        if not batch.time_window:
            return self(batch.inputs, batch.coordinates)
        frames = batch.targets.shape[1]
        return march(
            lambda window, steps: self(window, batch.coordinates, steps),
            batch.inputs,
            frames,
            steps or frames,
        )

    def pooled_axes(self, ndim: int) -> tuple[int, ...]:
        """The axes of the grid."""
        return tuple(range(self._first_axis, ndim - 1))

    def predict(
        self,
        dataset: xr.Dataset,
        steps: int | None = None,
        *,
        batch_size: int = 8,
        any_grid: bool = False,
    ) -> xr.Dataset:
        """Labelled arrays in, labelled arrays out; see `surform.operators.labelled.predict`."""
        from surform.operators.labelled import predict

        return predict(self, dataset, steps, batch_size=batch_size, any_grid=any_grid)

    def predict_file(self, source: str, out: str | PathLike[str], **options: Any) -> Path:
        """`predict`, from a data set into a `.zarr`; see `surform.operators.labelled_files`."""
        from surform.operators.labelled_files import predict_file

        return predict_file(self, source, out, **options)

    @property
    def _first_axis(self) -> int:
        return 2 if self.time_window else 1

    def _check_walls(self, description: FieldsDescription) -> None:
        """ValueError unless `walls` names a target for each axis, and one axis has a wall."""
        if not self.walls:
            return
        axes, targets = description.output_axes, description.targets
        if len(self.walls) != len(axes) or not set(self.walls) <= set(targets):
            raise ValueError(
                f"walls must name the target that is the velocity along each of "
                f"{', '.join(axes)}, not {', '.join(self.walls)}; targets: {', '.join(targets)}"
            )
        if all(description.periodic.get(axis) for axis in axes):
            raise ValueError("walls need an axis that is not periodic")

    def _apply_walls(self, fields: Tensor, role: Literal["inputs", "targets"]) -> Tensor:
        """No velocity through the first plane of its axis; a copy, where there are walls."""
        if not self.walls:
            return fields
        about = self.description
        if about is None:
            raise ValueError("walls need the description of the data: call fit_to(...) first")
        names: tuple[str, ...] = getattr(about, role)
        axes = about.axes if role == "inputs" else about.output_axes
        fields = fields.clone()
        for axis, name in zip(about.output_axes, self.walls, strict=True):
            if name in names and axis in axes and not about.periodic.get(axis):
                plane = fields.select(self._first_axis + axes.index(axis), 0)
                plane[..., names.index(name)] = 0
        return fields

    def _axis_names(self, count: int) -> tuple[str, ...]:
        axes = self.description.output_axes if self.description else ()
        return tuple(axes) if len(axes) == count else ("",) * count


def _name(net: nn.Module) -> str:
    return type(net).__name__
