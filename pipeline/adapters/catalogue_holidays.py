"""Public holidays by country, from the `holidays` package.

Calendars are made of them, and dates are what is published: no price asks this package.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import date


class HolidaysUnknownError(Exception):
    """No holidays are known of the country."""


class PublicHolidays(NamedTuple):
    """Dates as YYYY-MM-DD: holidays by name, and weekend days that are worked in exchange, where that is known."""

    holidays: tuple[tuple[str, str], ...]
    workdays: tuple[str, ...]


def holidays_of(country: str, years: Sequence[int]) -> PublicHolidays:
    """Return a country's public holidays of these years, by date; raises HolidaysUnknownError."""
    import holidays

    try:
        found = holidays.country_holidays(country.upper(), years=list(years))
    except NotImplementedError:
        raise HolidaysUnknownError(
            f"no holidays are known of {country[:20]!r}; give an ISO code like CN or DE"
        ) from None
    worked: set[date] = getattr(found, "weekend_workdays", set())
    days = sorted((day.isoformat(), name) for day, name in found.items() if day.year in years)
    return PublicHolidays(tuple(days), tuple(sorted(day.isoformat() for day in worked if day.year in years)))
