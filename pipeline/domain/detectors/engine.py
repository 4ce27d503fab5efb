"""All detectors over one stream: the same engine offline and behind the ledger.

The engine owns the states and nothing else; detectors are pure. Given the same records in the same order it says the
same.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

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
from pipeline.domain.detectors.part import ACCOUNT, CALLER, IMEI, LINE, RANGE, SOURCE, Part, State, closing
from pipeline.domain.detectors.sequence import SequenceGap, SequenceRepeat
from pipeline.domain.detectors.share import LateShare, RejectedShare
from pipeline.domain.detectors.silent_source import SilentSource
from pipeline.domain.detectors.sim_box import OneDevice, OneLine
from pipeline.domain.detectors.sms_flood import SmsFlood
from pipeline.domain.detectors.spending import RoamingCap, SpendBaseline, ZeroRatedLeak
from pipeline.domain.detectors.traffic_season import TrafficSeason
from pipeline.domain.detectors.use import Reference, Use
from pipeline.domain.detectors.wangiri import Wangiri
from pipeline.domain.usage import MMS, SMS, VOICE

_LINES_KEPT_MS: Final = 30 * DAY_MS
_SWEEP_MS: Final = 6 * HOUR_MS
"""How often, by the clock, quiet alerts are closed and states that are too old are dropped."""

OWN_VIEWS: Final = frozenset({LINE, ACCOUNT})
"""Views whose every record is of one account."""
SHARED_VIEWS: Final = frozenset({CALLER, RANGE, IMEI, SOURCE})
"""Views of what many accounts touch."""
DEAD_LETTERS: Final = "dead letters"
"""Not a view: what a record that was refused counts for, its number and its share. It may come again, accepted."""
LINES: Final = "lines"
"""Among the kept states, the name of when each line was first and last seen."""

_OF_DEAD_LETTERS: Final = (SequenceGap.name, RejectedShare.name)
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


def part_name(part: Part) -> str:
    """Return what a part's states are kept under: detector and view."""
    return f"{part.name}/{part.view}"


class Fault(NamedTuple):
    """A detector raised on a record: the others have had it all the same."""

    detector: str
    error: str


class Change(NamedTuple):
    """A state that is another one since it was last asked for; None: it is gone."""

    part: str
    key: str
    state: State | None


Held = tuple[Part, dict[str, State], set[str] | None]


