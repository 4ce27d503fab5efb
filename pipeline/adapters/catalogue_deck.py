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

DeckRows = list[tuple[str | None, ...]]
"""Tuples: 200,000 lists would be looked through by every collection of garbage for as long as the deck is in use."""


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
    order = [names.index(name) if name in names else len(names) for name in COLUMNS]
    rows: dict[str, tuple[str | None, ...]] = {}
    seen: dict[str, int] = {}
    good: dict[str, set[str | None]] = {name: {None} for name in COLUMNS[1:]}
    good_rates, good_fees, good_firsts, good_nexts = good.values()
    for line, cells in numbered:
        found: list[str | None] = [cell.strip() or None for cell in cells]
        if not any(found):
            continue
        if len(found) > len(names):
            reader.note(Place(file, line), f"{len(found)} cells under {len(names)} columns")
            continue
        found += [None] * (len(names) + 1 - len(found))
        prefix, rate, fee, first, following = row = tuple([found[at] for at in order])
        if prefix is None or not PREFIX.fullmatch(prefix):
            reader.note(Place(file, line), f"{prefix!r} is no prefix: {PREFIX_HELP}")
        elif prefix in seen:
            earlier = Place(file, seen[prefix])
            reader.note(Place(file, line), f"prefix {prefix} is in this deck twice; keep one", earlier)
        elif rate is None:
            reader.note(Place(file, line), f"prefix {prefix} has no rate")
        elif (
            rate in good_rates and fee in good_fees and first in good_firsts and following in good_nexts
        ) or _numbers_hold(row, good, Place(file, line), reader):
            seen[prefix] = line
            rows[prefix] = row
    return [rows[prefix] for prefix in sorted(rows)]


def _numbers_hold(row: tuple[str | None, ...], good: dict[str, set[str | None]], place: Place, reader: Reader) -> bool:
    """Check the numbers that were not met before in their columns: a large deck has few of them."""
    for name, text in zip(COLUMNS[1:], row[1:], strict=True):
        if text is None or text in good[name]:
            continue
        try:
            value = parse_micros(text) if name == "connect_fee" else parse_ratio(text)[0]
        except AmountError as error:
            reader.note(place, f"{name}: {error}")
            return False
        if value < 0 or (value == 0 and name in {"first", "next"}):
            reader.note(place, f"{name} {text} is too small")
            return False
        good[name].add(text)
    return True
