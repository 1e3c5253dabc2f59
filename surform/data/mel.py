"""Log-mel spectrograms in torch: the front ends of AST (Kaldi's) and of PaSST.

Both are functions of whole batches of waveforms, differentiable, on any device. Mel bands are
Kaldi's: triangles on the scale 1127 ln(1 + f / 700).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

__all__ = ["FRONT_ENDS", "FrontEnd", "FrontEndKind", "mel_bands"]

FrontEndKind = Literal["kaldi", "passt"]
FRONT_ENDS = ("kaldi", "passt")
_EPS = 1.1920928955078125e-07  # float32's, whatever the precision: Kaldi's floor
_EMPHASIS = 0.97


@dataclass(frozen=True)
class FrontEnd:
    """Waveforms (B, n) -> log-mel spectrograms (B, frames, bins).

    "kaldi" is what torchaudio.compliance.kaldi.fbank computes with the settings of AST: windows of
    25 ms (Hann) every 10 ms, only whole ones, means removed, pre-emphasis, power. "passt" is the
    front end of kkoutini/PaSST@2a5c818afcc2: windows of 25 ms inside a transform of 1024 samples at
    32 kHz, centred, log(power + 1e-5).

    Args:
        rate: samples per second [Hz].
        bins: mel bands.
        low, high: edges of the bands [Hz]; high None: half the rate for "kaldi", 1 kHz less for
            "passt".
    """

    kind: FrontEndKind = "kaldi"
    rate: int = 16000
    bins: int = 128
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in FRONT_ENDS:
            raise ValueError(f"front_end is {self.kind!r}, but must be one of {FRONT_ENDS}")
        if self.rate < 1000:
            raise ValueError(f"rate is {self.rate} Hz, but must be at least 1000")
        if self.bins < 1:
            raise ValueError(f"mel_bins is {self.bins}, but must be at least 1")
        low, high = self.edges()
        if not 0 <= low < high <= self.rate / 2:
            raise ValueError(
                f"mel bands from {low:g} to {high:g} Hz do not lie between 0 and half of the rate "
                f"{self.rate}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def edges(self) -> tuple[float, float]:
        """Of the lowest and highest band [Hz]."""
        kaldi = self.kind == "kaldi"
        low = (20.0 if kaldi else 0.0) if self.low is None else self.low
        most = self.rate / 2 - (0 if kaldi else 1000)
        return low, most if self.high is None else self.high

    @property
    def window(self) -> int:
        """Samples of a window: 25 ms."""
        return int(self.rate * 0.025)

    @property
    def hop(self) -> int:
        """Samples from window to window: 10 ms."""
        return int(self.rate * 0.01)

    @property
    def transform(self) -> int:
        """Samples of the Fourier transform: the next power of two."""
        return 2 ** math.ceil(math.log2(self.window))

    @property
    def shortest(self) -> int:
        """The fewest samples that make a frame."""
        return self.window if self.kind == "kaldi" else self.transform // 2 + 2

    def frames(self, samples: int) -> int:
        """How many frames so many samples make."""
        if samples < self.shortest:
            return 0
        if self.kind == "kaldi":
            return (samples - self.window) // self.hop + 1
        return (samples - 1) // self.hop + 1

    def samples(self, frames: int) -> int:
        """The fewest samples that make so many frames."""
        if self.kind == "kaldi":
            return (frames - 1) * self.hop + self.window
        return max((frames - 1) * self.hop + 1, self.shortest)

    def __call__(
        self, waveforms: Float[Tensor, "b n"], edges: tuple[float, float] | None = None
    ) -> Float[Tensor, "b t f"]:
        """Natural logarithms, not normalised.

        Args:
            waveforms: -1 to 1, at `rate`.
            edges: of the bands, instead of `edges()`.

        Raises:
            ValueError: too short for a frame.
        """
        if waveforms.ndim != 2 or waveforms.shape[1] < self.shortest:
            raise ValueError(
                f"waveforms have shape {tuple(waveforms.shape)}, but must be (batch, samples) with "
                f"at least {self.shortest} samples"
            )
        bands = mel_bands(self.bins, self.transform, self.rate, *(edges or self.edges()))
        bands = bands.to(waveforms)
        if self.kind == "kaldi":
            return _log_kaldi(waveforms, self, bands)
        return _log_passt(waveforms, self, bands)


def mel_bands(
    bins: int, transform: int, rate: int, low: float, high: float
) -> Float[Tensor, "bins frequencies"]:
    """Kaldi's triangles over the frequencies of a transform, float64; the last one has no weight.

    Args:
        low, high: outer edges of the first and last band [Hz].
    """
    first, last = _mel(low), _mel(high)
    step = (last - first) / (bins + 1)
    left = first + step * torch.arange(bins, dtype=torch.float64)[:, None]
    frequencies = torch.arange(transform // 2, dtype=torch.float64) * (rate / transform)
    mel = 1127 * torch.log1p(frequencies / 700)
    rising, falling = (mel - left) / step, (left + 2 * step - mel) / step
    return F.pad(torch.minimum(rising, falling).clamp(min=0), (0, 1))


def _mel(frequency: float) -> float:
    return 1127 * math.log(1 + frequency / 700)


def _log_kaldi(waveforms: Tensor, front: FrontEnd, bands: Tensor) -> Tensor:
    x = waveforms - waveforms.mean(1, keepdim=True)
    frames = x.unfold(1, front.window, front.hop)  # (b, t, window)
    frames = frames - frames.mean(2, keepdim=True)
    before = torch.cat((frames[..., :1], frames[..., :-1]), 2)
    window = torch.hann_window(front.window, periodic=False, dtype=x.dtype, device=x.device)
    power = torch.fft.rfft((frames - _EMPHASIS * before) * window, n=front.transform).abs().square()
    return (power @ bands.T).clamp(min=_EPS).log()


def _log_passt(waveforms: Tensor, front: FrontEnd, bands: Tensor) -> Tensor:
    x = waveforms[:, 1:] - _EMPHASIS * waveforms[:, :-1]
    window = torch.hann_window(front.window, periodic=False, dtype=x.dtype, device=x.device)
    spectrum = torch.stft(
        x,
        front.transform,
        hop_length=front.hop,
        win_length=front.window,
        window=window,
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )
    power = spectrum.abs().square().transpose(1, 2)  # (b, t, frequencies)
    return (power @ bands.T + 1e-5).log()
