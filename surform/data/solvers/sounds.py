"""Made sounds with labels: tones, chirps and noises, each somewhere in a clip of noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from surform.data.solvers.checks import check_at_least, check_positive
from surform.data.solvers.samples import Axis, Field, Samples, Solution

__all__ = ["KINDS", "sounds"]

BATCH = 16
_DRAWS = 8  # random numbers in [0, 1) that a sound may use
_FADE = 0.01  # s

# (time since its beginning [s], its length (B, 1) [s], draws (B, 8), white noise) -> (B, time)
Sound = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def sounds(
    samples: Samples,
    *,
    kinds: Literal["first", "second"] = "first",
    seconds: float = 1.0,
    rate: int = 16000,
    most: int = 1,
    snr_low: float = 0.0,
    snr_high: float = 20.0,
) -> Solution:
    """Clips in which tones, chirps or noises of eight kinds sound, with background noise.

    Every sound has a pitch, beginning, length and loudness of its own. A clip is the variable
    waveform, and for each kind there is a variable of its name: 1 where it is heard, else 0.

    Args:
        kinds: "first": tone, hum, rising, falling, noise, rumble, hiss, clicks; "second": chord,
            vibrato, tremolo, siren, bursts, band, pluck, chirps.
        seconds: length of a clip [s].
        rate: samples per second [Hz], at least 8000.
        most: sounds of different kinds in a clip, at most.
        snr_low: least loudness of sounds over the background [dB].
        snr_high: greatest one [dB].
    """
    made = KINDS[kinds]
    check_at_least(1, most=most)
    check_at_least(8000, rate=rate)  # hiss lies above 3500 Hz
    check_positive(seconds=seconds)
    if most > len(made):
        raise ValueError(f"most is {most}, but there are {len(made)} kinds of sounds")
    if snr_low > snr_high:
        raise ValueError(f"snr_low is {snr_low}, but must not be above snr_high = {snr_high}")
    count = round(seconds * rate)
    check_at_least(2, clip_samples=count)
    time = torch.arange(count, dtype=torch.float64) / rate
    heard = _choose(samples, len(made), most)
    waveform, noise = 0.01 * samples.normal(count).cpu(), samples.normal(count).cpu()
    for number, sound in enumerate(made.values()):
        draws, place = samples.uniform(0, 1, _DRAWS).cpu(), samples.uniform(0, 1, 3).cpu()
        rows = heard[:, number].nonzero().flatten()
        if len(rows):
            own = noise[rows].roll(number * count // len(made), 1)  # noises of their own
            signal = _placed(sound, time, draws[rows], place[rows], own)
            decibels = snr_low + (snr_high - snr_low) * place[rows, 2:]
            waveform[rows] += 0.01 * 10 ** (decibels / 20) * signal
        samples.progress((number + 1) / len(made))
    waveform = waveform / waveform.abs().amax(1, keepdim=True).clamp(min=1.0)
    fields = {"waveform": _field(waveform, ("time",), "sound pressure", samples)}
    for number, name in enumerate(made):
        fields[name] = _field(heard[:, number], (), f"whether {name} is heard", samples)
    return Solution(fields=fields, axes={"time": Axis(time, "time", units="s")})


def _placed(sound: Sound, time: Tensor, draws: Tensor, place: Tensor, noise: Tensor) -> Tensor:
    """A sound somewhere in the clip, of mean power 1 while it lasts."""
    seconds = float(time[-1])
    length = seconds * (0.4 + 0.4 * place[:, :1])
    since = time - place[:, 1:2] * (seconds - length)
    signal = sound(since, length, draws, noise) * _envelope(since, length)
    power = signal.square().sum(1, keepdim=True) / (length * len(time) / seconds)
    return signal / power.sqrt().clamp(min=1e-9)


def _choose(samples: Samples, kinds: int, most: int) -> Tensor:
    """(B, kinds): 1 for each kind that is heard, of 1 to `most`."""
    order = samples.uniform(0, 1, kinds).cpu().argsort(1).argsort(1)
    counts = samples.integers(1, most + 1, 1).cpu()
    return (order < counts).double()


def _field(values: Tensor, axes: tuple[str, ...], long_name: str, samples: Samples) -> Field:
    return Field(values.to(samples.device, samples.dtype), axes, long_name)


def _envelope(since: Tensor, length: Tensor) -> Tensor:
    """1 while it sounds, with short ramps; 0 before and after."""
    inside = torch.minimum(since, length - since) / _FADE
    return inside.clamp(0, 1)


def _pitch(draw: Tensor, low: float = 200.0, high: float = 2000.0) -> Tensor:
    """(B, 1) [Hz], each octave alike."""
    return low * (high / low) ** draw[:, None]


def _sine(cycles: Tensor) -> Tensor:
    return torch.sin(2 * math.pi * cycles)


def _tone(since: Tensor, length: Tensor, draws: Tensor, noise: Tensor) -> Tensor:
    return _sine(_pitch(draws[:, 0]) * since + draws[:, 1:2])


def _hum(since: Tensor, length: Tensor, draws: Tensor, noise: Tensor) -> Tensor:
    cycles = _pitch(draws[:, 0], 80, 300) * since
    return torch.stack([_sine(k * cycles) / k for k in range(1, 9)]).sum(0)


def _sweep(since: Tensor, length: Tensor, begin: Tensor, end: Tensor) -> Tensor:
    """From pitch to pitch, by the same factor in the same time."""
    growth = (end / begin).log() / length
    return _sine(begin * ((growth * since.clamp(min=-1, max=10)).exp() - 1) / growth)


def _rising(since: Tensor, length: Tensor, draws: Tensor, noise: Tensor) -> Tensor:
    low = _pitch(draws[:, 0], 200, 800)
    return _sweep(since, length, low, low * (2 + 3 * draws[:, 1:2]))


def _falling(since: Tensor, length: Tensor, draws: Tensor, noise: Tensor) -> Tensor:
    low = _pitch(draws[:, 0], 200, 800)
    return _sweep(since, length, low * (2 + 3 * draws[:, 1:2]), low)


def _noise(since: Tensor, length: Tensor, draws: Tensor, noise: Tensor) -> Tensor:
    return noise


def _filtered(noise: Tensor, since: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """Noise between two frequencies [Hz]."""
    rate = 1 / float(since[0, 1] - since[0, 0])
    spectrum = torch.fft.rfft(noise)
    frequencies = torch.linspace(0, rate / 2, spectrum.shape[1], dtype=noise.dtype)
    inside = (frequencies >= low) & (frequencies <= high)
    return torch.fft.irfft(spectrum * inside, n=noise.shape[1])


def _rumble(since: Tensor, length: Tensor, draws: Tensor, noise: Tensor) -> Tensor:
    return _filtered(noise, since, 30.0, _pitch(draws[:, 0], 200, 500))


def _hiss(since: Tensor, length: Tensor, draws: Tensor, noise: Tensor) -> Tensor:
    return _filtered(noise, since, _pitch(draws[:, 0], 2500, 3500), 1e9)


def _clicks(since: Tensor, length: Tensor, draws: Tensor, noise: Tensor) -> Tensor:
    phase = ((8 + 16 * draws[:, :1]) * since).remainder(1) / (8 + 16 * draws[:, :1])
    return torch.exp(-phase / 0.002) * noise


def _chord(since: Tensor, length: Tensor, draws: Tensor, noise: Tensor) -> Tensor:
    low = _pitch(draws[:, 0], 200, 600)
    return sum(_sine(low * ratio * since) for ratio in (1, 1.26, 1.5))  # type: ignore[return-value]


def _vibrato(since: Tensor, length: Tensor, draws: Tensor, noise: Tensor) -> Tensor:
    wobble = 0.6 * _sine((5 + 5 * draws[:, 1:2]) * since)
    return _sine(_pitch(draws[:, 0], 400, 1600) * since + 8 * wobble)


def _tremolo(since: Tensor, length: Tensor, draws: Tensor, noise: Tensor) -> Tensor:
    loud = 0.5 + 0.5 * _sine((6 + 8 * draws[:, 1:2]) * since)
    return loud * _sine(_pitch(draws[:, 0]) * since)


def _siren(since: Tensor, length: Tensor, draws: Tensor, noise: Tensor) -> Tensor:
    turns = 2 + 2 * draws[:, 1:2]
    return _sine(_pitch(draws[:, 0], 500, 1200) * (since + 0.035 * _sine(turns * since)))


def _bursts(since: Tensor, length: Tensor, draws: Tensor, noise: Tensor) -> Tensor:
    return noise * (((5 + 7 * draws[:, :1]) * since).remainder(1) < 0.4)


def _band(since: Tensor, length: Tensor, draws: Tensor, noise: Tensor) -> Tensor:
    middle = _pitch(draws[:, 0], 500, 3000)
    return _filtered(noise, since, middle / 1.15, middle * 1.15)


def _pluck(since: Tensor, length: Tensor, draws: Tensor, noise: Tensor) -> Tensor:
    decay = torch.exp(-since.clamp(min=0) / (0.04 + 0.06 * draws[:, 1:2]))
    return decay * _hum(since, length, draws, noise)


def _chirps(since: Tensor, length: Tensor, draws: Tensor, noise: Tensor) -> Tensor:
    rate = 6 + 6 * draws[:, 1:2]
    phase = (rate * since).remainder(1) / rate
    low = _pitch(draws[:, 0], 800, 2000)
    return _sine(low * phase * (1 + 8 * phase)) * (phase * rate < 0.6)


KINDS: dict[str, dict[str, Sound]] = {
    "first": {
        "tone": _tone, "hum": _hum, "rising": _rising, "falling": _falling, "noise": _noise,
        "rumble": _rumble, "hiss": _hiss, "clicks": _clicks,
    },
    "second": {
        "chord": _chord, "vibrato": _vibrato, "tremolo": _tremolo, "siren": _siren,
        "bursts": _bursts, "band": _band, "pluck": _pluck, "chirps": _chirps,
    },
}  # fmt: skip
