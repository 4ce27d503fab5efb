"""Account commands as people write them: one JSON object a line, read strictly and all trouble named at once.

Reading checks the form alone: which keys a type takes, text as text, amounts as decimal text, times as ISO 8601 with an
offset. Whether the command makes sense for the account is decided where it is carried out.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from pipeline.adapters.avro import Record
from pipeline.adapters.ledger_codec import iso_time
from pipeline.domain.commands import COMMAND_BYTES_MAX, THRESHOLDS_DEFAULT
from pipeline.domain.money import AmountError, parse_micros
from pipeline.domain.outcome import Refusal
from pipeline.domain.usage import INT_MAX, STRING_BYTES_MAX

COMMON: Final = ("type", "command_id", "account", "at", "actor")


class Takes(NamedTuple):
    """Which fields a type of command takes beside the common ones."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


TYPES: Final[dict[str, Takes]] = {
    "open_account": Takes(("currency", "plan", "identities", "opening_balance"), ("credit_limit", "plan_from")),
    "add_identity": Takes(("identity",), ("from",)),
    "remove_identity": Takes(("identity",), ("from",)),
    "top_up": Takes(("amount", "reference")),
    "adjust": Takes(("amount", "reason"), ("charge_id",)),
    "change_plan": Takes(("plan",), ("from",)),
    "add_allowance": Takes(("allowance",), ("from",)),
    "set_budget": Takes(("amount",), ("thresholds",)),
    "begin_period": Takes(("period",)),
    "settle_review": Takes(("review", "decision", "reason")),
    "hold": Takes(("amount", "case")),
    "release": Takes(("amount", "case")),
    "suspend": Takes(("reason",)),
    "resume": Takes(("reason",)),
    "close": Takes(("reason",)),
}
"""Times that are absent mean `at`, and stay absent: a repeat with a later `at` is still the same command."""

FIELDS: Final = (
    *COMMON,
    *dict.fromkeys(name for takes in TYPES.values() for name in (*takes.required, *takes.optional)),
)
"""Every field of the contract: those that a type does not take are null."""

_DEFAULTS: Final[dict[str, dict[str, Any]]] = {
    "open_account": {"credit_limit": "0"},
    "set_budget": {"thresholds": list(THRESHOLDS_DEFAULT)},
}
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00Z")
_TIME_HINT: Final = "a time like 2026-10-01T08:00:00+08:00 (with its offset, or Z)"
_SHOWN_CHARACTERS_MAX: Final = 40
_AMOUNT_HINT: Final = 'decimal text like "12.50"'


class Unreadable(NamedTuple):
    """A line that is no command, and why."""

    line: int
    refusal: Refusal


def read_commands(lines: Iterable[str | bytes]) -> Iterator[tuple[int, Record] | Unreadable]:
    """Yield (line number, command) for each line, or why it is none; empty lines are skipped. Lines count from 1."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        found = _command_from_line(line)
        yield Unreadable(number, found) if isinstance(found, Refusal) else (number, found)


def _command_from_line(line: str | bytes) -> Record | Refusal:
    if len(line) > COMMAND_BYTES_MAX:
        return _bad(size=f"{len(line)} bytes; at most {COMMAND_BYTES_MAX}")
    try:
        document = json.loads(line, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return _bad(json=str(error))
    return command_from_json(document)


def command_from_json(document: Any) -> Record | Refusal:
    """Return a command with all fields of its contract, times in ms; or `bad_command` with everything that is wrong."""
    if not isinstance(document, dict):
        return _bad(json="one object a line")
    kind = document.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        return _bad(type="one of " + ", ".join(TYPES))
    takes = TYPES[kind]
    known = (*COMMON, *takes.required, *takes.optional)
    # null is how an absent field reads once a command was written out with all its fields
    given = {name: value for name, value in document.items() if value is not None or name not in FIELDS}
    wrong: dict[str, object] = {}
    if unknown := sorted(shown_name(name) for name in given if name not in known):
        wrong["unknown"] = unknown
    if missing := [name for name in (*COMMON, *takes.required) if name not in given]:
        wrong["missing"] = missing
    record: Record = dict.fromkeys(FIELDS)
    record |= _DEFAULTS.get(kind, {})
    for name in known:
        if name not in given:
            continue
        value, hint = _READERS.get(name, _text)(given[name])
        if hint is not None:
            wrong[name] = hint
        record[name] = value
    return Refusal("bad_command", wrong) if wrong else record


def command_to_json(command: Record) -> dict[str, Any]:
    """Return a command as it is written in a file: only what it says, times ISO 8601 in UTC."""
    return {
        name: iso_time(command[name]) if name in _TIMES else command[name]
        for name in FIELDS
        if command.get(name) is not None
    }


def parse_time(text: str) -> int | None:
    """Read ISO 8601 with an offset or Z as ms since 1970 UTC, what is finer than a ms cut; None if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else (moment - _EPOCH) // timedelta(milliseconds=1)


def shown_name(name: object) -> str:
    """Return a key that nobody knows as a refusal names it: short, and with UTF-8, which half a surrogate has not."""
    return str(name)[:_SHOWN_CHARACTERS_MAX].encode("utf-8", "backslashreplace").decode()


_Read = tuple[Any, str | None]


def _text(value: Any) -> _Read:
    if isinstance(value, str) and 0 < len(value.encode("utf-8", "surrogatepass")) <= STRING_BYTES_MAX:
        return (value, None) if value.isprintable() else (None, "printable text")
    return None, f"text of 1 to {STRING_BYTES_MAX} bytes"


def _amount(value: Any) -> _Read:
    if not isinstance(value, str):
        return None, _AMOUNT_HINT
    try:
        parse_micros(value)
    except AmountError as error:
        return None, str(error)
    return value, None


def _time(value: Any) -> _Read:
    moment = parse_time(value) if isinstance(value, str) else None
    return moment, _TIME_HINT if moment is None else None


def _identities(value: Any) -> _Read:
    if isinstance(value, list) and all(_text(item)[1] is None for item in value):
        return value, None
    return None, 'a list like ["msisdn-+8613800000001", "imsi-460011234567890"]'


def _thresholds(value: Any) -> _Read:
    if isinstance(value, list) and all(type(item) is int and 0 < item <= INT_MAX for item in value):
        return value, None
    return None, "a list of percents like [50, 80, 100]"


_TIMES: Final = frozenset({"at", "plan_from", "from"})
_READERS: Final[dict[str, Callable[[Any], _Read]]] = {
    **dict.fromkeys(_TIMES, _time),
    **dict.fromkeys(("amount", "opening_balance", "credit_limit"), _amount),
    "identities": _identities,
    "thresholds": _thresholds,
}


def _bad(**detail: object) -> Refusal:
    return Refusal("bad_command", detail)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")
