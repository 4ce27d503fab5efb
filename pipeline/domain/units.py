"""Units of use: how many ms, octets or messages each is, and which services it fits."""

from typing import Final

from pipeline.domain.usage import DATA, EVENT, MMS, SMS, VOICE

_TIME: Final = {"ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000}
_OCTETS: Final = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}

UNITS: Final = {VOICE: _TIME, DATA: _OCTETS, SMS: {"msg": 1}, MMS: {"msg": 1}, EVENT: {"event": 1}}
"""By service: its units and their sizes in ms, octets or messages."""

BASE_UNITS: Final = {service: next(iter(units)) for service, units in UNITS.items()}
"""The unit of size 1 of each service: what quantities are counted in."""

_SIZES: Final = {name: size for units in UNITS.values() for name, size in units.items()}


def unit_size(unit: str) -> int:
    """Return how many ms, octets or messages one unit is."""
    return _SIZES[unit]
