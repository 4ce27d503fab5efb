# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""`chargeline catalogue diff`: what changes between two catalogues, in words."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer

from deploy.cli.context import Json
from deploy.cli.rating import load_catalogue
from deploy.cli.talk import data, data_json, say

Section = Mapping[str, Any]

_SCALARS: Final = ("operator", "currency", "timezone", "rounding", "tax")
_NAMED: Final = ("zones", "networks", "calendars", "bands")
_LISTS: Final = (
    ("fees", "fee"),
    ("allowances", "allowance"),
    ("prices", "price"),
    ("discounts", "discount"),
    ("caps", "cap"),
)
_DECK: Final = ("rate", "connect_fee", "first", "next")


class Change(NamedTuple):
    """One difference: where it is, what it is about; None where it was not, or is no longer, there."""

    place: str
    key: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        what = f"{self.place}: {self.key}" if self.key else self.place
        if self.before is None:
            return f"{what} is new: {self.after}" if self.after else f"{what} is new"
        if self.after is None:
            return f"{what} is gone (was {self.before})" if self.before else f"{what} is gone"
        return f"{what}: {self.before} becomes {self.after}"


def diff(
    before: Annotated[Path, typer.Argument(metavar="A", show_default=False)],
    after: Annotated[Path, typer.Argument(metavar="B", show_default=False)],
    json: Json = False,
) -> None:
    """Say what changes between two tariffs.

    By plan and rule, in words; nothing where they price alike.

    \b
    Example:
      chargeline catalogue diff tariffs/ tariffs-2027/
    """
    from pipeline.adapters.catalogue import FOR_ALL_TIME

    documents = [load_catalogue(directory).document(FOR_ALL_TIME) for directory in (before, after)]
    count = 0
    for count, change in enumerate(changes(*documents), 1):  # noqa: B007 - how many there were
        if json:
            data_json(change._asdict())
        else:
            data(str(change))
    say(f"{count} changes" if count else "the two price alike")


def changes(before: Section, after: Section) -> Iterator[Change]:
    """Yield every difference of two documents, from the whole to the parts."""
    yield from _fields("catalogue", before, after, _SCALARS)
    for section in _NAMED:
        old, new = before[section], after[section]
        for name in sorted({*old, *new}):
            place = f"{section[:-1]} {name}"
            if name not in old or name not in new:
                yield Change(place, "", None if name not in old else "", None if name not in new else "")
            elif section == "zones":
                yield from _zone(place, old[name], new[name])
            elif section == "networks":
                yield from _members(place, "codes", old[name], new[name])
            elif section == "calendars":
                for key in ("holidays", "workdays"):
                    yield from _members(place, key, old[name][key], new[name][key])
            else:
                yield from _fields(place, old[name], new[name], ("calendar", "days", "from", "to"))
    yield from _plans(before["plans"], after["plans"])


def _zone(place: str, before: Section, after: Section) -> Iterator[Change]:
    if "prefixes" in before and "prefixes" in after:
        yield from _members(place, "prefixes", before["prefixes"], after["prefixes"])
        return
    old, new = ({row[0]: row[1:] for row in zone.get("deck", [])} for zone in (before, after))
    for prefix in sorted({*old, *new}):
        if old.get(prefix) != new.get(prefix):
            yield Change(place, prefix, _row(old.get(prefix)), _row(new.get(prefix)))


def _row(cells: list[str | None] | None) -> str | None:
    if cells is None:
        return None
    return ", ".join(f"{name} {cell}" for name, cell in zip(_DECK, cells, strict=True) if cell is not None)


def _members(place: str, key: str, before: list[str], after: list[str]) -> Iterator[Change]:
    for member in sorted({*before, *after}):
        if (member in before) != (member in after):
            yield Change(place, f"{key} {member}", *(("", None) if member in before else (None, "")))


def _plans(before: list[Section], after: list[Section]) -> Iterator[Change]:
    """Compare plans by id and valid_from; a new version is told by what it changes of the one before it."""
    from pipeline.adapters.ledger_codec import iso_time

    old = {(plan["id"], plan["valid_from"]): plan for plan in before}
    new = {(plan["id"], plan["valid_from"]): plan for plan in after}
    for key in sorted({*old, *new}):
        plan_id, valid_from = key
        place = f"plan {plan_id}" + (f" from {iso_time(valid_from)}" if valid_from else "")
        if key not in new:
            yield Change(place, "", "", None)
        elif key in old:
            yield from _plan(place, old[key], new[key])
        else:
            yield Change(place, "", None, "")
            earlier = [other for other in old.values() if other["id"] == plan_id and other["valid_from"] < valid_from]
            if earlier:
                yield from _plan(place, max(earlier, key=lambda plan: int(plan["valid_from"])), new[key])


def _plan(place: str, before: Section, after: Section) -> Iterator[Change]:
    yield from _fields(place, before, after, ("name", "currency", "tax"))
    for section, word in _LISTS:
        old, new = ({item["id"]: item for item in plan.get(section, ())} for plan in (before, after))
        for item_id in sorted({*old, *new}):
            where = f"{place}, {word} {item_id}"
            if item_id not in new:
                yield Change(where, "", _summary(old[item_id]), None)
            elif item_id not in old:
                yield Change(where, "", None, _summary(new[item_id]))
            else:
                unit = new[item_id].get("unit") or ""
                yield from _fields(where, old[item_id], new[item_id], [k for k in new[item_id] if k != "id"], unit)
    for section, word in (("discounts", "discount"),):
        order = [[item["id"] for item in plan.get(section, ())] for plan in (before, after)]
        if sorted(order[0]) == sorted(order[1]) and order[0] != order[1]:
            yield Change(place, f"order of {word}s", ", ".join(order[0]), ", ".join(order[1]))


def _fields(
    place: str, before: Section, after: Section, keys: tuple[str, ...] | list[str], unit: str = ""
) -> Iterator[Change]:
    for key in keys:
        if before.get(key) != after.get(key):
            yield Change(
                place, key.replace("_", " "), words(key, before.get(key), unit), words(key, after.get(key), unit)
            )


def _summary(item: Section) -> str:
    """Say the few things by which people know a rule, an allowance, a fee."""
    unit = item.get("unit") or ""
    keys = ("match", "free", "steps", "quantity", "amount", "percent", "price", "every", "maximum", "minimum")
    said = [(key, item[key]) for key in keys if item.get(key) not in (None, False, [], {})]
    return "; ".join(words(key, value, unit) if key in {"match", "steps"} else f"{key} {value}" for key, value in said)


def words(key: str, value: Any, unit: str) -> str:
    """Write a value of a document for people."""
    if value is None or value in ({}, []):
        return "none"
    if key == "steps":
        return " then ".join(_step(step, unit) for step in value)
    if key in {"from", "until"} and isinstance(value, int):
        from pipeline.adapters.ledger_codec import iso_time

        return iso_time(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {words(name, inner, unit)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def _step(step: Section, unit: str) -> str:
    per = unit if step["per"] == "1" else f"{step['per']} {unit}"
    text = f"{step['price']} per {per}".rstrip()
    if step["increment"] != step["per"]:
        text += f" by {step['increment']} {unit}".rstrip()
    return text if step["from"] == "0" else f"from {step['from']} {unit} on {text}"
