"""What an operator tells the detectors: parameters (TOML), the places of his cells (CSV), his dear prefixes."""

import csv
import json
import math
import tomllib
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from pipeline.adapters.command_json import parse_time
from pipeline.domain.catalogue import DECK, HOME
from pipeline.domain.detectors.control_total import Declared, Totals
from pipeline.domain.detectors.event_time import HOUR_MS
from pipeline.domain.detectors.parameters import DetectorParameters, with_values
from pipeline.domain.detectors.ranges import HOT, Prefixes
from pipeline.domain.detectors.use import Reference

EARTH_M: Final = 6_371_000
DEAR_TIMES: Final = 4
CELL_COLUMNS: Final = ("cell", "latitude", "longitude")


class ReferenceFileError(ValueError):
    """A file of parameters or cells is wrong; the message says where."""


def read_parameters(path: Path | None) -> DetectorParameters:
    """Return the defaults, with the values of a TOML file in their place: a table a detector.

    Raises ReferenceFileError for what is no TOML, a detector or parameter that does not exist, or a value that fits
    none.
    """
    if path is None:
        return DetectorParameters()
    try:
        return with_values(tomllib.loads(path.read_text("utf-8")))
    except (ValueError, AttributeError) as error:
        raise ReferenceFileError(f"{path}: {error}") from None


def read_cells(path: Path | None) -> dict[str, tuple[int, int, int]]:
    """Return the place of each cell, from a CSV with the columns cell, latitude, longitude (degrees).

    A place is metres from the middle of the Earth along three axes. Raises ReferenceFileError with the line that is
    wrong.
    """
    if path is None:
        return {}
    found = {}
    with path.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines)
        if tuple(rows.fieldnames or ()) != CELL_COLUMNS:
            raise ReferenceFileError(f"{path}: the first line is {','.join(CELL_COLUMNS)}")
        for row in rows:
            try:
                latitude, longitude = float(row["latitude"]), float(row["longitude"])
            except (TypeError, ValueError):
                raise ReferenceFileError(f"{path}:{rows.line_num}: a latitude or longitude is no number") from None
            if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
                raise ReferenceFileError(f"{path}:{rows.line_num}: there is no such place")
            found[row["cell"]] = place(latitude, longitude)
    return found


def read_totals(path: Path | None) -> list[Declared]:
    """Return what sources declare, from a file with a JSON object a line.

    `source`, `from` and `to` (ISO 8601, on the hour), `records`, `duration_ms`, `octets`, `messages`. Raises
    ReferenceFileError with the line that is wrong.
    """
    if path is None:
        return []
    found = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            begin, end = parse_time(row["from"]), parse_time(row["to"])
            totals = Totals(*(int(row[name]) for name in Totals._fields))
            source = str(row["source"])
        except (ValueError, KeyError, TypeError) as error:
            raise ReferenceFileError(f"{path}:{number}: {type(error).__name__} {error}") from None
        if begin is None or end is None or begin % HOUR_MS or end % HOUR_MS or begin >= end:
            raise ReferenceFileError(f"{path}:{number}: `from` and `to` are times on the hour, in this order")
        found.append(Declared(source, begin, end, totals))
    return found


def place(latitude: float, longitude: float) -> tuple[int, int, int]:
    """Return a place given in degrees as metres from the middle of the Earth."""
    up, round_ = math.radians(latitude), math.radians(longitude)
    return (
        round(EARTH_M * math.cos(up) * math.cos(round_)),
        round(EARTH_M * math.cos(up) * math.sin(round_)),
        round(EARTH_M * math.sin(up)),
    )


def reference(
    country_code: str, cells: Mapping[str, tuple[int, int, int]], catalogue: Mapping[str, Any] | None = None
) -> Reference:
    """Return what detectors know besides the records; home networks and dear prefixes from a document."""
    hot: tuple[str, ...] = HOT
    home: frozenset[str] = frozenset()
    if catalogue is not None:
        hot = (*hot, *dear_prefixes(catalogue))
        home = frozenset(catalogue["networks"].get(HOME, ()))
    return Reference(f"+{country_code}", home, Prefixes(hot), dict(cells))


def dear_prefixes(catalogue: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the prefixes whose rate is at least DEAR_TIMES the median rate of their deck, of a document."""
    found: list[str] = []
    for zone in catalogue["zones"].values():
        rates = {prefix: Fraction(rate) for prefix, rate, *_ in zone.get(DECK, ())}
        if rates:
            dear = DEAR_TIMES * sorted(rates.values())[len(rates) // 2]
            found += [prefix for prefix, rate in rates.items() if rate >= dear and prefix.startswith("+")]
    return tuple(found)
