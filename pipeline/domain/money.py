"""Money: integers of micro-units, read from decimal text, and the only place that rounds.

One micro-unit is a millionth of the currency's unit (1 CNY = 1 000 000). Amounts stay below 2^53 in magnitude, so that
every client, Lua included, holds them exactly.
"""

from typing import Final

MICROS_PER_UNIT: Final = 1_000_000
AMOUNT_MICROS_MAX: Final = 2**53 - 1
DECIMALS_MAX: Final = 6
ROUNDING_MODES: Final = ("half_up", "half_even", "up", "down")


class AmountError(ValueError):
    """The text is not an amount; the message says what an amount looks like."""


def parse_ratio(text: str) -> tuple[int, int]:
    """Read a plain decimal of any precision as (numerator, denominator), exactly.

    Raises AmountError for anything but an optional minus, digits and at most one point.
    """
    body = text.removeprefix("-")
    whole, point, fraction = body.partition(".")
    digits = whole + fraction
    if not whole or (point and not fraction) or not (digits.isascii() and digits.isdigit()) or len(digits) > 40:
        raise AmountError(f"not a decimal amount: {text[:50]!r} (write it like 12, 0.15 or -3.50)")
    value = int(digits)
    return (-value if text.startswith("-") else value), 10 ** len(fraction)


def parse_micros(text: str) -> int:
    """Read a decimal amount of at most six decimals as micro-units; raises AmountError."""
    numerator, denominator = parse_ratio(text)
    if denominator > MICROS_PER_UNIT:
        if numerator * MICROS_PER_UNIT % denominator:
            raise AmountError(f"more than six decimals: {text[:50]!r}")
        micros = numerator * MICROS_PER_UNIT // denominator
    else:
        micros = numerator * (MICROS_PER_UNIT // denominator)
    if abs(micros) > AMOUNT_MICROS_MAX:
        raise AmountError(f"amount out of bounds: {text[:50]!r} (at most {format_micros(AMOUNT_MICROS_MAX)})")
    return micros


def format_micros(micros: int, decimals: int = 2) -> str:
    """Write micro-units as a decimal of at least `decimals` places, exactly: no digit that counts is dropped."""
    sign = "-" if micros < 0 else ""
    whole, fraction = divmod(abs(micros), MICROS_PER_UNIT)
    digits = f"{fraction:06d}".rstrip("0").ljust(decimals, "0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


def round_ratio(numerator: int, denominator: int, decimals: int, mode: str) -> int:
    """Round the exact sum numerator/denominator (in micro-units, denominator > 0) to `decimals` places of the unit.

    Works on the magnitude, so that a refund rounds as its charge did. Modes: half_up, half_even, up (away from
    zero), down (towards zero). The result is a whole number of micro-units.
    """
    step: int = 10 ** (DECIMALS_MAX - decimals)
    quotient, rest = divmod(abs(numerator), denominator * step)
    if rest:
        twice = 2 * rest
        if (
            mode == "up"
            or (mode == "half_up" and twice >= denominator * step)
            or (mode == "half_even" and (twice > denominator * step or (twice == denominator * step and quotient % 2)))
        ):
            quotient += 1
    return -quotient * step if numerator < 0 else quotient * step
