"""Clips of sound: layouts, divisions, windows, variation, made sounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from surform.data.clips_files import Reading, read_header
from surform.data.clips_module import ClipsData
from surform.data.clips_open import open_clips, open_new_clips
from surform.data.clips_samples import ClipVariation, Windows, spectrogram
from surform.data.mel import FrontEnd
from surform.data.solvers.generate import generate
from tests.data.sound_files import CLASSES, RATE, dataset, folder, sound, write

READING = Reading(RATE)


def data(path: Any, **options: Any) -> ClipsData:
    return ClipsData(path, **{"rate": RATE, "mel_bins": 16, "batch_size": 6, **options})


def test_a_folder_of_classes(tmp_path: Path) -> None:
    found = data(str(folder(tmp_path)), split={"train": 0.5, "validation": 0.25, "test": 0.25})
    assert found.source.classes == CLASSES
    assert found.description().sizes() == {"num_classes": CLASSES, "frames": 23, "mel_bins": 16}
    batch = found.samples("test")[list(range(6))]
    assert batch.spectrograms.shape == (6, 23, 16)
    names = found.samples("test").labels(batch.index)["name"]
    assert [CLASSES[n] for n in batch.targets.tolist()] == [name.split("/")[0] for name in names]
    front = FrontEnd(rate=RATE, bins=16)
    read = READING.waveform(tmp_path / names[0])[: front.samples(23)]
    expected = front(torch.from_numpy(read)[None])[0]
    torch.testing.assert_close(batch.spectrograms[0], expected, rtol=0, atol=1e-3)


def test_folders_of_splits_stay_as_they_are(tmp_path: Path) -> None:
    found = data(str(folder(tmp_path, 4, ("train", "test"))))
    assert {len(found.samples(name)) for name in ("train",)} == {11}
    assert len(found.samples("test")) == 12
    assert len(found.samples("validation")) == 1


def test_esc50(tmp_path: Path) -> None:
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for number in range(30):
        name = f"{number % 5 + 1}-{number}-A.wav"
        write(tmp_path / "audio" / name, sound(number, number % 3))
        lines.append(f"{name},{number % 5 + 1},{number % 3},{CLASSES[number % 3]},False,1,A")
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "esc50.csv").write_text("\n".join(lines))
    found = open_clips(str(tmp_path), READING, fold=2)
    assert [found.title(n)[6] for n in found.parts["test"]] == ["2"] * 6
    assert len(found.parts["train"]) == 24
    with pytest.raises(ValueError, match="has the folds 1, 2, 3, 4, 5, but no 6"):
        open_clips(str(tmp_path), READING, fold=6)


def test_speech_commands(tmp_path: Path) -> None:
    folder(tmp_path, 4)
    write(tmp_path / "_background_noise_" / "x.wav", sound(0, 1))
    (tmp_path / "validation_list.txt").write_text("high/0.wav\nlow/1.wav\n")
    (tmp_path / "testing_list.txt").write_text("hiss/2.wav\n")
    found = open_clips(str(tmp_path), READING)
    assert [found.title(n) for n in found.parts["validation"]] == ["high/0.wav", "low/1.wav"]
    assert [found.title(n) for n in found.parts["test"]] == ["hiss/2.wav"]
    assert len(found) == 12
    assert found.classes == CLASSES


def test_audioset(tmp_path: Path) -> None:
    (tmp_path / "class_labels_indices.csv").write_text(
        'index,mid,display_name\n0,/m/a,"Male speech, man"\n1,/m/b,Dog\n'
    )
    head = "# Segments csv created\n# num_ytids=3\n# YTID, start_seconds, end_seconds, labels\n"
    for stem, rows in (
        ("balanced_train_segments", ['aa, 30.000, 40.000, "/m/a,/m/b"', 'bb, 0.0, 10.0, "/m/b"']),
        ("eval_segments", ['cc, 1.5, 11.5, "/m/a"', 'gone, 1.5, 11.5, "/m/a"']),
    ):
        (tmp_path / f"{stem}.csv").write_text(head + "\n".join(rows) + "\n")
    for name in ("train/aa", "train/bb", "eval/cc_1500"):
        write(tmp_path / "audio" / f"{name}.wav", sound(0, 1))
    with pytest.raises(FileNotFoundError, match="names a sound that is not there: gone"):
        open_clips(str(tmp_path), READING)
    found = open_clips(str(tmp_path), READING, missing="skip")
    assert found.several
    assert found.classes == ("Male speech, man", "Dog")  # in the order of their numbers
    assert found.labels.tolist() == [[1, 1], [0, 1], [1, 0]]
    assert {name: part.tolist() for name, part in found.parts.items()} == {
        "train": [0, 1], "test": [2],
    }  # fmt: skip


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    for number in range(4):
        write(tmp_path / f"{number}.wav", sound(number, 1))
    table = tmp_path / "mine.csv"
    table.write_text(
        "file,labels,split\n0.wav,a;b,train\n1.wav,,train\n2.wav,b,val\n3.wav,a,test\n"
    )
    found = open_clips(str(table), READING)
    assert found.labels.tolist() == [[1, 1], [0, 0], [0, 1], [1, 0]]
    assert found.parts["validation"].tolist() == [2]


def test_tables_as_spreadsheets_write_them(tmp_path: Path) -> None:
    for number in range(2):
        write(tmp_path / f"{number}, x.wav", sound(number, 1))
    text = (
        '\ufeffFile name,file, label,split\r\n#1,"0, x.wav",a,Train\r\n\r\n#2,"1, x.wav",b,test\r\n'
    )
    table = tmp_path / "MINE.CSV"
    table.write_bytes(text.encode())
    found = open_clips(str(table), READING)
    assert found.labels.tolist() == [0, 1]
    assert found.parts["test"].tolist() == [1]


def test_arrays_and_files_of_them(tmp_path: Path) -> None:
    values = dataset(30)
    assert open_clips(values, READING).labels.tolist() == [n % 3 for n in range(30)]
    assert open_clips(dataset(30, several=True), READING).labels.shape == (30, 3)
    for name in ("x.nc", "x.zarr"):
        path = tmp_path / name
        values.to_netcdf(path, engine="h5netcdf") if name == "x.nc" else values.to_zarr(
            path, consolidated=False
        )
        stored = open_clips(str(path), READING)
        np.testing.assert_allclose(stored.read(4), values.waveform.values[4])
        assert stored.classes == CLASSES


@pytest.mark.parametrize("kind", [np.int16, np.float32, np.uint8, np.int32])
def test_wav_files_of_all_kinds_are_minus_one_to_one(kind: Any, tmp_path: Path) -> None:
    scale = {np.int16: 1, np.int32: 2**31 - 1, np.uint8: 128, np.float32: 1}[kind]
    values = sound(0, 0) * scale + (128 if kind is np.uint8 else 0)
    path = write(tmp_path / "x.wav", values, kind=kind)
    found = READING.waveform(path)
    np.testing.assert_allclose(found, sound(0, 0), atol=0.01 if kind is np.uint8 else 1e-4)
    assert read_header(path).samples == len(found) == READING.samples(path)


def test_channels_and_rates_are_changed_where_asked_for(tmp_path: Path) -> None:
    time = np.arange(2 * RATE) / (2 * RATE)
    left, right = np.sin(2 * np.pi * 300 * time), np.zeros(len(time))
    path = write(tmp_path / "x.wav", 0.5 * np.stack((left, right), 1), rate=2 * RATE)
    first = Reading(RATE, "left", resample=True).waveform(path)
    mean = Reading(RATE, "mean", resample=True).waveform(path)
    np.testing.assert_allclose(mean, first / 2, atol=1e-4)
    expected = 0.5 * np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE)
    np.testing.assert_allclose(first[200:-200], expected[200:-200], atol=2e-3)
    assert Reading(RATE, "left", resample=True).samples(path) == len(first)


def test_long_clips_by_windows(tmp_path: Path) -> None:
    for number in range(6):
        write(tmp_path / CLASSES[number % 3] / f"{number}.wav", sound(number, number % 3, 5000))
    every = data(str(tmp_path), frames=13, long="windows", split={"train": 3, "validation": 3})
    window = every.front.samples(13)
    begins = every.samples("train").windows.begins
    assert begins.tolist() == [0, window, 2 * window, 3 * window] * 3  # a fifth is less than half
    one = data(str(tmp_path), frames=13, split={"train": 3, "validation": 3})
    samples = one.samples("train", varied=True)
    first, again, later = samples[[0]], samples[[0]], samples[[3]]
    assert torch.equal(first.spectrograms, again.spectrograms)
    assert not torch.equal(first.spectrograms, later.spectrograms)
    assert one.samples("validation").windows.begins.tolist() == [0, 0, 0]


def test_clips_longer_by_less_than_a_frame_are_transformed_once(tmp_path: Path) -> None:
    for number in range(6):
        write(tmp_path / CLASSES[number % 3] / f"{number}.wav", sound(number, number % 3, 2079))
    split = {"train": 3, "validation": 3}
    for frames, held in ((None, True), (24, True), (23, False)):
        found = data(str(tmp_path), frames=frames, split=split)
        assert found.front.samples(24) == 2040
        found.setup("fit")
        samples = found.samples("train", varied=True)
        assert (samples.held is not None) == held
        same = torch.equal(samples[[0]].spectrograms, samples[[3]].spectrograms)
        assert same == held  # epochs 0 and 1


def test_short_clips_are_filled_up_as_published() -> None:
    front = FrontEnd(rate=RATE, bins=8)
    wave = sound(0, 0, 1000)
    found = spectrogram(wave, front, 30)
    assert found.shape == (30, 8)
    assert found[front.frames(1000) :].eq(0).all()
    silent = spectrogram(wave, FrontEnd("passt", RATE, 8), 30)
    assert silent[-1].max() < -5


def test_windows_cover_a_clip() -> None:
    class Two:
        lengths = np.array([100, 250])

    every: Any = Two()
    found = Windows.of(every, np.array([0, 1]), 100, every=True)
    assert found.clips.tolist() == [0, 1, 1, 1]
    assert found.begins.tolist() == [0, 0, 100, 200]
    assert Windows.of(every, np.array([1]), 100, every=False).begins.tolist() == [0]


def test_variation_masks_moves_and_adds() -> None:
    x = torch.ones(40, 20)
    generator = np.random.default_rng(0)
    masked = [ClipVariation(8, 10)(x, generator) for _ in range(200)]
    lost = torch.stack([(m == 0).float() for m in masked])
    assert lost.all(2).sum(1).max() <= 10
    assert lost.all(1).sum(1).max() <= 8
    assert 0 < lost.mean() < 0.5
    assert x.min() == 1
    ramp = torch.arange(40.0)[:, None].expand(40, 20)
    moved = ClipVariation(roll=5)(ramp, np.random.default_rng(1))
    assert set(moved[:, 0].tolist()) == set(range(40))
    noisy = ClipVariation(noise=True)(x, np.random.default_rng(1))
    assert 0 < (noisy - 1).max() <= 0.1
    wide = ClipVariation(noise=True)(x, np.random.default_rng(1), unit=8.0)
    torch.testing.assert_close(wide - 1, 8 * (noisy - 1), rtol=1e-4, atol=1e-6)


def test_noise_is_in_units_of_normalised_spectrograms() -> None:
    found = data(dataset(), noise=True, split={"train": 40, "validation": 20})
    found.setup("fit")
    (normalizer,), plain = found.normalizers(), found.samples("train")
    batch = next(iter(found.train_dataloader()))
    added = normalizer.normalize(batch.spectrograms) - normalizer.normalize(
        plain[batch.index.tolist()].spectrograms
    )
    assert normalizer.std > 3
    assert -1e-5 < added.min() < added.max() < 0.1 + 1e-5
    assert added.max() > 0.03


def test_the_edges_of_the_bands_move_in_training_only() -> None:
    found = data(dataset(), jitter=[100, 600], split={"train": 40, "validation": 20}, high=3500.0)
    found.setup("fit")
    plain, varied = found.samples("train"), found.samples("train", varied=True)
    assert varied.held is None
    assert not torch.allclose(plain[[0]].spectrograms, varied[[0]].spectrograms)
    torch.testing.assert_close(varied[[0]].spectrograms, varied[[0]].spectrograms)


def test_statistics_are_those_of_the_training_spectrograms() -> None:
    found = data(dataset(), split={"train": 40, "validation": 20})
    (normalizer,) = found.normalizers()
    values = found.samples("train")[list(range(40))].spectrograms
    torch.testing.assert_close(normalizer.mean, values.mean())
    torch.testing.assert_close(normalizer.std, 2 * values.std(correction=0))
    (normalizer,) = data(dataset(), normalize={"mean": -4.5, "std": 2.5}).normalizers()
    assert (normalizer.mean.item(), normalizer.std.item()) == (-4.5, 5.0)


def test_made_sounds_are_functions_of_their_number(tmp_path: Path) -> None:
    whole = generate("sounds", tmp_path / "a.zarr", 6, rate=8000, seconds=0.1, most=3)
    parts = [
        generate(
            "sounds", tmp_path / "b.zarr", 6, batch=2, shard=(k, 3), rate=8000, seconds=0.1, most=3
        )
        for k in range(3)
    ]
    made = open_clips(str(whole), Reading(8000))
    assert made.several
    assert made.labels.sum(1).min() >= 1
    for number in range(6):
        part = open_clips(str(parts[number // 2]), Reading(8000))
        np.testing.assert_allclose(made.read(number), part.read(number % 2), atol=1e-6)
        assert 0.01 < np.abs(made.read(number)).max() <= 1
    assert len(open_new_clips(str(whole), Reading(8000))) == 6
