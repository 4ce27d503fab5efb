"""Exact numbers: texts to fractions, units to counts, and the one rounding."""

from fractions import Fraction
from functools import cache
from math import floor
from typing import Final

MICROS: Final = 1_000_000

COUNTS: Final = {
    "ms": 1,
    "s": 1_000,
    "min": 60_000,
    "h": 3_600_000,
    "B": 1,
    "kB": 1_000,
    "MB": 1_000_000,
    "GB": 1_000_000_000,
    "KiB": 1_024,
    "MiB": 1_048_576,
    "GiB": 1_073_741_824,
    "msg": 1,
    "event": 1,
}
"""Each unit in what is counted: ms, octets, messages, events."""


@cache
def exact(text: str) -> Fraction:
    """Read a decimal, or `n/d`."""
    return Fraction(text)


@cache
def counted(text: str, unit: str) -> int:
    """Read a quantity in a unit as ms, octets, messages or events; a catalogue has whole ones alone."""
    count = exact(text) * COUNTS[unit]
    assert count.denominator == 1, "no whole number of ms, octets, messages or events"
    return int(count)


@cache
def micros(text: str) -> Fraction:
    """Read an amount of money as micro-units."""
    return exact(text) * MICROS


def written(number: Fraction) -> str:
    """Write a number as the ledger does: `n` or `n/d`."""
    return str(number)


def rounded(sum_micros: Fraction, decimals: int, mode: str) -> int:
    """Round a sum to so many decimals of the currency; the mode looks at the magnitude, so -0.005 mirrors 0.005."""
    unit: int = 10 ** (6 - decimals)
    whole = abs(sum_micros) / unit
    low = floor(whole)
    over = whole - low
    half = Fraction(1, 2)
    if over == 0 or mode == "down":
        steps = low
    elif mode == "up":
        steps = low + 1
    elif over != half:
        steps = low + 1 if over > half else low
    elif mode == "half_up":
        steps = low + 1
    elif mode == "half_even":
        steps = low if low % 2 == 0 else low + 1
    else:
        raise ValueError(f"no such rounding: {mode}")
    return steps * unit if sum_micros > 0 else -steps * unit