class Engine:
    """Detectors and their states. Findings come in the order of the detectors; a state is JSON as it stands.

    `kept`: changes of states are remembered until they are asked for, and a detector that raises is a fault in
    `faults`, for a worker must go on; otherwise it raises.
    """

    def __init__(self, parts: tuple[Part, ...], *, kept: bool = False) -> None:
        self.faults: list[Fault] = []
        self._kept = kept
        self._held: list[Held] = [(part, {}, set() if kept else None) for part in parts]
        self._of: dict[tuple[str, frozenset[str] | None], list[Held]] = {}
        self._sources = next((held for held in self._held if isinstance(held[0], SilentSource)), None)
        self._totals = next((held for held in self._held if isinstance(held[0], ControlTotal)), None)
        self._lines: dict[str, tuple[int, int]] = {}
        """when each line was first seen, and the clock when it was last, to the day"""
        self._changed_lines: set[str] | None = set() if kept else None
        self._looked_at = 0
        self._swept_at = 0

    def observe(self, use: Use, views: frozenset[str] | None = None) -> list[Finding]:
        """Take one record, which is no copy of one before; return what it opens, updates or closes.

        `views`: only detectors with these; None: all of them.
        """
        found: list[Finding] = []
        clock = use.clock
        chosen = self._of.get((use.usage.service, views))
        if chosen is None:
            chosen = self._of[use.usage.service, views] = self._choose(use.usage.service, views)
        for part, states, changed in chosen:
            try:
                key = part.key(use)
                if key is None:
                    continue
                state = states.get(key)
                if state is not None and state.episode is not None and clock - state.episode.last > part.quiet_ms:
                    found.append(closing(part.name, state.episode, clock))
                    states[key] = state = state._replace(episode=None)
                    if changed is not None:
                        changed.add(key)
                after, said = part.step(state, use)
            except Exception as error:
                if not self._kept:
                    raise
                self.faults.append(Fault(part.name, type(error).__name__))
                continue
            if after is not state and after is not None:
                states[key] = after
                if changed is not None:
                    changed.add(key)
            if said:
                found += said
        if clock - self._looked_at >= MINUTE_MS:
            found += self._look(clock)
        return found

    def tick(self, clock: int) -> list[Finding]:
        """Take the time where no record came; return what only time can say. A time gone by says nothing."""
        return self._look(clock) if clock - self._looked_at >= MINUTE_MS else []

    def _choose(self, service: str, views: frozenset[str] | None) -> list[Held]:
        without: tuple[str, ...] = {VOICE: _MESSAGES, SMS: _CALLS, MMS: _CALLS}.get(service, _CALLS + _MESSAGES)
        return [
            held
            for held in self._held
            if held[0].name not in without
            and (views is None or held[0].view in views or (DEAD_LETTERS in views and held[0].name in _OF_DEAD_LETTERS))
        ]

    def since(self, line: str, start: int, clock: int) -> int:
        """Return when the line was first seen: with this record, if it is new."""
        known = self._lines.get(line)
        if known is None or clock - known[1] > DAY_MS:
            known = self._lines[line] = (start if known is None else known[0], clock)
            if self._changed_lines is not None:
                self._changed_lines.add(line)
        return known[0]

    def declare(self, declared: Declared) -> list[Finding]:
        """Take what a source says that it sent; return what does not agree. Needs the control totals' detector."""
        assert self._totals is not None, "control totals are counted where they are declared"
        part, states, _ = self._totals
        assert isinstance(part, ControlTotal)
        state, found = part.declare(states.get(declared.source), declared)
        if state is not None:
            states[declared.source] = state
        return list(found)

    def states(self) -> Iterator[tuple[Part, str, State]]:
        """Yield every state with its detector and key."""
        for part, states, _ in self._held:
            for key, state in states.items():
                yield part, key, state

    def changes(self) -> list[Change]:
        """Return the states that are others than when this was last asked, in the order of the detectors."""
        found: list[Change] = []
        for part, states, changed in self._held:
            if changed:
                name = part_name(part)
                found += [Change(name, key, states.get(key)) for key in changed]
                changed.clear()
        if self._changed_lines:
            found += [Change(LINES, line, self._lines.get(line)) for line in self._changed_lines]
            self._changed_lines.clear()
        return found

    def times(self) -> tuple[int, int]:
        """Return when it last looked at what only time can say, and when it last swept: kept beside the states."""
        return self._looked_at, self._swept_at

    def restore(self, states: list[Change], times: tuple[int, int]) -> None:
        """Take over kept states of an engine with the same detectors; those of a detector that is none are left."""
        held = {part_name(part): known for part, known, _ in self._held}
        for part, key, state in states:
            if part == LINES:
                assert state is not None, "what is gone is not kept"
                self._lines[key] = state
            elif part in held:
                held[part][key] = state
        self._looked_at, self._swept_at = times

    def _look(self, clock: int) -> list[Finding]:
        """Ask what only time can say: sources that are silent, alerts that are quiet, states that are too old."""
        self._looked_at = clock
        found: list[Finding] = []
        if self._sources is not None:
            part, states, changed = self._sources
            assert isinstance(part, SilentSource)
            for key, state in states.items():
                states[key], said = part.tick(key, state, clock)
                if said and changed is not None:
                    changed.add(key)
                found += said
        if clock - self._swept_at >= _SWEEP_MS:
            self._swept_at = clock
            found += self._sweep(clock)
        return found

    def _sweep(self, clock: int) -> list[Finding]:
        found: list[Finding] = []
        for part, states, changed in self._held:
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
                    if changed is not None:
                        changed.add(key)
            for key in gone:
                del states[key]
            if changed is not None:
                changed.update(gone)
        old = [line for line, (_, last) in self._lines.items() if last < clock - _LINES_KEPT_MS]
        for line in old:
            del self._lines[line]
        if self._changed_lines is not None:
            self._changed_lines.update(old)
        return found
