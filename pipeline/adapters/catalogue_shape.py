"""From the author's words to the canonical document: catalogue sections, and the names they may refer to.

The document says everything that the author left to a default, in one spelling, so that equal tariffs have equal
hashes, whatever file or order of keys they came from.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from pipeline.adapters.catalogue_deck import PREFIX, PREFIX_HELP, read_deck
from pipeline.adapters.catalogue_money import read_tax
from pipeline.adapters.catalogue_offsets import utc_offsets
from pipeline.adapters.catalogue_plans import Names, read_plan, rounding_of
from pipeline.adapters.catalogue_reader import Reader
from pipeline.adapters.catalogue_yaml import Place, Value
from pipeline.domain.catalogue import ANYWHERE, DECK, FORMAT, HOME, make_zone_of, time_of_day_ms
from pipeline.domain.tariff_time import WEEKDAYS

Section = dict[str, Any]

_SCALARS: Final = ("operator", "currency", "timezone", "rounding", "tax")
_NAMED: Final = ("zones", "networks", "calendars", "bands")
_ROUNDING: Final = {"decimals": 2, "mode": "half_up"}
_TOP: Final = (*_SCALARS, *_NAMED, "plans")


class Merged:
    """The files of one directory as if they were one."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.scalars: dict[str, Value] = {}
        self.named: dict[str, dict[str, Value]] = {section: {} for section in _NAMED}
        self.plans: list[Value] = []

    def add(self, root: Value) -> None:
        """Take over one file's sections; what stands in two files is noted with both places."""
        reader = self._reader
        given = reader.fields(root, "a catalogue file", (), _TOP)
        for key in _SCALARS:
            if key in given:
                known = self.scalars.setdefault(key, given[key])
                if known is not given[key]:
                    reader.note(given[key].place, f"{key} is said twice; say it in one file", known.place)
        for section in _NAMED:
            for name, value in reader.named(given.get(section), section).items():
                known = self.named[section].setdefault(name, value)
                if known is not value:
                    reader.note(value.place, f"{section}: {name!r} is defined twice; rename one", known.place)
        self.plans.extend(reader.items(given.get("plans"), "plans"))


def build(merged: Merged, root: Path, reader: Reader) -> tuple[Section, list[dict[str, Place]]]:
    """Return the document without `effective_from`, and for each plan the place of each of its rules by id."""
    start = Place(".", 1)
    for key in ("currency", "timezone"):
        if key not in merged.scalars:
            reader.note(start, f"the catalogue has no {key!r}; say it once, in any of its files")
    timezone = reader.text(merged.scalars.get("timezone"), "timezone", "UTC")
    offsets = utc_offsets(timezone)
    if offsets is None:
        reader.note(
            merged.scalars["timezone"].place, f"timezone {timezone!r} is not known; write it like Asia/Shanghai"
        )
        offsets = ((0, 0),)
    calendars = _each(merged.named["calendars"], _calendar, reader)
    zones = {name: _zone(name, value, root, reader) for name, value in merged.named["zones"].items()}
    networks = _each(merged.named["networks"], _network, reader)
    if ANYWHERE in networks:
        reader.note(merged.named["networks"][ANYWHERE].place, f"networks: {ANYWHERE!r} means every network; rename it")
    bands = {name: _band(name, value, calendars, reader) for name, value in merged.named["bands"].items()}
    names = Names({name: make_zone_of(name, zone) for name, zone in zones.items()}, {HOME, ANYWHERE, *networks}, bands)
    plans = []
    places: list[dict[str, Place]] = []
    known: dict[tuple[str, int], Place] = {}
    for value in merged.plans:
        plan, rule_places = read_plan(value, names, reader)
        other = known.setdefault((plan["id"], plan["valid_from"]), value.place)
        if other is not value.place:
            reader.note(value.place, f"plan {plan['id']!r} is there twice; give the newer a later valid_from", other)
        plans.append(plan)
        places.append(rule_places)
    rounding = merged.scalars.get("rounding")
    document = {
        "format": FORMAT,
        "operator": reader.text(merged.scalars.get("operator"), "operator"),
        "currency": currency_of(merged.scalars.get("currency"), reader),
        "timezone": timezone,
        "offsets": [list(offset) for offset in offsets],
        "rounding": rounding_of(rounding, reader) if rounding else dict(_ROUNDING),
        "tax": read_tax(merged.scalars.get("tax"), "the catalogue", reader),
        "zones": zones,
        "networks": networks,
        "calendars": calendars,
        "bands": bands,
        "plans": plans,
    }
    return document, places


