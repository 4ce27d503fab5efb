"""Numbers as detectors see them: which country a number is of, and which range.

Countries are those of ITU-T E.164 country codes. A range is a country and the two digits behind it (three where the
code has one digit: +1 and +7 are shared by many): wide enough to hold a block that was leased for fraud, narrow
enough to tell it from the country's own life. A block is ten thousand numbers: all but the last four digits.
"""

from typing import Final

TWO_DIGITS: Final = frozenset((
    "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44", "45", "46", "47", "48", "49", "51",
    "52", "53", "54", "55", "56", "57", "58", "60", "61", "62", "63", "64", "65", "66", "81", "82", "84", "86", "90",
    "91", "92", "93", "94", "95", "98",
))  # fmt: skip
"""Country codes of two digits; +1 and +7 have one, all others three."""

HOT: Final = (
    # satellite and international networks, shared cost, premium
    "+870", "+878", "+881", "+882", "+883", "+888", "+979",
    # islands and small networks whose ranges lists of fraud name again and again
    "+53", "+216", "+220", "+222", "+224", "+231", "+232", "+235", "+236", "+239", "+240", "+245", "+246", "+247",
    "+248", "+252", "+257", "+261", "+263", "+269", "+290", "+291", "+3719", "+3725", "+3737", "+3749", "+3816",
    "+3829", "+3877", "+3897", "+423", "+500", "+5093", "+592", "+597", "+670", "+672", "+674", "+675", "+676",
    "+677", "+678", "+679", "+680", "+681", "+682", "+683", "+685", "+686", "+687", "+688", "+689", "+690", "+691",
    "+692", "+850", "+960", "+1268", "+1284", "+1473", "+1649", "+1664", "+1767", "+1784", "+1809", "+1829", "+1849",
    "+1868", "+1869", "+1876",
)  # fmt: skip
"""Ranges that are dear and often abused, where an operator's own deck names none (`chargeline detect` takes his)."""

BLOCK_DIGITS: Final = 4
_SHORTEST_BLOCK: Final = 5


def country(number: str) -> str:
    """Return the country code of an E.164 number with its `+`; "" of a short code."""
    if number[:1] != "+":
        return ""
    if number[1:2] in ("1", "7"):
        return number[:2]
    return number[:3] if number[1:3] in TWO_DIGITS else number[:4]


def range_of(number: str) -> str:
    """Return the range of an E.164 number: its country code and the next two digits, three behind +1 and +7."""
    code = len(country(number))
    return number[: code + (3 if code == 2 else 2)]


def block_of(number: str) -> str:
    """Return the number without its last four digits, never shorter than five characters."""
    return number[: max(len(number) - BLOCK_DIGITS, _SHORTEST_BLOCK)]


def common_prefix(numbers: tuple[str, ...]) -> str:
    """Return the digits that all of these numbers begin with; the number itself if there is one."""
    first, last = min(numbers), max(numbers)
    length = 0
    for one, two in zip(first, last, strict=False):
        if one != two:
            break
        length += 1
    return first[:length]


class Prefixes:
    """A set of prefixes, asked whether a number begins with one of them."""

    __slots__ = ("_lengths", "_prefixes")

    def __init__(self, prefixes: tuple[str, ...]) -> None:
        self._prefixes = frozenset(prefixes)
        self._lengths = tuple(sorted({len(prefix) for prefix in prefixes}))

    def __contains__(self, number: str) -> bool:
        prefixes = self._prefixes
        return any(number[:length] in prefixes for length in self._lengths)
