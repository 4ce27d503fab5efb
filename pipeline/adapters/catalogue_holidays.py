"""Public holidays by country, from the `holidays` package where it is installed.

Calendars are made of them, and dates are what is published: no price asks this package.
"""

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date


class HolidaysUnknownError(Exception):
    """There are no holidays to be had: the package is not installed, or it does not know the country."""


class PublicHolidays(NamedTuple):
    """Dates as YYYY-MM-DD: holidays by name, and weekend days that are worked in exchange, where that is known."""

    holidays: tuple[tuple[str, str], ...]
    workdays: tuple[str, ...]


def holidays_of(country: str, years: "Sequence[int]") -> PublicHolidays:
    """Return a country's public holidays of these years, by date; raises HolidaysUnknownError."""
    try:
        package = import_module("holidays")
    except ModuleNotFoundError:
        raise HolidaysUnknownError(
            "the package `holidays` is not installed; add it, or write the dates yourself"
        ) from None
    try:
        found = package.country_holidays(country.upper(), years=list(years))
    except NotImplementedError:
        raise HolidaysUnknownError(
            f"no holidays are known of {country[:20]!r}; give an ISO code like CN or DE"
        ) from None
    worked: set[date] = getattr(found, "weekend_workdays", set())
    days = sorted((day.isoformat(), str(name)) for day, name in found.items() if day.year in years)
    return PublicHolidays(tuple(days), tuple(sorted(day.isoformat() for day in worked if day.year in years)))
