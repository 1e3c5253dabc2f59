"""neuraloperator's FNO behind surform's model interface, so that both train in the same loop."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from torch import Tensor, nn

from surform.layers.arguments import record_arguments

__all__ = ["SteadyFNO", "WindowFNO"]


def _fno(modes: Sequence[int], in_channels: int, out_channels: int, hidden: int, depth: int):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # third-party imports deprecate things
        from neuralop.models import FNO

    class PlainFNO(FNO):
        """FNO whose state holds tensors only; neuraloperator puts an object of its own beside."""

        state_dict = nn.Module.state_dict
        load_state_dict = nn.Module.load_state_dict

    return PlainFNO(
        n_modes=tuple(modes),
        in_channels=in_channels,
        out_channels=out_channels,
        hidden_channels=hidden,
        n_layers=depth,
    )


class SteadyFNO(nn.Module):
    """neuraloperator FNO for steady maps: `(B, *grid, C_in) -> (B, *grid, C_out)`."""

    time_window = False

    @record_arguments
    def __init__(
        self,
        modes: tuple[int, ...],
        in_channels: int = 1,
        out_channels: int = 1,
        hidden: int = 32,
        depth: int = 4,
    ) -> None:
        super().__init__()
        self.fno = _fno(modes, in_channels, out_channels, hidden, depth)

    def forward(self, u: Tensor, coordinates: tuple[Tensor, ...]) -> Tensor:
        return self.fno(u.movedim(-1, 1)).movedim(1, -1)


class WindowFNO(nn.Module):
    """neuraloperator FNO with frames as channels: `(B, T, *grid, C) -> (B, steps, *grid, C)`."""

    time_window = True

    @record_arguments
    def __init__(
        self,
        modes: tuple[int, ...],
        input_steps: int,
        max_steps: int,
        channels: int = 1,
        hidden: int = 32,
        depth: int = 4,
    ) -> None:
        super().__init__()
        self.input_steps, self.max_steps, self.channels = input_steps, max_steps, channels
        self.fno = _fno(modes, input_steps * channels, max_steps * channels, hidden, depth)

    def forward(
        self, u: Tensor, coordinates: tuple[Tensor, ...], steps: int | None = None
    ) -> Tensor:
        frames = u.movedim(-1, 2).flatten(1, 2)  # (B, T C, *grid)
        future = self.fno(frames).unflatten(1, (self.max_steps, self.channels))
        return future.movedim(2, -1)[:, : steps or self.max_steps]
