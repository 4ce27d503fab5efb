"""new_device: another device, or another SIM, followed at once by use that costs.

Definition: a line that is known appears with an IMEI (or a number with an IMSI) it never had, and within a day calls
dear or abused ranges, or countries it never called, more than a traveller or a new phone's owner would. A new phone
by itself is nothing. Source: SIM-swap and account take-over practice: alert on the second signal within 24 h.
"""

from typing import Final, NamedTuple

from pipeline.domain.detectors.event_time import DAY_MS, HOUR_MS, MINUTE_MS, Entry, Episode, Log, logged
from pipeline.domain.detectors.finding import CRITICAL
from pipeline.domain.detectors.part import LINE, NOTHING, Hit, Step, ids_of, speak
from pipeline.domain.detectors.ranges import range_of
from pipeline.domain.detectors.use import Use
from pipeline.domain.usage import VOICE

NEW_DEVICE: Final = "new_device"
_DEVICES_KEPT: Final = 6
_RANGES_KEPT: Final = 8
_LOG_KEPT: Final = 32


class Parameters(NamedTuple):
    """What operators may set.

    `known_ms`: a line seen for less has no usual device; `risk_ms`: how long after the change use is held against it;
    `hot_calls`: so many calls to dear or abused ranges by then; `calls`, `talk_ms`: or so many, and so long, to
    ranges abroad that the line had not called before.
    """

    known_ms: int = 24 * HOUR_MS
    risk_ms: int = DAY_MS
    hot_calls: int = 2
    calls: int = 5
    talk_ms: int = 10 * MINUTE_MS


class State(NamedTuple):
    """The line's devices and SIMs, since when it is known, when it last changed; ranges it called, calls since."""

    seen: int
    episode: Episode | None
    since: int
    devices: tuple[str, ...]
    changed_at: int
    ranges: tuple[str, ...]
    risky: Log


class NewDevice:
    """See the module."""

    name = NEW_DEVICE
    view = LINE
    kept_ms = 30 * DAY_MS
    quiet_ms = DAY_MS

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def key(self, use: Use) -> str | None:
        """Return the line."""
        return use.line if use.usage.imei is not None or use.usage.imsi is not None else None

    def step(self, state: State | None, use: Use) -> Step:
        """Notice the change; hold use abroad against it."""
        usage, start = use.usage, use.start
        device = f"{usage.imei or ''}/{usage.imsi or ''}"
        if state is None:
            return State(use.clock, None, start, (device,), 0, _with(use, ()), ()), NOTHING
        devices, changed_at = state.devices, state.changed_at
        if devices[-1] != device:
            if device not in devices and start - state.since >= self._parameters.known_ms and _is_new(device, devices):
                changed_at = start
            devices = (*[known for known in devices if known != device], device)[-_DEVICES_KEPT:]
        calls_abroad = (
            (use.foreign or use.hot) and usage.service == VOICE and usage.direction == "MO" and usage.answered
        )
        if not calls_abroad:
            if changed_at == state.changed_at and devices is state.devices:
                # nothing but the time has changed; the state is written again where that matters
                return (state._replace(seen=use.clock) if use.clock - state.seen > HOUR_MS else state), NOTHING
            return State(use.clock, state.episode, state.since, devices, changed_at, state.ranges, state.risky), NOTHING
        rules = self._parameters
        risky, ranges, episode, found = state.risky, state.ranges, state.episode, NOTHING
        if changed_at and 0 <= start - changed_at <= rules.risk_ms:
            if use.hot or range_of(use.other) not in ranges:
                entry = Entry(start, use.end, "hot" if use.hot else use.other, usage.record_id)
                risky = logged(risky, entry, rules.risk_ms, _LOG_KEPT)
                hot = sum(1 for known in risky if known.party == "hot")
                talk_ms = sum(known.end - known.start for known in risky)
                if hot >= rules.hot_calls or (len(risky) >= rules.calls and talk_ms >= rules.talk_ms):
                    hit = Hit(
                        use.line,
                        use.account,
                        CRITICAL,
                        max(1_000 * hot // rules.hot_calls, 1_000 * len(risky) // rules.calls),
                        ids_of(risky),
                        {
                            "changed_at": changed_at,
                            "devices_known": len(devices) - 1,
                            "calls_abroad_since": len(risky),
                            "to_dear_or_abused_ranges": hot,
                            "talk_ms": talk_ms,
                        },
                        "Ask the customer, by another way than this line, whether he changed his phone or SIM.",
                    )
                    episode, found = speak(NEW_DEVICE, episode, hit, use, DAY_MS)
        else:
            risky, ranges = (), _with(use, ranges)
        return State(use.clock, episode, state.since, devices, changed_at, ranges, risky), found


def _is_new(device: str, devices: tuple[str, ...]) -> bool:
    """Tell whether phone or SIM is a new one: a second SIM slot or a source that names only one of them is none."""
    imei, _, imsi = device.partition("/")
    known = [one.partition("/") for one in devices]
    return (bool(imei) and all(imei != one[0] for one in known)) or (
        bool(imsi) and all(imsi != one[2] for one in known)
    )


def _with(use: Use, ranges: tuple[str, ...]) -> tuple[str, ...]:
    if not use.foreign:
        return ranges
    range_ = range_of(use.other)
    return ranges if range_ in ranges else (*ranges, range_)[-_RANGES_KEPT:]
