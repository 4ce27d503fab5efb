"""sequence_gap and sequence_repeat: numbers of a source that never came, or came twice.

Definition: a source numbers its records one by one (localSequenceNumber of TS 32.298). A run of numbers still missing
some time after the numbers behind it came is a gap: a lost file, a switch that dropped records. A number seen before on
another record is a repeat: records made twice under new ids, or a counter that stands still. Single numbers that are
late, and a counter that begins anew or wraps, are neither. Copies of a record are no repeats: they are removed before.
Source: MissingReturn of TAP's RAP files; duplicate checks by (node, localSequenceNumber).
"""

from typing import Final, NamedTuple

from pipeline.domain.detectors.event_time import DAY_MS, HOUR_MS, MINUTE_MS, Entry, Episode, Log, logged
from pipeline.domain.detectors.finding import WARNING
from pipeline.domain.detectors.part import NOTHING, SOURCE, Hit, Step, speak
from pipeline.domain.detectors.use import Use

SEQUENCE_GAP: Final = "sequence_gap"
SEQUENCE_REPEAT: Final = "sequence_repeat"
_BITS: Final = 8_192
_MASK: Final = (1 << _BITS) - 1
_GAPS_KEPT: Final = 16
_REPEATS_KEPT: Final = 32
_RESTART_RUN: Final = 100
"""Records in a row that all count on from below: the counter began anew. Fewer are a file that came late or twice."""
_NEAR: Final = 50


class Parameters(NamedTuple):
    """What operators may set.

    `run`: so many numbers in a row are a gap, once they are missing for `open_ms`; `jump`: a step further than this
    is a counter that begins elsewhere; `repeats`: so many numbers repeated within an hour.
    """

    run: int = 5
    open_ms: int = 30 * MINUTE_MS
    jump: int = 5_000
    repeats: int = 3


class Gap(NamedTuple):
    """Numbers from `first` to `last` are missing since `since`; the records on both sides of it."""

    first: int
    last: int
    since: int
    before: str
    after: str


class GapState(NamedTuple):
    """The greatest number, the record that bore it, and runs of numbers that are missing."""

    seen: int
    episode: Episode | None
    newest: int
    record_id: str
    gaps: tuple[Gap, ...]
    low: int
    run: int


class SequenceGap:
    """See the module."""

    name = SEQUENCE_GAP
    view = SOURCE
    kept_ms = 7 * DAY_MS
    quiet_ms = 6 * HOUR_MS

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def key(self, use: Use) -> str | None:
        """Return the source of a numbered record."""
        return use.usage.source if use.usage.sequence is not None else None

    def step(self, state: GapState | None, use: Use) -> Step:
        """Place the number; speak of runs that have been missing for too long."""
        number, record_id = use.usage.sequence, use.usage.record_id
        assert number is not None, "asked by key"
        if state is None:
            return GapState(use.clock, None, number, record_id, (), 0, 0), NOTHING
        rules, gaps, ahead = self._parameters, state.gaps, number - state.newest
        newest, low, run = state.newest, 0, 0
        if abs(ahead) > rules.jump:
            newest, gaps = number, ()
        elif ahead > 0:
            newest = number
            if ahead > rules.run:
                gap = Gap(state.newest + 1, number - 1, use.clock, state.record_id, record_id)
                gaps = (*gaps, gap)[-_GAPS_KEPT:]
        else:
            gaps = _filled(gaps, number, rules.run)
            low, run = number, state.run + 1 if abs(number - state.low) <= _NEAR else 1
            if run >= _RESTART_RUN:
                newest, gaps, low, run = number, (), 0, 0
        state = GapState(
            use.clock, state.episode, newest, record_id if newest == number else state.record_id, gaps, low, run
        )
        return self._judged(state, use) if gaps else (state, NOTHING)

    def _judged(self, state: GapState, use: Use) -> Step:
        old = [gap for gap in state.gaps if use.clock - gap.since >= self._parameters.open_ms]
        if not old:
            return state, NOTHING
        missing = sum(gap.last - gap.first + 1 for gap in old)
        hit = Hit(
            f"source-{use.usage.source}",
            "",
            WARNING,
            1_000 * missing // self._parameters.run,
            tuple(record_id for gap in old for record_id in (gap.before, gap.after)),
            {"missing": missing, "runs": [[gap.first, gap.last] for gap in old]},
            "Ask the source for the missing records; they are charged when they come, within the late window.",
        )
        episode, found = speak(SEQUENCE_GAP, state.episode, hit, use, HOUR_MS)
        # said once: what stays missing keeps no alert open for ever
        return state._replace(episode=episode, gaps=tuple(gap for gap in state.gaps if gap not in old)), found


