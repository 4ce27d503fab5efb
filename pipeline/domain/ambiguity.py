"""What a catalogue may not leave open: rules between which no record can choose, and prices that cannot mix.

Zones and bands may overlap as they like. Refused is only what some record would really meet: two rules that both match
it with equal prefix length, priority and number of keys; or two rules that one call can be cut
between although their meters differ, or one has volume tiers. Pure, and exact for the calendars as they are written.
"""

from collections.abc import Iterator
from typing import NamedTuple

from pipeline.domain.catalogue import Catalogue, Plan
from pipeline.domain.matching import Keys, Rule, Zone
from pipeline.domain.tariff_time import Band
from pipeline.domain.usage import VOICE

_WEEK = range(7)


AMBIGUOUS = "ambiguous"
METERS = "meters"
VOLUME = "volume"


class Clash(NamedTuple):
    """Two rules of a plan (by their places in the catalogue) that cannot stand together, why, and an example."""

    plan: int
    first: int
    second: int
    why: str
    example: str


def clashes(catalogue: Catalogue) -> Iterator[Clash]:
    """Name every pair of rules that is ambiguous, or that can cut one call and cannot share it."""
    for at, plan in enumerate(catalogue.plans):
        for first, second in _pairs(plan):
            one, other = plan.rules[first], plan.rules[second]
            if not _meet(one.keys, other.keys):
                continue
            tie = _tie(one, other)
            if tie is not None:
                yield Clash(at, first, second, AMBIGUOUS, tie)
                continue
            why = _mix(one, other)
            if why is not None and _may_cut(one, other):
                yield Clash(at, first, second, why, _example(one.keys, other.keys, None))


def _pairs(plan: Plan) -> Iterator[tuple[int, int]]:
    for first in range(len(plan.rules)):
        for second in range(first + 1, len(plan.rules)):
            yield first, second


def _meet(one: Keys, other: Keys) -> bool:
    """Tell whether one record can meet both in all keys but `to` and `band`."""
    for mine, theirs in (
        (one.service, other.service),
        (one.direction, other.direction),
        (one.rating_group, other.rating_group),
        (one.on_net, other.on_net),
    ):
        if mine is not None and theirs is not None and mine != theirs:
            return False
    return one.visited is None or other.visited is None or not one.visited.isdisjoint(other.visited)


def _tie(one: Rule, other: Rule) -> str | None:
    """Return an example of a record that cannot choose between the two, or None."""
    if (
        one.priority != other.priority
        or one.key_count != other.key_count
        or not _overlap(one.keys.band, other.keys.band)
    ):
        return None
    mine, theirs = one.keys.zone, other.keys.zone
    if mine is None and theirs is None:
        return _example(one.keys, other.keys, None)
    if mine is None or theirs is None:
        return None
    for prefix in mine.prefixes.keys() & theirs.prefixes.keys():
        if prefix != "+" or not (_fills_plus(mine, theirs)):
            return _example(one.keys, other.keys, prefix)
    return None


def _fills_plus(one: Zone, other: Zone) -> bool:
    """Tell whether longer prefixes leave no number whose longest prefix is the bare `+`."""
    return all(f"+{digit}" in one.prefixes or f"+{digit}" in other.prefixes for digit in range(1, 10))


def _overlap(one: Band | None, other: Band | None) -> bool:
    """Tell whether there is a moment that both bands cover."""
    if one is None or other is None:
        return True
    if max(one.from_ms, other.from_ms) >= min(one.to_ms, other.to_ms):
        return False
    if any(one.days[weekday] and other.days[weekday] for weekday in _WEEK):
        return True
    return any(one.on_day(day) and other.on_day(day) for day in {*one.moved, *other.moved})


def _covers(one: Band | None, other: Band | None) -> bool:
    """Tell whether the first band holds at every moment of the second."""
    if one is None:
        return True
    from_ms, to_ms, days = (0, 86_400_000, (True,) * 7) if other is None else (other.from_ms, other.to_ms, other.days)
    if one.from_ms > from_ms or one.to_ms < to_ms:
        return False
    if not all(one.days[weekday] or not days[weekday] for weekday in _WEEK):
        return False
    moved = {*one.moved, *(() if other is None else other.moved)}
    return all(one.on_day(day) or not (other is None or other.on_day(day)) for day in moved)


def _mix(one: Rule, other: Rule) -> str | None:
    """Say why one call may not have a stretch of each rule; None where it may."""
    if one.free or other.free:
        return None
    if one.meter != other.meter:
        return METERS
    return VOLUME if one.meter == "record" and (one.is_volume() or other.is_volume()) else None


def _may_cut(one: Rule, other: Rule) -> bool:
    """Tell whether a call may have a stretch of each rule."""
    if one.keys.service != VOICE:
        return False
    if one.keys.band is None and other.keys.band is None:
        return False  # which of the two is chosen does not change with time
    for mine, theirs in _prefix_lengths(one.keys.zone, other.keys.zone):
        rank_mine = (mine, one.priority, one.key_count)
        rank_theirs = (theirs, other.priority, other.key_count)
        better, worse = (one, other) if rank_mine > rank_theirs else (other, one)
        if not _covers(better.keys.band, worse.keys.band):
            return True
    return False


def _prefix_lengths(one: Zone | None, other: Zone | None) -> set[tuple[int, int]]:
    """Return the pairs of longest-prefix lengths that a number can have in the two zones (0 without a zone)."""
    if one is None and other is None:
        return {(0, 0)}
    lengths = set()
    for number in {*(one.prefixes if one else ()), *(other.prefixes if other else ())}:
        mine = one.longest(number) if one else ""
        theirs = other.longest(number) if other else ""
        if mine is not None and theirs is not None:
            lengths.add((len(mine), len(theirs)))
    return lengths


def _example(one: Keys, other: Keys, prefix: str | None) -> str:
    service = one.service or other.service or "any service"
    direction = one.direction or other.direction or "MO"
    return f"{service} {direction}" + (f" with {prefix}..." if prefix else "")
