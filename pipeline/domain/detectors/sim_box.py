"""sim_box: SIMs that only call out, for somebody who sells the minutes.

Definition: out-going calls to many distinct numbers, hardly anything coming in, no data, a cell or two; on one IMEI
several such SIMs, or, where one device has but one, day and night without a pause. A call centre works in hours, and
is called back. Source: the FAST rule (more than 50 calls in 24 h, no message received, few calls in), static location
and volume after Murynets et al., several SIMs on one IMEI.
"""

from typing import Final, NamedTuple

from pipeline.domain.detectors.event_time import DAY_MS, HOUR_MS, Episode
from pipeline.domain.detectors.finding import CRITICAL, WARNING
from pipeline.domain.detectors.part import IMEI, LINE, NOTHING, Hit, Step, speak
from pipeline.domain.detectors.use import Use
from pipeline.domain.usage import DATA, VOICE

SIM_BOX: Final = "sim_box"
_NUMBERS_KEPT: Final = 96
_LINES_KEPT: Final = 32
_IDS_KEPT: Final = 32
_CELLS_KEPT: Final = 4


class Parameters(NamedTuple):
    """Within a day.

    `calls` of one line, `distinct_percent` of them to distinct numbers, `incoming_percent` at most for what comes in,
    `cells` at most, `hours` of the day with calls. On one IMEI: `lines` at least, `imei_calls` together.
    """

    calls: int = 50
    distinct_percent: int = 60
    incoming_percent: int = 4
    cells: int = 2
    hours: int = 15
    lines: int = 3
    imei_calls: int = 30


class State(NamedTuple):
    """A day of a line or of an IMEI; `hours` has a bit for each hour with calls."""

    seen: int
    episode: Episode | None
    day: int
    calls: int
    incoming: int
    data: int
    hours: int
    numbers: tuple[str, ...]
    cells: tuple[str, ...]
    lines: tuple[str, ...]
    record_ids: tuple[str, ...]


class _SimBox:
    name = SIM_BOX
    kept_ms = DAY_MS + 6 * HOUR_MS
    quiet_ms = DAY_MS

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def step(self, state: State | None, use: Use) -> Step:
        """Count the record in its day; one of an earlier day than the newest is not counted."""
        usage, start = use.usage, use.start
        day = start // DAY_MS
        if state is None:
            if usage.service == DATA:
                return None, NOTHING
            state = State(0, None, day, 0, 0, 0, 0, (), (), (), ())
        elif day > state.day:
            state = State(0, state.episode, day, 0, 0, 0, 0, (), (), (), ())
        elif day < state.day:
            return state, NOTHING
        if usage.direction == "MT":
            _, episode, _, calls, incoming, data, hours, numbers, cells, lines, ids = state
            return State(use.clock, episode, day, calls, incoming + 1, data, hours, numbers, cells, lines, ids), NOTHING
        if usage.service != VOICE:
            if usage.service == DATA and not state.data:
                return state._replace(data=1), NOTHING
            return state, NOTHING
        numbers, cells, lines, cell = state.numbers, state.cells, state.lines, usage.cell
        if use.other not in numbers and len(numbers) < _NUMBERS_KEPT:
            numbers = (*numbers, use.other)
        if cell is not None and cell not in cells and len(cells) < _CELLS_KEPT:
            cells = (*cells, cell)
        if use.line not in lines and len(lines) < _LINES_KEPT:
            lines = (*lines, use.line)
        ids = (*state.record_ids[1 - _IDS_KEPT :], usage.record_id)
        hours = state.hours | 1 << (start % DAY_MS // HOUR_MS)
        state = State(
            use.clock,
            state.episode,
            day,
            state.calls + 1,
            state.incoming,
            state.data,
            hours,
            numbers,
            cells,
            lines,
            ids,
        )
        return self._judged(state, use)

    def _judged(self, state: State, use: Use) -> Step:
        raise NotImplementedError

    def _is_out_only(self, state: State) -> bool:
        rules, distinct = self._parameters, len(state.numbers)
        many = 100 * distinct >= rules.distinct_percent * min(state.calls, _NUMBERS_KEPT)
        return many and 100 * state.incoming <= rules.incoming_percent * state.calls

    def _said(self, state: State, use: Use, object_: str, severity: str, score: int) -> Step:
        hit = Hit(
            object_,
            use.account if object_ == use.line else "",
            severity,
            score,
            state.record_ids,
            {
                "calls_in_the_day": state.calls,
                "numbers_called": len(state.numbers),
                "incoming": state.incoming,
                "cells": len(state.cells),
                "lines": list(state.lines),
                "hours_with_calls": state.hours.bit_count(),
            },
            "Make a test call through the route, then bar the lines and the device.",
        )
        episode, found = speak(SIM_BOX, state.episode, hit, use, DAY_MS)
        return state._replace(episode=episode), found


class OneLine(_SimBox):
    """A SIM that calls out day and night."""

    view = LINE

    def key(self, use: Use) -> str | None:
        """Return the line, whatever it does."""
        return use.line

    def _judged(self, state: State, use: Use) -> Step:
        rules = self._parameters
        if (
            state.calls < rules.calls
            or state.data
            or len(state.cells) > rules.cells
            or state.hours.bit_count() < rules.hours
            or not self._is_out_only(state)
        ):
            return state, NOTHING
        return self._said(state, use, use.line, WARNING, 1_000 * state.calls // rules.calls)


class OneDevice(_SimBox):
    """Several SIMs of one IMEI that call out."""

    view = IMEI

    def key(self, use: Use) -> str | None:
        """Return the device: of calls, and of what comes in."""
        usage = use.usage
        return usage.imei if usage.service == VOICE or usage.direction == "MT" else None

    def _judged(self, state: State, use: Use) -> Step:
        rules = self._parameters
        if (
            len(state.lines) < rules.lines
            or state.calls < rules.imei_calls
            or len(state.cells) > rules.cells
            or not self._is_out_only(state)
        ):
            return state, NOTHING
        return self._said(state, use, f"imei-{use.usage.imei}", CRITICAL, 1_000 * state.calls // rules.imei_calls)
