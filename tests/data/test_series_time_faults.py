"""Times and ids of series that cannot be used: one sentence each."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.series_faults import altered, prepare, refused
from tests.data.series_files import hourly_rows, long_rows, write

pytestmark = pytest.mark.fault


def test_duplicate_time(tmp_path: Path) -> None:
    path = altered(tmp_path, lambda t: t[5].__setitem__(0, t[4][0]))
    refused("line 6: the time 2020-01-01 03:00:00 appears twice; several series in one table need",
            lambda: prepare(path))  # fmt: skip


def test_times_below_a_second_are_told_apart(tmp_path: Path) -> None:
    rows = [[f"2020-01-01 00:00:00.{k:03d}", "1.0"] for k in range(60)]
    path = write(tmp_path / "a.csv", [["date", "u"], *rows[:9], *rows[10:]])
    refused(r"missing between 2020-01-01 00:00:00\.008000 and 2020-01-01 00:00:00\.010000",
            lambda: prepare(path))  # fmt: skip


def test_unsorted_times(tmp_path: Path) -> None:
    path = altered(tmp_path, lambda t: t.insert(8, t.pop(20)))
    refused("line 10: 2020-01-01 07:00:00 comes after 2020-01-01 19:00:00: sort the rows by time",
            lambda: prepare(path))  # fmt: skip


def test_missing_rows(tmp_path: Path) -> None:
    path = altered(tmp_path, lambda t: t.__delitem__(slice(30, 33)))
    refused(r"3 rows are missing between 2020-01-02 04:00:00 and 2020-01-02 08:00:00 \(line 31, "
            r"step 1h\): choose fill and fill_limit, or gaps: split \(--data.fill interpolate "
            r"--data.fill_limit 6, or --data.gaps split\)",
            lambda: prepare(path))  # fmt: skip
    refused("more than fill_limit=2 rows are missing before 2020-01-02 08:00:00",
            lambda: prepare(path, fill="previous", fill_limit=2))  # fmt: skip


def test_irregular_time(tmp_path: Path) -> None:
    path = altered(tmp_path, lambda t: t[9].__setitem__(0, "2020-01-01 08:20:00"))
    refused("line 10: 2020-01-01 08:20:00 does not lie on the step of 1h that begins at 2020-01-01",
            lambda: prepare(path))  # fmt: skip


def test_unreadable_time(tmp_path: Path) -> None:
    path = altered(tmp_path, lambda t: t[7].__setitem__(0, "2020-13-45"))
    refused("column 'date' of .*, line 8: '2020-13-45' is not a time; valid: 2016-07-01",
            lambda: prepare(path))  # fmt: skip
    path = altered(tmp_path, lambda t: t[7].__setitem__(0, ""))
    refused("line 8: '' is not a time", lambda: prepare(path))
    path = altered(tmp_path, lambda t: [r.__setitem__(0, "31/12/2020") for r in t[1:]])
    refused("line 2: '31/12/2020' is not a time; valid: .* give time_format", lambda: prepare(path))
    refused("line 2: '31/12/2020' is not a time; valid: the form '%m/%d/%Y'",
            lambda: prepare(path, time_format="%m/%d/%Y"))  # fmt: skip


def test_times_with_and_without_a_zone(tmp_path: Path) -> None:
    path = altered(tmp_path, lambda t: t[40].__setitem__(0, t[40][0] + "Z"))
    refused(
        "mixes times with and without a zone: .* at line 2, .*Z' at line 41", lambda: prepare(path)
    )


def test_step_that_the_times_do_not_have(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", hourly_rows())
    refused("line 3: .* does not lie on the step of 1D", lambda: prepare(path, step="1D"))
    refused("1 rows .* are missing between", lambda: prepare(path, step="30min"))
    refused("step 'fortnight': choose 1h, 15min", lambda: prepare(path, step="fortnight"))


def test_marks_without_dates(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [row[1:] for row in hourly_rows()])
    refused("marks need dates, .* has none", lambda: prepare(path, step="", marks=True))
    refused(r"choose marks: false \(--data.marks false\)",
            lambda: prepare(path, step="", marks=True))  # fmt: skip
    assert prepare(path, step="", marks=None).description().marks == ()
    refused(
        "time step 'hourly' is not known", lambda: prepare(path, marks=True, marks_step="hourly")
    )
    numbers = write(tmp_path / "n.csv", [["time", "a"], *([str(i), "1"] for i in range(99))])
    refused("step '1h', but column 'time' of .* holds numbers: give time_format",
            lambda: prepare(numbers, step="1h"))  # fmt: skip


def test_two_time_columns(tmp_path: Path) -> None:
    table = [[*row, row[0]] for row in hourly_rows()]
    table[0] = ["begin", "c0", "c1", "end"]
    refused(r"has several columns of times \(begin, end\): give time",
            lambda: prepare(write(tmp_path / "a.csv", table)))  # fmt: skip


# -- long format and covariates --------------------------------------------------------------------


def test_duplicate_id_and_time(tmp_path: Path) -> None:
    table = long_rows({"a": 90, "b": 90})
    table[120][1] = table[119][1]
    path = write(tmp_path / "a.csv", table)
    refused("line 121: the time .* appears twice in series 'b'", lambda: prepare(path, id="id"))


def test_missing_id(tmp_path: Path) -> None:
    table = long_rows({"a": 90, "b": 90})
    table[100][0] = ""
    path = write(tmp_path / "a.csv", table)
    refused("line 101: the id column 'id' is empty", lambda: prepare(path, id="id"))


def test_static_covariate_that_varies(tmp_path: Path) -> None:
    table = long_rows({"a": 90, "b": 90}, static=True)
    table[100][3] = "7"
    path = write(tmp_path / "a.csv", table)
    refused("line 101: the static covariate 'size' of series 'b' is 7, but 2 before",
            lambda: prepare(path, id="id", static=["size"]))  # fmt: skip
    table[100][3] = ""
    path = write(tmp_path / "a.csv", table)
    refused("line 101: the static covariate 'size' is missing",
            lambda: prepare(path, id="id", static=["size"]))  # fmt: skip


def test_known_covariates_of_the_future(tmp_path: Path) -> None:
    table = hourly_rows(200)
    for row in table[197:]:
        row[1] = ""  # c0 ends 4 rows before c1
    path = write(tmp_path / "a.csv", table)
    data = prepare(path, variates=["c0"], known=["c1"])
    refused(r"holds 4 rows after its last variates, a forecast needs the known covariates \(c1\)",
            data.forecast_windows)  # fmt: skip
    for row in table[190:]:
        row[1] = ""
    table[194][2] = ""
    data = prepare(write(tmp_path / "b.csv", table), variates=["c0"], known=["c1"])
    refused("line 195: the known covariate 'c1' is missing in the future", data.forecast_windows)
