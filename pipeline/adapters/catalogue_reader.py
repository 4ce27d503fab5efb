"""Checked reading of catalogue values: every problem is noted with its place, and reading goes on.

Each method returns the value, or a stand-in after it noted a problem; nothing made of stand-ins is ever published,
because a catalogue with problems is refused as a whole.
"""

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, date, datetime
from typing import Final, NamedTuple

from pipeline.adapters.catalogue_yaml import Place, Value
from pipeline.domain.money import AmountError, parse_micros, parse_ratio

_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")


class Problem(NamedTuple):
    """One thing to mend: where, what is wrong and what to do, and the other place where two are involved."""

    place: Place
    message: str
    other: Place | None = None

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" + (f" (see {self.other})" if self.other else "")


class Reader:
    """Reads values and collects what is wrong with them."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def note(self, place: Place, message: str, other: Place | None = None) -> None:
        """Note a problem."""
        self.problems.append(Problem(place, message, other))

    def fields(self, value: Value, what: str, required: Collection[str], optional: Collection[str]) -> dict[str, Value]:
        """Return the known keys that were given; null is the same as not given. Unknown and missing ones are noted."""
        if value.fields is None:
            self.note(value.place, f"{what} is a mapping of keys, not {value.kind()}")
            return {}
        known = [*required, *optional]
        given = {}
        for key, item in value.fields.items():
            if key not in known:
                close = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
                self.note(item.place, f"{what}: unknown key {key!r}; {hint}")
            elif not item.is_null:
                given[key] = item
        for key in required:
            if key not in given:
                self.note(value.place, f"{what}: key {key!r} is missing")
        return given

    def named(self, value: Value | None, what: str) -> Mapping[str, Value]:
        """Return a mapping whose keys are ids chosen by the author."""
        if value is None or value.is_null:
            return {}
        if value.fields is None:
            self.note(value.place, f"{what} is a mapping of names, not {value.kind()}")
            return {}
        for key, item in value.fields.items():
            if not _ID.fullmatch(key):
                self.note(item.place, f"{what}: name {key!r} must be letters, digits, '_', '-', '.', at most 64")
        return value.fields

    def items(self, value: Value | None, what: str) -> tuple[Value, ...]:
        """Return a list's values."""
        if value is None or value.is_null:
            return ()
        if value.items is None:
            self.note(value.place, f"{what} is a list, not {value.kind()}")
            return ()
        return value.items

    def text(self, value: Value | None, what: str, default: str = "") -> str:
        """Return a text."""
        if value is None:
            return default
        if value.text is None:
            self.note(value.place, f"{what} is a text, not {value.kind()}")
            return default
        return value.text

    def id(self, value: Value | None, what: str) -> str:
        """Return an id: letters, digits, `_`, `-`, `.`."""
        text = self.text(value, what)
        if value is not None and not _ID.fullmatch(text):
            self.note(value.place, f"{what} {text!r} must be letters, digits, '_', '-', '.', at most 64")
        return text

    def choice(self, value: Value | None, what: str, options: Collection[str], default: str) -> str:
        """Return one of a closed list of words."""
        text = self.text(value, what, default)
        if value is not None and text not in options:
            self.note(value.place, f"{what} is one of {', '.join(options) or '(none defined)'}, not {value.kind()}")
            return default
        return text

    def flag(self, value: Value | None, what: str) -> bool:
        """Return true or false; false where it is not given."""
        return self.choice(value, what, ("true", "false"), "false") == "true"

    def number(self, value: Value | None, what: str, default: int, low: int, high: int) -> int:
        """Return a whole number within bounds."""
        text = self.text(value, what, str(default))
        if value is not None and (not _WHOLE.fullmatch(text) or not low <= int(text) <= high):
            self.note(value.place, f"{what} is a whole number from {low} to {high}, not {value.kind()}")
            return default
        return int(text)

    def decimal(self, value: Value | None, what: str, default: str) -> str:
        """Return a decimal of any precision, 0 or more, as text."""
        text = self.text(value, what, default)
        return text if value is None or self._holds(value, text, what, parse_ratio) else default

    def amount(self, value: Value | None, what: str, default: str | None) -> str | None:
        """Return an amount of money of at most six decimals, 0 or more, as text."""
        if value is None:
            return default
        text = self.text(value, what, "0")
        return text if self._holds(value, text, what, parse_micros) else default

    def _holds(self, value: Value, text: str, what: str, parse: Callable[[str], object]) -> bool:
        """Tell whether the text can be read, and is not negative."""
        problem = "it is 0 or more"
        try:
            parse(text)
            if not text.startswith("-"):
                return True
        except AmountError as error:
            problem = str(error)
        self.note(value.place, f"{what}: {problem}")
        return False

    def date(self, value: Value, what: str) -> str:
        """Return a date as YYYY-MM-DD."""
        text = self.text(value, what)
        try:
            return date.fromisoformat(text).isoformat()
        except ValueError:
            self.note(value.place, f"{what} is a date like 2026-10-01, not {value.kind()}")
            return "1970-01-01"

    def moment_ms(self, value: Value | None, what: str) -> int:
        """Return a moment with its offset as ms since 1970 UTC; 0 where it is not given."""
        text = self.text(value, what)
        if value is None or value.text is None:
            return 0
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            self.note(value.place, f"{what} is a moment with its offset, like 2026-01-01T00:00:00+08:00, not {text!r}")
            return 0
        delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
        return (delta.days * 86_400 + delta.seconds) * 1_000 + delta.microseconds // 1_000
