"""Rate decks: CSV files of prefixes with a rate each, as carriers send them."""

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pipeline.adapters.catalogue_reader import Reader
from pipeline.adapters.catalogue_yaml import Place
from pipeline.domain.money import AmountError, parse_micros, parse_ratio

COLUMNS: Final = ("prefix", "rate", "connect_fee", "first", "next")
REQUIRED_COLUMNS: Final = 2
PREFIX: Final = re.compile(r"\+([1-9][0-9]{0,14})?|[0-9*#]{1,8}")
PREFIX_HELP: Final = "a prefix is '+' and digits (+8613), or a whole short code of up to 8 digits, '*' or '#' (10086)"

DeckRows = list[list[str | None]]


def read_deck(path: Path, file: str, reader: Reader) -> DeckRows:
    """Read a deck as rows of prefix, rate, connect_fee, first, next (None where a cell is empty), by prefix.

    Problems are noted with the file and the line; a prefix that stands there twice is one.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            return _rows(csv.reader(lines, strict=True), file, reader)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        reader.note(Place(file, 1), f"the deck cannot be read: {reason}")
    except csv.Error as error:
        reader.note(Place(file, 1), f"the deck is no CSV: {error}")
    return []


def _rows(lines: Iterable[list[str]], file: str, reader: Reader) -> DeckRows:
    numbered = iter(enumerate(lines, start=1))
    _, header = next(numbered, (1, []))
    names = [name.strip() for name in header]
    wanted = len(names) >= REQUIRED_COLUMNS and names[:REQUIRED_COLUMNS] == list(COLUMNS[:REQUIRED_COLUMNS])
    if not wanted or len(set(names)) != len(names) or not set(names) <= set(COLUMNS):
        reader.note(Place(file, 1), f"a deck begins with the line prefix,rate[,connect_fee,first,next], not {header}")
        return []
    rows: dict[str, list[str | None]] = {}
    seen: dict[str, Place] = {}
    for line, cells in numbered:
        if not any(cell.strip() for cell in cells):
            continue
        place = Place(file, line)
        if len(cells) > len(names):
            reader.note(place, f"{len(cells)} cells under {len(names)} columns")
            continue
        row: dict[str, str | None] = {name: cell.strip() or None for name, cell in zip(names, cells, strict=False)}
        prefix, rate = row.get("prefix"), row.get("rate")
        if prefix is None or not PREFIX.fullmatch(prefix):
            reader.note(place, f"{prefix!r} is no prefix: {PREFIX_HELP}")
        elif prefix in seen:
            reader.note(place, f"prefix {prefix} is in this deck twice; keep one", seen[prefix])
        elif rate is None:
            reader.note(place, f"prefix {prefix} has no rate")
        elif _numbers_hold(row, place, reader):
            seen[prefix] = place
            rows[prefix] = [row.get(name) for name in COLUMNS]
    return [rows[prefix] for prefix in sorted(rows)]


def _numbers_hold(row: dict[str, str | None], place: Place, reader: Reader) -> bool:
    for name in COLUMNS[1:]:
        text = row.get(name)
        if text is None:
            continue
        try:
            value = parse_micros(text) if name == "connect_fee" else parse_ratio(text)[0]
        except AmountError as error:
            reader.note(place, f"{name}: {error}")
            return False
        if value < 0 or (value == 0 and name in {"first", "next"}):
            reader.note(place, f"{name} {text} is too small")
            return False
    return True
