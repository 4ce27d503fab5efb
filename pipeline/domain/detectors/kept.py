"""States as they are kept outside of memory: JSON lists, and back to what detectors know.

A state is written as it stands. To read it, each part says here which of its fields are more than a number, a text or
a list of them. A state of another shape than today's is not read: see `LAYOUT`.
"""

import hashlib
from collections.abc import Callable
from typing import Any, Final

from pipeline.domain.detectors import (
    call_velocity,
    concurrent_calls,
    implausible,
    impossible_travel,
    irsf,
    long_call,
    new_device,
    sequence,
    share,
    silent_source,
    sim_box,
    sms_flood,
    spending,
    traffic_season,
    wangiri,
)
from pipeline.domain.detectors.engine import LINES
from pipeline.domain.detectors.event_time import Entry, Episode, Log, Usual
from pipeline.domain.detectors.part import State

Plain = Any
"""What JSON gives: a number, a text, None, or a list of them."""


def _plain(value: Plain) -> Any:
    return tuple([_plain(item) for item in value]) if isinstance(value, list) else value


def _episode(value: Plain) -> Episode | None:
    return None if value is None else Episode(*value)


def _log(value: Plain) -> Log:
    return tuple([Entry(*entry) for entry in value])


def _usual(value: Plain) -> Usual | None:
    return None if value is None else Usual(value[0], value[1], value[2], tuple(value[3]))


def _sessions(value: Plain) -> tuple[long_call.Session, ...]:
    return tuple([long_call.Session(one[0], one[1], tuple(one[2])) for one in value])


def _ranges(value: Plain) -> tuple[irsf.KnownRange, ...]:
    found = []
    for range_, usual in value:
        known = _usual(usual)
        assert known is not None, "a known range has a usual"
        found.append(irsf.KnownRange(range_, known))
    return tuple(found)


def _places(value: Plain) -> tuple[impossible_travel.Seen, ...]:
    return tuple([impossible_travel.Seen(*place) for place in value])


def _gaps(value: Plain) -> tuple[sequence.Gap, ...]:
    return tuple([sequence.Gap(*gap) for gap in value])


Read = Callable[[Plain], Any]
_SHAPES: Final[dict[str, tuple[Any, dict[str, Read]]]] = {
    "call_velocity/line": (call_velocity.State, {"log": _log, "minute": _usual, "ten": _usual}),
    "concurrent_calls/line": (concurrent_calls.State, {"log": _log, "usual": _usual}),
    "long_call/line": (long_call.State, {"sessions": _sessions, "usual": _usual}),
    "irsf/account": (irsf.AccountState, {"log": _log, "known": _ranges}),
    "irsf/range": (irsf.RangeState, {"log": _log, "usual": _usual, "block_usual": _usual}),
    "wangiri/caller": (wangiri.State, {"log": _log}),
    "sim_box/line": (sim_box.State, {}),
    "sim_box/imei": (sim_box.State, {}),
    "sms_flood/line": (sms_flood.State, {"log": _log, "usual": _usual}),
    "impossible_travel/line": (impossible_travel.State, {"places": _places}),
    "new_device/line": (new_device.State, {"risky": _log}),
    "sequence_gap/source": (sequence.GapState, {"gaps": _gaps}),
    "sequence_repeat/source": (sequence.RepeatState, {"log": _log}),
    "late_share/source": (share.State, {"usual": _usual}),
    "rejected_share/source": (share.State, {"usual": _usual}),
    "silent_source/source": (silent_source.State, {}),
    "implausible/source": (implausible.State, {}),
    "traffic_season/source": (traffic_season.State, {}),
    "spend_baseline/account": (spending.DayState, {}),
    "roaming_cap/account": (spending.MonthState, {}),
    "zero_rated_leak/account": (spending.DayState, {}),
}
_NESTED: Final = (Entry, Episode, Usual, long_call.Session, irsf.KnownRange, impossible_travel.Seen, sequence.Gap)


def _reader(kind: Any, special: dict[str, Read]) -> Read:
    readers: list[Read] = [_episode if name == "episode" else special.get(name, _plain) for name in kind._fields]
    if not special:

        def simple(value: Plain) -> Any:
            # an episode is the second of every state: this is most of what is read at a restart
            return kind(value[0], _episode(value[1]), *[_plain(item) for item in value[2:]])

        return simple

    def read(value: Plain) -> Any:
        return kind(*[reader(item) for reader, item in zip(readers, value, strict=True)])

    return read


_READERS: Final[dict[str, Read]] = {name: _reader(kind, special) for name, (kind, special) in _SHAPES.items()}

LAYOUT: Final = hashlib.sha256(
    "\n".join(
        [f"{name} {kind.__name__} {' '.join(kind._fields)}" for name, (kind, _) in sorted(_SHAPES.items())]
        + [f"{kind.__name__} {' '.join(kind._fields)}" for kind in _NESTED]
    ).encode()
).hexdigest()[:16]
"""Names the shape of all states. What was kept under another one is read from the ledger again instead."""


def read_state(part: str, value: Plain) -> State:
    """Return a state of this part from what JSON gave.

    Raises KeyError for a part that is none, ValueError and TypeError for another shape.
    """
    return _plain(value) if part == LINES else _READERS[part](value)
