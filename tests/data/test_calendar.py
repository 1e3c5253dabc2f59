"""Calendar features: exact against the official numbers, and what they refuse."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from surform.data.calendar import calendar_features, calendar_names, frequency_of

GOLDEN = Path(__file__).parents[1] / "golden/informer/time_features.safetensors"


def _recorded():
    tensors = load_file(GOLDEN)
    times = tensors["in/epoch_seconds"].astype("datetime64[s]")
    return times, {k.removeprefix("out/"): v for k, v in tensors.items() if k.startswith("out/")}


def test_every_recorded_frequency_is_met():
    times, outputs = _recorded()
    assert len(outputs) >= 15
    for name, expected in outputs.items():
        encoding, freq = name.split(".")
        kind = "continuous" if encoding == "timeF" else "integer"
        found = calendar_features(times, freq, kind)
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15, err_msg=name)
        assert found.shape[1] == len(calendar_names(freq, kind))


def test_agrees_with_the_standard_library_over_decades():
    start, random = datetime(1969, 12, 27), np.random.default_rng(0)
    stamps = [start + timedelta(days=i, seconds=int(random.integers(86400))) for i in range(22000)]
    times = np.array(stamps, dtype="datetime64[us]")
    integers = calendar_features(times, "15min", "integer")
    expected = [(t.month, t.day, t.weekday(), t.hour, t.minute // 15) for t in stamps]
    np.testing.assert_array_equal(integers, expected)
    weeks = calendar_features(times, "1W")
    iso = [(t.isocalendar().week - 1) / 52 - 0.5 for t in stamps]
    np.testing.assert_allclose(weeks[:, 1], iso, atol=1e-15)
    seconds = calendar_features(times, "1s")
    np.testing.assert_allclose((seconds[:, 0] + 0.5) * 59, [t.second for t in stamps], atol=1e-12)
    np.testing.assert_allclose(
        (seconds[:, -1] + 0.5) * 365 + 1, [t.timetuple().tm_yday for t in stamps], atol=1e-11
    )
    for step in ("1s", "1W", "MS"):
        assert np.abs(calendar_features(times, step)).max() <= 0.5


@pytest.mark.parametrize(
    ("step", "name"),
    [
        ("1h", "hour"),
        ("3h", "hour"),
        ("H", "hour"),
        ("15min", "minute"),
        ("t", "minute"),
        ("1D", "day"),
        ("7D", "day"),
        ("1B", "business day"),
        ("1W", "week"),
        ("W-SUN", "week"),
        ("MS", "month"),
        ("m", "month"),
        ("QS-DEC", "quarter"),
        ("YS", "year"),
        ("a", "year"),
        ("1s", "second"),
    ],
)
def test_spellings_of_a_step(step, name):
    assert frequency_of(step) == name


def test_columns_in_order():
    assert calendar_names("1h") == ("hour", "weekday", "monthday", "yearday")
    assert calendar_names("1W") == ("monthday", "week")
    assert calendar_names("YS") == ("month",)
    assert calendar_names("1D", "integer") == ("month", "monthday", "weekday")


@pytest.mark.parametrize("step", ["", "1", "ms", "fortnight", "1h30"])
def test_unknown_steps_are_refused(step):
    with pytest.raises(ValueError, match=r"time step .* is not known"):
        calendar_features(np.array(["2020-01-01"], dtype="datetime64[s]"), step)


def test_what_is_no_time_is_refused():
    times = np.array(["2020-01-01", "NaT"], dtype="datetime64[s]")
    with pytest.raises(ValueError, match="time stamp 1 is missing"):
        calendar_features(times, "1h")
    with pytest.raises(TypeError, match="datetime64"):
        calendar_features(np.arange(3), "1h")
    with pytest.raises(ValueError, match="one axis"):
        calendar_features(times[None, :1], "1h")
    with pytest.raises(ValueError, match="encoding"):
        calendar_features(times[:1], "1h", "sine")  # type: ignore[arg-type]


def test_no_stamps_give_no_rows():
    assert calendar_features(np.array([], dtype="datetime64[s]"), "1h").shape == (0, 4)
