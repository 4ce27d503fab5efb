"""impossible_travel: one SIM used in two places between which nobody can have travelled.

Definition: the distance between two records' cells, over the time between their starts, is faster than an airliner;
short distances are noise of cell sizes. The operator supplies the cells' places. Without them countries tell:
answered calls that overlap in two countries, or two parts of the world within an hour. Source: cloning rules of 800
to 1,000 km/h; ITU-T E.212 for the country and the part of the world in a network code.
"""

from bisect import bisect_left
from math import isqrt
from typing import Final, NamedTuple

from pipeline.domain.detectors.event_time import HOUR_MS, MINUTE_MS, SECOND_MS, Episode
from pipeline.domain.detectors.finding import CRITICAL
from pipeline.domain.detectors.part import LINE, NOTHING, Hit, Step, speak
from pipeline.domain.detectors.use import Reference, Use
from pipeline.domain.usage import VOICE

IMPOSSIBLE_TRAVEL: Final = "impossible_travel"
_KEPT: Final = 4
_BETWEEN_PARTS: Final = frozenset(("214", "250", "282", "283", "286", "400", "602", "604", "714"))
"""Countries with a border to another part of the world."""

Place = tuple[int, int, int]


class Parameters(NamedTuple):
    """What operators may set.

    `km_an_hour`: faster is impossible; `distance_m`: nearer is noise; `clock_ms`: what clocks may differ by;
    `overlap_ms`: calls in two countries overlap by at least this; `parts_ms`: two parts of the world are this far
    apart.
    """

    km_an_hour: int = 1_000
    distance_m: int = 100_000
    clock_ms: int = MINUTE_MS
    overlap_ms: int = 30 * SECOND_MS
    parts_ms: int = HOUR_MS


class Seen(NamedTuple):
    """Where the line was: when a record began, until when it talked, its cell, its country."""

    start: int
    talked_until: int
    cell: str
    country: str
    record_id: str


class State(NamedTuple):
    """The last places, by start; records of one cell are one place, its last."""

    seen: int
    episode: Episode | None
    places: tuple[Seen, ...]


class ImpossibleTravel:
    """See the module."""

    name = IMPOSSIBLE_TRAVEL
    view = LINE
    kept_ms = 2 * 24 * HOUR_MS
    quiet_ms = 12 * HOUR_MS

    def __init__(self, parameters: Parameters, reference: Reference) -> None:
        self._parameters = parameters
        self._positions = reference.positions

    def key(self, use: Use) -> str | None:
        """Return the SIM (its imsi, else the line) of a record that says where it was."""
        usage = use.usage
        if usage.cell is None and usage.visited_plmn is None and not (usage.answered and usage.service == VOICE):
            return None
        return usage.imsi or use.line

    def step(self, state: State | None, use: Use) -> Step:
        """Hold the place against the last ones."""
        usage = use.usage
        away = usage.visited_plmn if use.away else None
        country = away[:3] if away is not None else ""
        talked = use.end if usage.service == VOICE and usage.answered else use.start
        here = Seen(use.start, talked, usage.cell or "", country, usage.record_id)
        if state is None:
            return State(use.clock, None, (here,)), NOTHING
        episode, found = state.episode, NOTHING
        places = state.places
        last = places[-1]
        if here.cell == last.cell and country == last.country:
            if here.start >= last.start:
                return State(use.clock, episode, (*places[:-1], here)), NOTHING
            return state._replace(seen=use.clock), NOTHING
        # nobody who was in time for the place before and the one behind was late for those beyond them
        at = bisect_left(places, here)
        for there in places[max(at - 1, 0) : at + 1]:
            reason = self._impossible(there, here, usage.imsi or "")
            if reason is not None:
                hit = Hit(
                    use.line,
                    use.account,
                    CRITICAL,
                    1_000,
                    (there.record_id, here.record_id),
                    {
                        **reason,
                        "apart_ms": abs(here.start - there.start),
                        "cells": [there.cell, here.cell],
                        "countries": [there.country or "home", country or "home"],
                    },
                    "Treat the SIM as cloned: bar it, give the customer a new one, and take back what was not his.",
                )
                episode, found = speak(IMPOSSIBLE_TRAVEL, episode, hit, use, HOUR_MS)
                break
        return State(use.clock, episode, (*places[:at], here, *places[at:])[-_KEPT:]), found

    def _impossible(self, there: Seen, here: Seen, imsi: str) -> dict[str, object] | None:
        rules = self._parameters
        apart_ms = abs(here.start - there.start)
        one, two = self._positions.get(there.cell), self._positions.get(here.cell)
        if one is not None and two is not None:
            metres = distance_m(one, two)
            # m / ms = 3600 km/h
            if metres >= rules.distance_m and metres * 3_600 > rules.km_an_hour * (apart_ms + rules.clock_ms):
                return {"distance_m": metres, "km_an_hour": metres * 3_600 // (apart_ms + rules.clock_ms)}
            return None
        if there.country == here.country:
            return None
        overlap = min(there.talked_until, here.talked_until) - max(there.start, here.start)
        if overlap >= rules.overlap_ms:
            return {"overlap_ms": overlap}
        home = imsi[:3] or "?"
        codes = (there.country or home, here.country or home)
        if "?" in codes or codes[0][0] == codes[1][0] or _BETWEEN_PARTS & {*codes}:
            return None
        return {"parts_of_the_world": [codes[0][0], codes[1][0]]} if apart_ms < rules.parts_ms else None


def distance_m(one: Place, two: Place) -> int:
    """Return the straight distance in metres, which is never longer than the way over ground."""
    return isqrt((one[0] - two[0]) ** 2 + (one[1] - two[1]) ** 2 + (one[2] - two[2]) ** 2)
