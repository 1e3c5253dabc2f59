"""Stretches of sounds are read without the rest of their files; odd files are read or named."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from surform.data.clips_files import Reading, read_header
from surform.data.clips_open import open_new_clips
from tests.data.sound_files import dataset

CUTS = ((0, 100), (7, 1000), (2500, 3501), (5990, 6005), (4321, None))
KINDS: dict[str, dict[str, Any]] = {
    "16.wav": {},
    "24.wav": {"subtype": "PCM_24"},
    "24x.wav": {"subtype": "PCM_24", "format": "WAVEX"},
    "32.wav": {"subtype": "FLOAT"},
    "64.wav": {"subtype": "DOUBLE"},
    "16.flac": {},
    "24.flac": {"subtype": "PCM_24"},
    "a.aiff": {},
    "a.ogg": {},
    "a.mp3": {},
}


def stereo(count: int = 6000) -> np.ndarray:
    """(n, 2): two channels of noise."""
    return (0.1 * np.random.default_rng(0).standard_normal((count, 2))).astype(np.float32)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("rate", [8000, 24000, 22050, 48000])
def test_a_stretch_is_what_the_whole_sound_has_there(name: str, rate: int, tmp_path: Path) -> None:
    path = tmp_path / name
    soundfile.write(path, stereo(), 24000, **KINDS[name])
    reading = Reading(rate, "mean", resample=True)
    whole = reading.waveform(path)
    assert len(whole) == reading.samples(path)
    if rate == 24000:
        expected, _ = soundfile.read(path, dtype="float32")
        np.testing.assert_allclose(whole, expected.mean(1), atol=1e-7)
    for begin, stop in CUTS:
        begin = min(begin, len(whole) - 5)
        found = reading.waveform(path, begin, stop)
        # the decoder of .mp3 rounds as its place in the memory is
        atol = 2e-7 if name == "a.mp3" else 0
        np.testing.assert_allclose(found, whole[begin:stop], rtol=0, atol=atol)


@pytest.mark.parametrize(
    ("name", "rate", "options"),
    [("a.ogg", 8000, {}), ("a.mp3", 16000, {"compression_level": 0.9})],
)
def test_after_a_jump_compressed_sounds_are_the_same(
    name: str, rate: int, options: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / name
    soundfile.write(path, stereo(99_999)[:, 0], rate, **options)
    reading = Reading(rate)
    whole = reading.waveform(path)
    for begin in range(60_007, 99_999, 1777):  # the last ones within the last page
        found = reading.waveform(path, begin, begin + 400)
        np.testing.assert_allclose(found, whole[begin : begin + 400], rtol=0, atol=2e-7)


def test_a_stretch_of_an_array_at_another_rate() -> None:
    clips = open_new_clips(dataset(3), Reading(6000, resample=True))
    assert clips.lengths.tolist() == [1500] * 3
    np.testing.assert_array_equal(clips.read(1)[400:900], clips.read(1, 400, 900))
    with pytest.raises(ValueError, match=r"8000 Hz, but 6000 are wanted: set data\.resample"):
        open_new_clips(dataset(3), Reading(6000))


@pytest.mark.parametrize("name", ["24.wav", "16.wav", "16.flac"])
def test_of_a_long_file_only_the_stretch_is_held(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    soundfile.write(path, stereo(2_000_000), 8000, **KINDS[name])
    reading = Reading(6000, "left", resample=True)
    reading.waveform(path, 0, 6000)  # libraries are imported
    tracemalloc.start()
    assert reading.samples(path) == 1_500_000
    assert len(reading.waveform(path, 700_000, 706_000)) == 6000
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 2**20  # the whole has 16 MB in single precision


@pytest.mark.fault
@pytest.mark.parametrize("name", ["24.wav", "24x.wav", "16.flac"])
def test_sounds_that_end_early(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    soundfile.write(path, stereo(40_000), 8000, **KINDS[name])
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(ValueError, match=r"is damaged|is no readable sound") as error:
        Reading(8000, "mean").waveform(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.fault
def test_24_bits_without_samples_and_with_one(tmp_path: Path) -> None:
    path = tmp_path / "with a space, é and 音.wav"
    soundfile.write(path, stereo(0), 8000, subtype="PCM_24")
    with pytest.raises(ValueError, match="holds no sound: it has 0 samples"):
        Reading(8000, "mean").waveform(path)
    soundfile.write(path, stereo(1), 8000, subtype="PCM_24")
    assert read_header(path).samples == 1
    np.testing.assert_allclose(Reading(8000, "left").waveform(path), stereo(1)[:, 0], atol=1e-6)
    with pytest.raises(ValueError, match="resample='maybe': choose true or false"):
        Reading(8000, resample="maybe")  # type: ignore[arg-type]


@pytest.mark.fault
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_a_sound_without_a_rate_and_one_of_another_coding(subtype: str, tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, stereo(100), 8000, subtype=subtype)
    whole = path.read_bytes()
    path.write_bytes(whole[:24] + bytes(8) + whole[32:])
    with pytest.raises(ValueError, match=r"x\.wav is damaged: it has 0 Hz"):
        Reading(8000, "mean", resample=True).waveform(path)
    path.write_bytes(whole[:20] + b"\x06" + whole[21:])  # A-law
    with pytest.raises(ValueError, match=r"x\.wav is damaged or no \.wav file: Unknown wave file"):
        Reading(8000, "mean").waveform(path)
