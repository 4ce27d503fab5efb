"""All detectors over one stream: the same engine offline and behind the ledger.

The engine owns the states and nothing else; detectors are pure. Given the same records in the same order it says the
same.
"""

from collections.abc import Iterator
from typing import Final

from pipeline.domain.detectors.call_velocity import CallVelocity
from pipeline.domain.detectors.concurrent_calls import ConcurrentCalls
from pipeline.domain.detectors.control_total import ControlTotal, Declared
from pipeline.domain.detectors.event_time import DAY_MS, HOUR_MS, MINUTE_MS
from pipeline.domain.detectors.finding import Finding
from pipeline.domain.detectors.implausible import Implausible
from pipeline.domain.detectors.impossible_travel import ImpossibleTravel
from pipeline.domain.detectors.irsf import ManyAccounts, OneAccount
from pipeline.domain.detectors.long_call import LongCall
from pipeline.domain.detectors.new_device import NewDevice
from pipeline.domain.detectors.parameters import DetectorParameters
from pipeline.domain.detectors.part import Part, State, closing
from pipeline.domain.detectors.sequence import SequenceGap, SequenceRepeat
from pipeline.domain.detectors.share import LateShare, RejectedShare
from pipeline.domain.detectors.silent_source import SilentSource
from pipeline.domain.detectors.sim_box import OneDevice, OneLine
from pipeline.domain.detectors.sms_flood import SmsFlood
from pipeline.domain.detectors.spending import RoamingCap, SpendBaseline, ZeroRatedLeak
from pipeline.domain.detectors.traffic_season import TrafficSeason
from pipeline.domain.detectors.use import Reference, Use
from pipeline.domain.detectors.wangiri import Wangiri
from pipeline.domain.usage import DATA, EVENT, MMS, SMS, VOICE

_LINES_KEPT_MS: Final = 30 * DAY_MS
_SWEEP_MS: Final = 6 * HOUR_MS
"""How often, by the clock, quiet alerts are closed and states that are too old are dropped."""

_CALLS: Final = (CallVelocity.name, ConcurrentCalls.name, LongCall.name, OneAccount.name, Wangiri.name)
_MESSAGES: Final = (SmsFlood.name,)


def make_parts(parameters: DetectorParameters, reference: Reference, *, priced: bool, totals: bool) -> tuple[Part, ...]:
    """Return all detectors; those of money only where records are priced, control totals where there are any."""
    sequence = parameters.sequence
    parts: list[Part] = [
        CallVelocity(parameters.call_velocity),
        ConcurrentCalls(parameters.concurrent_calls),
        LongCall(parameters.long_call),
        OneAccount(parameters.irsf),
        ManyAccounts(parameters.irsf),
        Wangiri(parameters.wangiri),
        OneLine(parameters.sim_box),
        OneDevice(parameters.sim_box),
        SmsFlood(parameters.sms_flood),
        ImpossibleTravel(parameters.impossible_travel, reference),
        NewDevice(parameters.new_device),
        SequenceGap(sequence),
        SequenceRepeat(sequence),
        LateShare(parameters.late_share),
        SilentSource(parameters.silent_source),
        Implausible(parameters.implausible),
        TrafficSeason(parameters.traffic_season),
    ]
    if priced:
        parts += [
            SpendBaseline(parameters.spend_baseline),
            RoamingCap(parameters.roaming_cap),
            ZeroRatedLeak(parameters.zero_rated_leak),
            RejectedShare(parameters.rejected_share),
        ]
    if totals:
        parts.append(ControlTotal())
    return tuple(parts)


class Engine:
    """Detectors and their states. Findings come in the order of the detectors; a state is JSON as it stands."""

    def __init__(self, parts: tuple[Part, ...]) -> None:
        self._parts = parts
        self._states: list[dict[str, State]] = [{} for _ in parts]
        both = [(part, states) for part, states in zip(parts, self._states, strict=True)]
        self._of: dict[str, list[tuple[Part, dict[str, State]]]] = {
            VOICE: [pair for pair in both if pair[0].name not in _MESSAGES],
            DATA: [pair for pair in both if pair[0].name not in _CALLS + _MESSAGES],
            SMS: [pair for pair in both if pair[0].name not in _CALLS],
            MMS: [pair for pair in both if pair[0].name not in _CALLS],
            EVENT: [pair for pair in both if pair[0].name not in _CALLS + _MESSAGES],
        }
        self._sources = next(pair for pair in both if isinstance(pair[0], SilentSource))
        self._totals = next((pair for pair in both if isinstance(pair[0], ControlTotal)), None)
        self._lines: dict[str, tuple[int, int]] = {}
        """when each line was first seen, and the clock when it was last, to the day"""
        self._looked_at = 0
        self._swept_at = 0

    def observe(self, use: Use) -> list[Finding]:
        """Take one record, which is no copy of one before; return what it opens, updates or closes."""
        found: list[Finding] = []
        clock = use.clock
        for part, states in self._of[use.usage.service]:
            key = part.key(use)
            if key is None:
                continue
            state = states.get(key)
            if state is not None and state.episode is not None and clock - state.episode.last > part.quiet_ms:
                found.append(closing(part.name, state.episode, clock))
                states[key] = state = state._replace(episode=None)
            after, said = part.step(state, use)
            if after is not state and after is not None:
                states[key] = after
            if said:
                found += said
        if clock - self._looked_at >= MINUTE_MS:
            found += self._look(clock)
        return found

    def since(self, line: str, start: int, clock: int) -> int:
        """Return when the line was first seen: with this record, if it is new."""
        known = self._lines.get(line)
        if known is None or clock - known[1] > DAY_MS:
            known = self._lines[line] = (start if known is None else known[0], clock)
        return known[0]

    def declare(self, declared: Declared) -> list[Finding]:
        """Take what a source says that it sent; return what does not agree. Needs the control totals' detector."""
        assert self._totals is not None, "control totals are counted where they are declared"
        part, states = self._totals
        assert isinstance(part, ControlTotal)
        state, found = part.declare(states.get(declared.source), declared)
        if state is not None:
            states[declared.source] = state
        return list(found)

    def states(self) -> Iterator[tuple[Part, str, State]]:
        """Yield every state with its detector and key."""
        for part, states in zip(self._parts, self._states, strict=True):
            for key, state in states.items():
                yield part, key, state

    def _look(self, clock: int) -> list[Finding]:
        """Ask what only time can say: sources that are silent, alerts that are quiet, states that are too old."""
        self._looked_at = clock
        found: list[Finding] = []
        part, states = self._sources
        assert isinstance(part, SilentSource)
        for key, state in states.items():
            states[key], said = part.tick(key, state, clock)
            found += said
        if clock - self._swept_at >= _SWEEP_MS:
            self._swept_at = clock
            found += self._sweep(clock)
        return found

    def _sweep(self, clock: int) -> list[Finding]:
        found: list[Finding] = []
        for part, states in zip(self._parts, self._states, strict=True):
            oldest, quiet_ms = clock - part.kept_ms, part.quiet_ms
            gone = []
            for key, state in states.items():
                episode = state.episode
                if episode is None:
                    if state.seen < oldest:
                        gone.append(key)
                elif clock - episode.last > quiet_ms:
                    found.append(closing(part.name, episode, clock))
                    states[key] = state._replace(episode=None)
            for key in gone:
                del states[key]
        for line in [line for line, (_, last) in self._lines.items() if last < clock - _LINES_KEPT_MS]:
            del self._lines[line]
        return found