def currency_of(value: Value | None, reader: Reader) -> str:
    """Return an ISO 4217 code."""
    text = reader.text(value, "currency")
    if value is not None and not (len(text) == 3 and text.isascii() and text.isalpha() and text.isupper()):
        reader.note(value.place, f"currency is a code of three capital letters like CNY, not {text!r}")
    return text


def _each(section: Mapping[str, Value], read: Callable[[str, Value, Reader], Any], reader: Reader) -> dict[str, Any]:
    return {name: read(name, value, reader) for name, value in section.items()}


def _zone(name: str, value: Value, root: Path, reader: Reader) -> Section:
    what = f"zone {name!r}"
    given = reader.fields(value, what, (), ("prefixes", "file"))
    if ("prefixes" in given) == ("file" in given):
        reader.note(value.place, f"{what}: give either prefixes or file")
        return {"prefixes": []}
    if "file" in given:
        file = reader.text(given["file"], f"{what}: file")
        path = _file_within(root, file)
        if path is None:
            reader.note(given["file"].place, f"{what}: there is no file {file!r} in the catalogue's directory")
            return {"prefixes": []}
        return {DECK: read_deck(path, file, reader)}
    prefixes = _texts(given["prefixes"], f"{what}: prefixes", reader)
    for text, item in prefixes.items():
        if not PREFIX.fullmatch(text):
            reader.note(item.place, f"{what}: {text!r} is no prefix: {PREFIX_HELP}")
    return {"prefixes": sorted(prefixes)}


def _file_within(root: Path, file: str) -> Path | None:
    """Return the path of a file of the catalogue's directory; None where there is none, or no such name can be."""
    try:
        path = (root / file).resolve()
        return path if path.is_relative_to(root.resolve()) and path.is_file() else None
    except (OSError, ValueError):
        return None


def _texts(value: Value | None, what: str, reader: Reader) -> dict[str, Value]:
    """Return a list's texts, each with its place; one that is there twice is noted."""
    found: dict[str, Value] = {}
    for item in reader.items(value, what):
        text = reader.text(item, what)
        if text in found:
            reader.note(item.place, f"{what}: {text!r} is there twice", found[text].place)
        found.setdefault(text, item)
    return found


def _network(name: str, value: Value, reader: Reader) -> list[str]:
    codes = _texts(value, f"network group {name!r}", reader)
    for code, item in codes.items():
        if not (code.isascii() and code.isdigit() and len(code) in {5, 6}):
            reader.note(item.place, f"network group {name!r}: {code!r} is no MCC+MNC of 5 or 6 digits, like 46001")
    return sorted(codes)


def _calendar(name: str, value: Value, reader: Reader) -> Section:
    what = f"calendar {name!r}"
    given = reader.fields(value, what, (), ("holidays", "workdays"))
    days = {
        key: {reader.date(item, f"{what}: {key}"): item for item in reader.items(given.get(key), f"{what}: {key}")}
        for key in ("holidays", "workdays")
    }
    for day in days["holidays"].keys() & days["workdays"].keys():
        holiday, workday = days["holidays"][day], days["workdays"][day]
        reader.note(workday.place, f"{what}: {day} cannot be a holiday and a workday", holiday.place)
    return {key: sorted(found) for key, found in days.items()}


def _band(name: str, value: Value, calendars: Mapping[str, Any], reader: Reader) -> Section:
    what = f"band {name!r}"
    given = reader.fields(value, what, (), ("calendar", "days", "from", "to"))
    days = [reader.choice(item, f"{what}: days", WEEKDAYS, "mon") for item in reader.items(given.get("days"), what)]
    begin, end = (_hour(given.get(key), f"{what}: {key}", default, reader) for key, default in _HOURS)
    if time_of_day_ms(begin) >= time_of_day_ms(end):
        reader.note(value.place, f"{what}: 'to' is after 'from'; a band over midnight is written as two bands")
    return {
        "calendar": reader.choice(given.get("calendar"), f"{what}: calendar", calendars, "") or None,
        "days": [day for day in WEEKDAYS if day in days or "days" not in given],
        "from": begin,
        "to": end,
    }


_HOURS: Final = (("from", "00:00"), ("to", "24:00"))


def _hour(value: Value | None, what: str, default: str, reader: Reader) -> str:
    text = reader.text(value, what, default)
    hour, colon, minute = text.partition(":")
    digits = (hour + minute).isascii() and (hour + minute).isdigit() and 1 <= len(hour) <= 2 and len(minute) == 2
    if value is not None and not (colon and digits and int(minute) < 60 and int(hour) * 60 + int(minute) <= 24 * 60):
        reader.note(value.place, f"{what} is a time of day from 00:00 to 24:00, not {value.kind()}")
        return default
    return f"{int(hour):02d}:{minute}"