def _filled(gaps: tuple[Gap, ...], number: int, run: int) -> tuple[Gap, ...]:
    found = []
    for gap in gaps:
        if not gap.first <= number <= gap.last:
            found.append(gap)
            continue
        parts = (gap._replace(last=number - 1), gap._replace(first=number + 1))
        found += [part for part in parts if part.last - part.first + 1 >= run]
    return tuple(found[-_GAPS_KEPT:])


class RepeatState(NamedTuple):
    """The greatest number, a bit for each number seen below it, and the repeats of the last hour."""

    seen: int
    episode: Episode | None
    newest: int
    bits: int
    log: Log
    low: int
    run: int


class SequenceRepeat:
    """See the module."""

    name = SEQUENCE_REPEAT
    view = SOURCE
    kept_ms = 7 * DAY_MS
    quiet_ms = 6 * HOUR_MS

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def key(self, use: Use) -> str | None:
        """Return the source of a numbered record."""
        return use.usage.source if use.usage.sequence is not None and not use.usage.retransmission else None

    def step(self, state: RepeatState | None, use: Use) -> Step:
        """Look whether the number was there before."""
        number = use.usage.sequence
        assert number is not None, "asked by key"
        if state is None:
            return RepeatState(use.clock, None, number, 1, (), 0, 0), NOTHING
        ahead = number - state.newest
        if ahead > 0:
            bits = (state.bits << ahead | 1) & _MASK if ahead < _BITS else 1
            after = RepeatState(use.clock, state.episode, number, bits, state.log, 0, 0)
            return self._judged(after, use) if state.log else (after, NOTHING)
        if ahead <= -_BITS:
            return RepeatState(use.clock, state.episode, number, 1, (), 0, 0), NOTHING
        run = state.run + 1 if abs(number - state.low) <= _NEAR else 1
        if run >= _RESTART_RUN:
            return RepeatState(use.clock, state.episode, number, 1, (), 0, 0), NOTHING
        log, bit = state.log, 1 << -ahead
        if state.bits & bit:
            log = logged(log, Entry(use.clock, use.clock, str(number), use.usage.record_id), HOUR_MS, _REPEATS_KEPT)
        return RepeatState(use.clock, state.episode, state.newest, state.bits | bit, log, number, run), NOTHING

    def _judged(self, state: RepeatState, use: Use) -> Step:
        """Speak once the source goes on counting: a counter that began anew would not."""
        log = tuple(entry for entry in state.log if entry.start > use.clock - HOUR_MS)
        rules, episode, found = self._parameters, state.episode, NOTHING
        if len(log) >= rules.repeats:
            hit = Hit(
                f"source-{use.usage.source}",
                "",
                WARNING,
                1_000 * len(log) // rules.repeats,
                tuple(entry.record_id for entry in log),
                {"repeats_in_60_min": len(log), "limit": rules.repeats, "numbers": [int(e.party) for e in log]},
                "Compare the records of these numbers: if they are the same use under other ids, adjust the charges.",
            )
            episode, found = speak(SEQUENCE_REPEAT, episode, hit, use, HOUR_MS)
            log = ()
        return state._replace(episode=episode, log=log), found
