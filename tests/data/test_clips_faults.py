"""What is wrong with sounds is said in one sentence, before training where it can be known then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surform.data.clips_files import Reading
from surform.data.clips_module import ClipsData
from surform.data.clips_open import open_new_clips
from tests.data.sound_files import CLASSES, RATE, dataset, folder, sound, write

pytestmark = pytest.mark.fault


def start(path: Any, **options: Any) -> None:
    data = ClipsData(path, **{"rate": RATE, "mel_bins": 16, **options})
    data.description()
    data.normalizers()
    data.setup("fit")


def refused(path: Any, message: str, kind: Any = ValueError, **options: Any) -> None:
    with pytest.raises(kind) as error:
        start(str(path) if isinstance(path, Path) else path, **options)
    text = str(error.value)
    assert message in text, text
    assert "\n" not in text


def test_another_rate(tmp_path: Path) -> None:
    folder(tmp_path)
    place = write(tmp_path / "low" / "x.wav", sound(0, 0), rate=44100)
    refused(tmp_path, f"{place} has 44100 Hz, but 8000 are wanted: set data.resample to true")
    start(str(tmp_path), resample=True)


def test_stereo(tmp_path: Path) -> None:
    folder(tmp_path)
    place = write(tmp_path / "low" / "x.wav", np.stack([sound(0, 0)] * 2, 1))
    refused(tmp_path, f"{place} has 2 channels, but one is wanted: set data.stereo to mean or left")
    start(str(tmp_path), stereo="mean")


def test_empty_clips_and_files(tmp_path: Path) -> None:
    folder(tmp_path)
    place = write(tmp_path / "low" / "x.wav", sound(0, 0)[:0])
    refused(tmp_path, f"{place} holds no sound: it has 0 samples")
    place.write_bytes(b"")
    refused(tmp_path, f"{place} is empty (0 bytes)")


@pytest.mark.parametrize("content", [b"abc", b"RIFF\x00\x00\x00\x00WAVE", b"RIFF" + bytes(60)])
def test_files_that_are_no_sound(content: bytes, tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "low" / "x.wav").write_bytes(content)
    refused(tmp_path, f"{tmp_path / 'low' / 'x.wav'} is damaged or no .wav file")


def test_a_truncated_file(tmp_path: Path) -> None:
    place = folder(tmp_path) / "low" / "0.wav"
    place.write_bytes(place.read_bytes()[:2000])
    refused(tmp_path, f"{place} is damaged or no .wav file")


def test_clips_too_short_for_a_frame(tmp_path: Path) -> None:
    folder(tmp_path)
    write(tmp_path / "low" / "x.wav", sound(0, 0)[:150])
    refused(tmp_path, "low/x.wav of", frames=20)
    refused(tmp_path, "has 150 samples, but one frame takes 200: leave it out", frames=20)


def test_nan(tmp_path: Path) -> None:
    folder(tmp_path)
    values = sound(0, 0)
    values[800] = np.nan
    place = write(tmp_path / "low" / "0.wav", values, kind=np.float32)
    refused(tmp_path, f"{place} is not finite at 0.100 s", split={"train": 1.0})
    broken = dataset(30)
    broken["waveform"][3, 5] = np.inf
    refused(broken, "clip 3 of the dataset holds NaN or infinity", split={"train": 1.0})


def test_another_number_of_classes(tmp_path: Path) -> None:
    trained = ClipsData(dataset(30), rate=RATE, mel_bins=16).description()
    other = ClipsData(str(folder(tmp_path)), rate=RATE, mel_bins=16, classes=["high", "hiss"])
    with pytest.raises(ValueError, match="has the label 'low' at clip 16, which is none of its"):
        other.description()
    data = ClipsData(dataset(30).drop_vars("low"), rate=RATE, mel_bins=16, several=True)
    with pytest.raises(ValueError, match="classes high, hiss, low, the dataset has high, hiss"):
        data.check(trained)


def test_other_spectrograms_than_the_model_was_trained_with() -> None:
    trained = ClipsData(dataset(30), rate=RATE, mel_bins=16).description()
    for options, what in (({"mel_bins": 20}, "front_end"), ({"frames": 9}, "frames 23")):
        data = ClipsData(dataset(30), **{"rate": RATE, "mel_bins": 16, **options})
        with pytest.raises(ValueError, match=f"the model was trained with {what}"):
            data.check(trained)


def test_folders_that_are_no_layout(tmp_path: Path) -> None:
    refused(tmp_path, "holds no folders of classes: make one for each class")
    refused(tmp_path / "gone", "gone", FileNotFoundError)
    folder(tmp_path)
    (tmp_path / "owl").mkdir()
    refused(tmp_path, f"the class {tmp_path / 'owl'} has no sounds")
    (tmp_path / "owl").rmdir()
    write(tmp_path / "loose.wav", sound(0, 0))
    refused(tmp_path, f"{tmp_path / 'loose.wav'} lies in no class")
    other = folder(tmp_path / "divided", 2, ("train", "test"))
    write(other / "rest" / "low" / "x.wav", sound(0, 0))
    refused(other, f"{other / 'rest'} lies beside test, train and would be left out")


def test_tables_that_do_not_fit(tmp_path: Path) -> None:
    write(tmp_path / "0.wav", sound(0, 0))
    table = tmp_path / "x.csv"
    for text, message in (
        ("file,label\n", f"{table} has no rows"),
        ("sound,label\n0.wav,a\n", f"{table} has the columns sound, label, but no file"),
        ("file,label,split\n0.wav,a,dev\n", "has the split 'dev' in row 1"),
        ("file,label,split\n0.wav,a,train\n0.wav,b,\n", "has no split in row 2, others have"),
        ("file,label,fold\n0.wav,a,2\n", "has the folds 2, but no 1"),
        ("0.wav,a\n0.wav,b\n", f"{table} has the columns 0.wav, a, but no file"),
        ("file,label\n0.wav,a,b\n", f"{table} has 3 cells in its row 1, but 2 columns"),
        ("file,label\n0.wav,a\n,b\n", f"{table} names no file in row 2"),
        ("file,label\n0.wav,a\n0.wav,\n", f"clip 1 of {table} has no label, but one is wanted"),
        ("file,label\n0.wav,a\n0.wav,a\n", f"{table} has no class but a: a classifier needs"),
    ):
        table.write_text(text)
        refused(table, message)
    table.write_bytes("file,label\n0.wav,caf\u00e9\n".encode("latin-1"))
    refused(table, f"{table} is no table of text in UTF-8")
    table.write_text("file,label\n0.wav,a\n1.wav,b\n")
    refused(table, f"{table} names a sound that is not there: 1.wav", FileNotFoundError)
    table.write_text("file,label\n1.wav,b\n")
    refused(table, f"none of the sounds that {table} names is there", missing="skip")
    table.write_text("file,label\n0.wav,a;b\n")
    refused(table, "clip 0 of", several=False)


def test_lists_of_audioset_that_do_not_fit(tmp_path: Path) -> None:
    names, table = tmp_path / "class_labels_indices.csv", tmp_path / "eval_segments.csv"
    head = "index,mid,display_name\n"
    names.write_text(head)
    refused(tmp_path, f"{names} has no rows")
    names.write_text("mid,display_name\n/m/a,Dog\n")
    refused(tmp_path, f"{names} has the columns mid, display_name, but no index")
    names.write_text(head + "first,/m/a,Dog\n")
    refused(tmp_path, f"{names} has an index that is no number")
    names.write_text(head + "0,/m/a,Dog\n")
    refused(tmp_path, f"{tmp_path} has none of balanced_train", FileNotFoundError)
    for text, message in (
        ("aa, 0.0, 1.0\n", f"{table} has 3 cells in its row 1, not 4"),
        ('aa, 0.0, 1.0, "/m/x"\n', f"{table} has the label /m/x in row 1, which is not in"),
        ('aa, soon, 1.0, "/m/a"\n', f"{table} has no time in row 1, but 'soon'"),
    ):
        table.write_text("# YTID, start_seconds, end_seconds, positive_labels\n" + text)
        refused(tmp_path, message)


def test_a_list_of_words_that_names_a_sound_which_is_not_there(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "validation_list.txt").write_text("high/0.wav\nlow/99.wav\n")
    (tmp_path / "testing_list.txt").write_text("hiss/1.wav\n")
    refused(tmp_path, f"{tmp_path} lists a sound that is not there: low/99.wav", FileNotFoundError)


def test_a_single_class(tmp_path: Path) -> None:
    write(tmp_path / "low" / "0.wav", sound(0, 0))
    refused(tmp_path, f"{tmp_path} has no class but low: a classifier needs at least two")


def test_sounds_to_classify_that_are_none() -> None:
    reading = Reading(RATE)
    for source, message in (
        ((sound(0, 0) * 32767).astype(np.int16), "the array holds whole numbers (int16), but"),
        (dataset(3).astype(int), "waveform of the dataset holds whole numbers (int64), but"),
        (np.zeros((2, 3, 4), np.float32), "the array has shape (2, 3, 4), but waveforms are"),
        (np.zeros(0, np.float32), "the array has shape (0,), but waveforms are"),
        ({"a": 1}, "a dict is none of what holds sounds: give a file, a folder"),
        (["a.wav"], "a list is none of what holds sounds: give a file, a folder"),
    ):
        with pytest.raises(ValueError) as error:
            open_new_clips(source, reading)
        assert message in str(error.value)
    other = dataset(3).assign(temperature=("sample", np.arange(3) / 2))
    assert len(open_new_clips(other, reading)) == 3  # what else is there does not matter


def test_arrays_that_do_not_fit() -> None:
    values = dataset(30)
    refused(values.rename(waveform="sound"), "the dataset has no variable waveform")
    refused(values, "the dataset has 8000 Hz, but 16000 are wanted", rate=16000)
    refused(values.drop_vars("time"), "has no coordinate time in seconds")
    refused(values.assign(low=("sample", np.full(30, 0.5))), "low of the dataset is 0.5 at clip 0")
    refused(values.drop_vars(list(CLASSES)), "the dataset has no labels")
    refused(values, "the dataset has no variable owl", classes=["owl"])


def test_divisions_that_do_not_work(tmp_path: Path) -> None:
    root = folder(tmp_path, 3, ("train", "test"))
    refused(root, "split names 'test' clips", split={"train": 5, "test": 2})
    refused(
        dataset(30),
        "no training clip of the dataset is of the class",
        split={"train": 1, "validation": 29},
        split_seed=1,
    )


def test_silence() -> None:
    silent = dataset(30) * 1.0
    silent["waveform"][:] = 0.0
    refused(silent, "all training clips of the dataset are silent alike")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 0}, "frames must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"stereo": "right"}, "stereo='right': choose refuse, mean, left"),
        ({"long": "all"}, "long='all': choose one, windows"),
        ({"missing": "ignore"}, "missing='ignore': choose refuse, skip"),
        ({"jitter": [1]}, "jitter is [1], but must be two numbers of Hz"),
        ({"normalize": "none"}, "normalize='none': choose train, or a mean and std"),
        ({"front_end": "mfcc"}, "front_end is 'mfcc', but must be one of"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        ClipsData(dataset(3), **options)
    assert message in str(error.value)


def test_published_statistics_that_are_none() -> None:
    refused(dataset(30), "must be a mean and a positive std", normalize={"mean": 0.0, "std": 0.0})


def test_a_library_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    (tmp_path / "low").mkdir()
    (tmp_path / "low" / "x.flac").write_bytes(b"fLaC")
    write(tmp_path / "other" / "0.wav", sound(0, 0))
    monkeypatch.setitem(sys.modules, "soundfile", None)
    refused(tmp_path, 'needs soundfile: pip install "surform[audio]"', ImportError)
