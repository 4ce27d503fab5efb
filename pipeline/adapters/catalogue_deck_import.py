"""Rate decks of other systems: their column names read as ours, every conflict named, nothing guessed.

Known are the price lists of a2billing and Kazoo, and the plain names that carriers use. Rates are taken as prices a
minute and blocks as seconds, as those systems have them; so the deck is for a rule with `unit: s` and `per: 60`.
"""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.adapters.catalogue_deck import COLUMNS, PREFIX
from pipeline.adapters.catalogue_reader import Problem, Reader
from pipeline.adapters.catalogue_yaml import Place
from pipeline.domain.money import AmountError, parse_micros, parse_ratio

if TYPE_CHECKING:
    import _csv

NAMES: Final = {
    "prefix": ("prefix", "dialprefix", "dialcode", "code", "areacode", "destinationcode", "dnisprefix", "breakout"),
    "rate": ("rate", "rateinitial", "ratecost", "price", "sellrate", "ratepermin", "rateperminute", "priceperminute"),
    "connect_fee": ("connectfee", "connectcharge", "connectioncharge", "ratesurcharge", "surcharge", "setupfee"),
    "first": (
        "first",
        "initblock",
        "rateminimum",
        "minimumduration",
        "firstinterval",
        "initialincrement",
        "minduration",
    ),
    "next": ("next", "billingblock", "rateincrement", "increment", "nextinterval", "subsequentincrement"),
}
"""Our columns, and what others call them: letters alone, in the order in which they are preferred."""

_RANGE: Final = re.compile(r"([0-9]{1,15})\s*-\s*([0-9]{1,15})")
_RANGE_MAX: Final = 10_000
_PREFIXES_MAX: Final = 500_000
"""Of one list, ranges written out."""


class Imported(NamedTuple):
    """A deck in our columns: rows by prefix, which column each came from, what was not read, and all conflicts."""

    rows: tuple[tuple[str, ...], ...]
    columns: dict[str, str]
    unread: tuple[str, ...]
    repeated: int
    problems: tuple[Problem, ...]


def import_deck(path: Path) -> Imported:
    """Read a price list; where `problems` is not empty its rows are not to be used.

    The same prefix twice with the same price is taken once and counted; with another price it is a problem that names
    both lines.
    """
    reader = Reader()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        reader.note(Place(path.name, 1), "the file is not UTF-8; save it as UTF-8 first")
        return Imported((), {}, (), 0, tuple(reader.problems))
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    header = next(_well_formed(lines, path.name, reader), [])
    columns = _columns(header, Place(path.name, 1), reader)
    rows: dict[str, tuple[Place, tuple[str, ...]]] = {}
    repeated = 0
    for cells in _well_formed(lines, path.name, reader) if not reader.problems else ():
        if len(rows) + repeated > _PREFIXES_MAX:
            reader.note(Place(path.name, lines.line_num), f"more than {_PREFIXES_MAX} prefixes, ranges written out")
            break
        if not any(cell.strip() for cell in cells):
            continue
        place = Place(path.name, lines.line_num)
        row = {name: cells[at].strip() if at < len(cells) else "" for name, at in columns.items()}
        values = _values(row, place, reader)
        for prefix in _prefixes(row["prefix"], place, reader):
            known = rows.get(prefix)
            if known is None:
                rows[prefix] = (place, values)
            elif known[1] == values:
                repeated += 1
            else:
                message = f"prefix {prefix} has another price here ({_price(values)}) than before ({_price(known[1])})"
                reader.note(place, f"{message}; keep one", known[0])
    used = set(columns.values())
    return Imported(
        tuple((prefix, *values) for prefix, (_, values) in sorted(rows.items())),
        {name: header[at].strip() for name, at in columns.items()},
        tuple(name.strip() for at, name in enumerate(header) if at not in used and name.strip()),
        repeated,
        tuple(reader.problems),
    )


def deck_text(imported: Imported) -> str:
    """Write the rows as a deck of ours, columns that are empty throughout left out."""
    kept = [at for at in range(len(COLUMNS)) if at < 2 or any(row[at] for row in imported.rows)]
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([COLUMNS[at] for at in kept])
    writer.writerows([row[at] for at in kept] for row in imported.rows)
    return out.getvalue()


def _well_formed(lines: "_csv.Reader", file: str, reader: Reader) -> Iterator[list[str]]:
    """Yield the rows up to the first that is no CSV."""
    try:
        yield from lines
    except csv.Error as error:
        reader.note(Place(file, lines.line_num), f"the list is no CSV: {error}")


def _delimiter(text: str) -> str:
    first = text.partition("\n")[0]
    return max((";", "\t", ","), key=lambda delimiter: (first.count(delimiter), delimiter == ","))


def _columns(header: list[str], place: Place, reader: Reader) -> dict[str, int]:
    """Return where each of our columns stands; the name preferred most counts where several fit."""
    plain = [re.sub(r"[^a-z]", "", name.lower()) for name in header]
    found: dict[str, int] = {}
    for column, names in NAMES.items():
        known = next((name for name in names if name in plain), None)
        if known is None:
            continue
        found[column] = plain.index(known)
        if plain.count(known) > 1:
            reader.note(place, f"column {header[found[column]]!r} is there twice; leave one out")
    for column in ("prefix", "rate"):
        if column not in found:
            known_names = ", ".join(NAMES[column])
            reader.note(
                place, f"no column for the {column} among {', '.join(header) or 'nothing'}; known: {known_names}"
            )
    return found


def _prefixes(text: str, place: Place, reader: Reader) -> Iterator[str]:
    """Yield the prefixes of a cell: one, a list, or a range of codes of equal length; `00` and `+` are the same."""
    for item in re.split(r"[;,|/]", text):
        code = item.strip().removeprefix("+")
        span = _RANGE.fullmatch(code)
        if span is not None:
            low, high = span.groups()
            if len(low) != len(high) or not 0 <= int(high) - int(low) < _RANGE_MAX:
                reader.note(place, f"{item.strip()!r} is no range of codes of equal length, the lower one first")
                continue
            yield from (f"+{code:0{len(low)}d}" for code in range(int(low), int(high) + 1))
            continue
        prefix = "+" + code.replace(" ", "").removeprefix("00")
        if PREFIX.fullmatch(prefix) and prefix != "+":
            yield prefix
        else:
            reader.note(
                place, f"{item.strip()!r} is no prefix: digits of a number with its country code, like 44 or +44"
            )


def _values(row: dict[str, str], place: Place, reader: Reader) -> tuple[str, ...]:
    """Return rate, connect_fee, first, next in our spelling; a fee or block of 0 is none."""
    values = []
    for column in COLUMNS[1:]:
        text = row.get(column, "")
        if "," in text and "." not in text:
            text = text.replace(",", ".")  # a decimal comma
        try:
            number = (0, 1) if not text else parse_ratio(text)
            if column == "connect_fee" and text:
                parse_micros(text)
        except AmountError as error:
            reader.note(place, f"{column}: {error}")
            number, text = (0, 1), ""
        if number[0] < 0:
            reader.note(place, f"{column}: {text} is below 0")
        if column == "rate" and not text:
            reader.note(place, f"prefix {row['prefix']} has no rate")
        values.append("" if column != "rate" and not number[0] else text)
    if values[2] and not values[3]:
        values[3] = values[2] if "next" not in row else "1"
    return tuple(values)


def _price(values: tuple[str, ...]) -> str:
    named = zip(COLUMNS[1:], values, strict=True)
    return ", ".join(f"{name} {value}" for name, value in named if value)
