"""Log-mel spectrograms: kept libraries, literal formulas, lengths, gradients, bad settings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from surform.data.mel import FrontEnd, mel_bands


def noise(count: int = 4000, batch: int = 2) -> Tensor:
    torch.manual_seed(0)
    return 0.1 * torch.randn(batch, count, dtype=torch.float64)


def test_kaldi_is_what_transformers_computes_for_ast() -> None:
    utils = pytest.importorskip("transformers.audio_utils")
    front, x = FrontEnd(bins=64), noise()[0]
    bands = utils.mel_filter_bank(
        257, 64, 20.0, 8000.0, 16000, norm=None, mel_scale="kaldi", triangularize_in_mel_space=True
    )
    found = utils.spectrogram(
        (x - x.mean()).numpy(), utils.window_function(400, "hann", periodic=False),
        frame_length=400, hop_length=160, fft_length=512, power=2.0, center=False,
        preemphasis=0.97, mel_filters=bands, log_mel="log", mel_floor=1.192092955078125e-07,
        remove_dc_offset=True,
    ).T  # fmt: skip
    ours = front(x[None])[0].numpy()
    assert found.shape == ours.shape == (23, 64)
    np.testing.assert_allclose(ours, found, atol=2e-4)


def test_kaldi_is_what_torchaudio_computes() -> None:
    kaldi = pytest.importorskip("torchaudio.compliance.kaldi")
    x = noise().float()
    found = kaldi.fbank(
        (x[0] - x[0].mean())[None], htk_compat=True, sample_frequency=16000, use_energy=False,
        window_type="hanning", num_mel_bins=128, dither=0.0, frame_shift=10,
    )  # fmt: skip
    torch.testing.assert_close(FrontEnd()(x)[0], found, rtol=0, atol=1e-3)


def _hann(count: int) -> list[float]:
    return [0.5 - 0.5 * math.cos(2 * math.pi * n / (count - 1)) for n in range(count)]


def _log_mel(frame: np.ndarray, front: FrontEnd, floor: float, added: float) -> np.ndarray:
    power = np.abs(np.fft.rfft(frame, front.transform)) ** 2
    low, high = (1127 * math.log(1 + f / 700) for f in front.edges())
    step = (high - low) / (front.bins + 1)
    out = np.zeros(front.bins)
    for k in range(front.transform // 2):  # the highest frequency has no weight
        mel = 1127 * math.log(1 + k * front.rate / front.transform / 700)
        for m in range(front.bins):
            rise, fall = (mel - low) / step - m, m + 2 - (mel - low) / step
            out[m] += max(0.0, min(rise, fall)) * power[k]
    return np.log(np.maximum(out, floor) + added)


def test_both_are_their_literal_formulas() -> None:
    x = noise(3000, 1)
    kaldi = FrontEnd(bins=20)
    wave = x[0].numpy() - x[0].numpy().mean()
    frame = wave[320:720] - wave[320:720].mean()
    frame = frame - 0.97 * np.concatenate((frame[:1], frame[:-1]))
    found = _log_mel(frame * _hann(400), kaldi, 1.1920928955078125e-07, 0)
    np.testing.assert_allclose(kaldi(x)[0, 2].numpy(), found, rtol=1e-9)
    passt = FrontEnd("passt", rate=32000, bins=20)
    wave = np.pad(x[0, 1:].numpy() - 0.97 * x[0, :-1].numpy(), 512, mode="reflect")
    frame = wave[640 : 640 + 1024].copy()
    frame *= np.pad(_hann(800), 112)
    np.testing.assert_allclose(passt(x)[0, 2].numpy(), _log_mel(frame, passt, 0, 1e-5), rtol=1e-9)


@pytest.mark.parametrize("kind", ["kaldi", "passt"])
def test_lengths_are_those_that_are_promised(kind: Any) -> None:
    front = FrontEnd(kind, rate=8000, bins=8)
    for count in (front.shortest, 777, 1600, 2001):
        assert front(noise(count, 1)).shape == (1, front.frames(count), 8)
    for frames in (3, 10, 33):
        assert front.frames(front.samples(frames)) == frames
        assert front.frames(front.samples(frames) - 1) <= frames
    assert front.frames(front.shortest - 1) == 0


def test_bands_add_up_to_one_between_the_outer_middles() -> None:
    bands = mel_bands(10, 512, 16000, 100.0, 6000.0)
    total = bands.sum(0)
    inside = bands.argmax(0) > 0
    assert bands.min() >= 0
    assert total.max() <= 1 + 1e-12
    assert inside.any()
    assert bands[:, -1].eq(0).all()


def test_gradients_go_through() -> None:
    x = noise(900, 1).requires_grad_()
    torch.autograd.gradcheck(FrontEnd(rate=1000, bins=2), (x[:, :40],), atol=1e-4)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "librosa"}, "front_end is 'librosa', but must be one of"),
        ({"rate": 10}, "rate is 10 Hz, but must be at least 1000"),
        ({"bins": 0}, "mel_bins is 0, but must be at least 1"),
        ({"high": 9000}, "mel bands from 20 to 9000 Hz do not lie between 0 and half of the rate"),
        ({"low": 500, "high": 400}, "mel bands from 500 to 400 Hz"),
    ],
)
def test_bad_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        FrontEnd(**options)
    assert message in str(error.value)


@pytest.mark.fault
def test_waveforms_too_short_for_a_frame() -> None:
    with pytest.raises(ValueError, match=r"\(1, 399\), but must be .* at least 400 samples"):
        FrontEnd()(torch.zeros(1, 399))
