# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""`chargeline catalogue import-deck` and `calendar`: tariff files made of what others have."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.talk import RefusedError, data, next_step, say


def import_deck(
    file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False)],
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where to write the deck.")] = None,
) -> None:
    """Make a rate deck of a carrier's price list.

    Knows the columns of a2billing and Kazoo, and common names. Prices are taken as a minute's, blocks as seconds.
    Nothing is written while one prefix has two prices, or a cell cannot be read: each is named with its line.

    \b
    Example:
      chargeline catalogue import-deck carrier.csv --out tariffs/decks/world.csv
    """
    from pipeline.adapters.catalogue_deck_import import deck_text, import_deck

    found = import_deck(file)
    if found.problems:
        raise RefusedError(f"{file} is refused:\n" + "\n".join(map(str, found.problems)))
    say("read " + ", ".join(f"{column} from {name!r}" for column, name in found.columns.items()))
    if found.unread:
        say(f"not read: {', '.join(found.unread)}")
    if found.repeated:
        say(f"{found.repeated} prefixes were there twice with the same price")
    text = deck_text(found)
    if out is None:
        data(text.rstrip("\n"))
    else:
        out.write_text(text, encoding="utf-8")
        say(f"{len(found.rows)} prefixes written to {out}")
    next_step("steps: [{from: 0, price: deck, per: 60, increment: 1}] in a rule with `unit: s` and a zone of this file")


def calendar(
    country: Annotated[str, typer.Argument(metavar="COUNTRY", help="ISO code like CN or DE.", show_default=False)],
    years: Annotated[list[int], typer.Argument(metavar="YEAR...", min=1970, max=2100, show_default=False)],
    name: Annotated[str | None, typer.Option("--name", help="Of the calendar. Default: the country's code.")] = None,
) -> None:
    """Write a country's holidays as a calendar.

    A section for a catalogue's file: what is published are these dates, so look at them first.

    \b
    Example:
      chargeline catalogue calendar CN 2026 2027 > tariffs/calendar.yaml
    """
    from pipeline.adapters.catalogue_holidays import HolidaysUnknownError, holidays_of

    try:
        days = holidays_of(country, years)
    except HolidaysUnknownError as error:
        raise RefusedError(str(error)) from None
    data("calendars:")
    data(f"  {name or country.lower()}:")
    data("    holidays:")
    for date, holiday in days.holidays:
        data(f'      - "{date}" # {holiday}')
    if days.workdays:
        data("    workdays:")
        for date in days.workdays:
            data(f'      - "{date}"')
