"""Ordinary days: seasons of day and week, people and their contacts, and those whose use only looks odd."""

from collections.abc import Iterator
from random import Random
from typing import Final

from deploy.sample.labelled.draft import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Draft, Sim, call, data, message
from deploy.sample.labelled.world import (
    ABROAD,
    CALL_CENTRE,
    CITIES,
    COURIER,
    DIALLER,
    EXPAT,
    PBX,
    TALKER,
    TRADER,
    Line,
    World,
    stranger,
)

WORKDAY: Final = (2, 1, 1, 0, 0, 1, 4, 9, 13, 15, 15, 14, 14, 12, 13, 14, 15, 17, 18, 17, 15, 12, 8, 4)
WEEKEND: Final = (4, 3, 1, 1, 0, 1, 2, 4, 8, 12, 14, 15, 15, 13, 13, 13, 14, 15, 17, 18, 17, 14, 10, 6)
OFFICE: Final = (0, 0, 0, 0, 0, 0, 0, 0, 4, 12, 14, 12, 5, 9, 14, 14, 12, 8, 1, 0, 0, 0, 0, 0)
LOCAL_MS: Final = 8 * HOUR_MS
NEW_YEAR_DAY: Final = 11
"""The day of the fortnight whose first local hour is New Year's."""
HOTLINE: Final = "+442087541234"
HOTLINE_DAY: Final = 6
ROAMERS: Final = 0.012
PORTED: Final = 0.0015
CALL_WAITING: Final = 0.04
NEW_PHONES: Final = 0.0012
CALLS, TEXTS, SESSIONS = 3.0, 1.6, 2.2


class Days:
    """Makes a day's records at a time; who roams, ports a number or buys a phone is settled before."""

    def __init__(self, random: Random, world: World, begin: int, days: int) -> None:
        self._random = random
        self._world = world
        self._begin = begin
        self._days = days
        self._sessions = 0
        self._busy: dict[int, list[tuple[int, int]]] = {}
        ordinary = [line for line in world.lines if line.kind in ("person", EXPAT, "heavy")]
        chosen = random.sample(ordinary, round(ROAMERS * len(world.lines)))
        self._trips = {
            line.index: (random.randrange(1, max(days - 3, 2)), random.randrange(2, 7), random.choice(list(ABROAD)))
            for line in chosen
        }
        flyers = random.sample(ordinary, round(ROAMERS * len(world.lines)))
        self._flights = {line.index: (random.randrange(1, days), random.choice(list(CITIES))) for line in flyers}

    def day(self, number: int) -> Iterator[Draft]:
        """Yield the records that begin on this local day, in no order."""
        midnight = self.midnight(number)
        weekend = (number % 7) in (5, 6)
        hours = WEEKEND if weekend else WORKDAY
        self._busy.clear()
        for line in self._world.lines:
            if number < line.joins:
                continue
            self._change_phone(line)
            match line.kind:
                case "call-centre" | "dialler" | "pbx":
                    if not weekend:
                        yield from self._office(line, midnight)
                case "bulk-sender":
                    yield from self._bulk(line, midnight, hours)
                case "meter":
                    for hour in range(0, 24, 6):
                        yield from self._session(
                            self._at_home(line), midnight + hour * HOUR_MS + line.index * 900, 20_000
                        )
                case _:
                    yield from self._person(line, number, midnight, hours, 1.15 if weekend else 1.0)
        if number == HOTLINE_DAY:
            yield from self._hotline(midnight)
        if number == NEW_YEAR_DAY:
            yield from self._new_year(midnight)

    def midnight(self, number: int) -> int:
        """Return the local midnight at which a day begins."""
        return self._begin + number * DAY_MS

    def moment(self, midnight: int, hours: tuple[int, ...]) -> int:
        """Return a moment of the day by its hours' shares."""
        random = self._random
        return midnight + random.choices(range(24), hours)[0] * HOUR_MS + random.randrange(HOUR_MS)

    def sim(self, line: Line, day: int, at: int) -> Sim:
        """Return who and where the line is on this day, at this moment."""
        trip = self._trips.get(line.index)
        if trip is not None and trip[0] <= day <= trip[0] + trip[1]:
            first, last = day == trip[0], day == trip[0] + trip[1]
            hour = (at + LOCAL_MS) % DAY_MS // HOUR_MS
            if not (first and hour < 20) and not (last and hour > 4):
                return Sim(line.msisdn, line.imsi, line.imei, f"{trip[2]}-1", trip[2])
        flight = self._flights.get(line.index)
        if flight is not None and flight[0] == day and (at + LOCAL_MS) % DAY_MS >= 14 * HOUR_MS:
            return Sim(line.msisdn, line.imsi, line.imei, f"{flight[1]}-{line.index % 40:03d}")
        return Sim(line.msisdn, line.imsi, line.imei, self._random.choice(line.cells))

    def _is_travelling(self, line: Line, day: int, at: int) -> bool:
        """Tell whether the line is in the air: nobody calls from there."""
        hour = (at + LOCAL_MS) % DAY_MS // HOUR_MS
        trip, flight = self._trips.get(line.index), self._flights.get(line.index)
        if trip is not None and ((day == trip[0] and 8 <= hour < 20) or (day == trip[0] + trip[1] and 4 < hour < 18)):
            return True
        return flight is not None and ((flight[0] == day and 9 <= hour < 14) or (flight[0] + 1 == day and hour < 6))

    def _at_home(self, line: Line) -> Sim:
        return Sim(line.msisdn, line.imsi, line.imei, line.cells[0])

    def _change_phone(self, line: Line) -> None:
        """Buy a new phone, or come back from the shop with a new SIM of the same number."""
        random = self._random
        if random.random() < NEW_PHONES:
            line.imei = f"86{random.randrange(10**12):012d}0"
        if random.random() < PORTED / self._days:
            line.imsi = f"46098{random.randrange(10**10):010d}"

    def _person(self, line: Line, day: int, midnight: int, hours: tuple[int, ...], factor: float) -> Iterator[Draft]:
        random = self._random
        rate = line.rate * factor
        busy_until = 0
        starts = sorted(self.moment(midnight, hours) for _ in range(self._count(CALLS * rate)))
        for start in starts:
            if self._is_travelling(line, day, start):
                continue
            start = max(start, busy_until + 5 * SECOND_MS)  # noqa: PLW2901 - one call after the other
            other, incoming = self._contact(line), random.random() < 0.45
            if line.kind == COURIER and random.random() < 0.8:
                other, incoming = stranger(random), random.random() < 0.3
            friend = self._world.by_number.get(other)
            answered = random.random() < 0.78
            duration = self._talk(line) if answered else random.randrange(5, 40) * SECOND_MS
            if answered and not (self._is_free(line, start, duration) and self._is_free(friend, start, duration)):
                answered, duration = False, random.randrange(2, 12) * SECOND_MS
            busy_until = start + duration
            if answered:
                self._occupy(line, start, duration)
                self._occupy(friend, start, duration)
            sim = self.sim(line, day, start)
            yield call(sim, line.msc, other, start, duration, incoming=incoming, answered=answered)
            if friend is not None and sim.visited is None and not self._is_travelling(friend, day, start):
                there = self.sim(friend, day, start)
                yield call(there, friend.msc, line.msisdn, start, duration, incoming=not incoming, answered=answered)
        if line.kind == COURIER:
            for _ in range(self._count(45)):
                start = self.moment(midnight, OFFICE)
                if start > busy_until:
                    duration = random.randrange(5, 45) * SECOND_MS
                    busy_until = start + duration
                    answered = random.random() < 0.75
                    yield call(self._at_home(line), line.msc, stranger(random), start, duration, answered=answered)
        for _ in range(self._count(TEXTS * rate)):
            start = self.moment(midnight, hours)
            if not self._is_travelling(line, day, start):
                incoming = random.random() < 0.7
                other = random.choice(("10086", "95555", "106900")) if incoming and random.random() < 0.6 else ""
                yield message(self.sim(line, day, start), other or self._contact(line), start, incoming=incoming)
        for _ in range(self._count(SESSIONS * min(rate, 3.0))):
            start = self.moment(midnight, hours)
            if not self._is_travelling(line, day, start):
                octets = int(random.lognormvariate(16.5, 1.5))
                yield from self._session(self.sim(line, day, start), start, octets)

    def _is_free(self, line: Line | None, start: int, duration: int) -> bool:
        """Tell whether nobody is talking on the line then; now and then somebody takes a second call."""
        if line is None or self._random.random() < CALL_WAITING:
            return True
        return all(end <= start or begin >= start + duration for begin, end in self._busy.get(line.index, ()))

    def _occupy(self, line: Line | None, start: int, duration: int) -> None:
        if line is not None:
            self._busy.setdefault(line.index, []).append((start, start + duration))

    def _session(self, sim: Sim, start: int, octets: int) -> Iterator[Draft]:
        random = self._random
        self._sessions += 1
        gateway = "PGW-1" if self._sessions % 2 else "PGW-2"
        parts = 1 if octets < 50_000_000 else random.choice((1, 2, 3))
        for part in range(1, parts + 1):
            duration = random.randrange(20, 1_500) * SECOND_MS
            yield data(sim, gateway, start, duration, octets // parts, f"s{self._sessions}", part)
            start += duration

    def _office(self, line: Line, midnight: int) -> Iterator[Draft]:
        """Call centres work one line hard; a dialler's and a switchboard's number hold many calls at once."""
        random, sim = self._random, self._at_home(line)
        sizes = {CALL_CENTRE: 190, DIALLER: 700, PBX: 260}
        incoming_share = {CALL_CENTRE: 0.12, DIALLER: 0.08, PBX: 0.5}[line.kind]
        free_at = 0
        for start in sorted(self.moment(midnight, OFFICE) for _ in range(self._count(sizes[line.kind]))):
            if line.kind == CALL_CENTRE and start < free_at:
                continue
            answered = random.random() < (0.55 if line.kind != PBX else 0.85)
            talk = int(min(random.lognormvariate(4.3, 0.9), 2_400) * SECOND_MS)
            duration = talk if answered else random.randrange(15, 30) * SECOND_MS
            free_at = start + duration + 10 * SECOND_MS
            incoming = random.random() < incoming_share
            other = self._contact(line) if line.kind == PBX and random.random() < 0.4 else stranger(random)
            yield call(sim, line.msc, other, start, duration, incoming=incoming, answered=answered)

    def _bulk(self, line: Line, midnight: int, hours: tuple[int, ...]) -> Iterator[Draft]:
        for _ in range(self._count(900 + line.index % 7 * 200)):
            yield message(self._at_home(line), stranger(self._random), self.moment(midnight, hours))

    def _hotline(self, midnight: int) -> Iterator[Draft]:
        """Bad weather: travellers call one airline's hotline abroad all day long."""
        random = self._random
        for line in random.sample(self._world.lines, len(self._world.lines) // 150):
            if line.kind in ("person", EXPAT, TRADER):
                start = self.moment(midnight, OFFICE)
                yield call(self._at_home(line), line.msc, HOTLINE, start, random.randrange(60, 900) * SECOND_MS)

    def _new_year(self, midnight: int) -> Iterator[Draft]:
        """At midnight people write to everybody they know, some to each of them twice, and call home."""
        random, away = self._random, {*self._trips, *self._flights}
        for line in self._world.lines:
            if line.kind not in ("person", EXPAT, "heavy", TRADER, TALKER) or line.index in away:
                continue
            sim = self._at_home(line)
            for other in line.contacts[: self._count(8 * line.rate)]:
                start = midnight - 10 * MINUTE_MS + int(random.expovariate(1 / 25) * MINUTE_MS)
                for _ in range(random.choice((1, 1, 2))):
                    yield message(sim, other, start + random.randrange(MINUTE_MS))
            if random.random() < 0.3:
                start = midnight + random.randrange(40) * MINUTE_MS
                yield call(sim, line.msc, self._contact(line), start, self._talk(line))

    def _contact(self, line: Line) -> str:
        """Return somebody the line knows, the first ones far more often."""
        contacts = line.contacts
        return contacts[int(self._random.random() ** 2.2 * len(contacts))] if contacts else stranger(self._random)

    def _talk(self, line: Line) -> int:
        random = self._random
        if line.kind == TALKER and random.random() < 0.1:
            return random.randrange(50 * MINUTE_MS, 150 * MINUTE_MS)
        return int(min(random.lognormvariate(4.4, 1.1), 7_000) * SECOND_MS)

    def _count(self, mean: float) -> int:
        """Return a number of events with this mean, as they come by themselves."""
        random = self._random
        if mean > 30:
            return max(round(random.gauss(mean, mean**0.5)), 0)
        left, count = mean, 0
        while True:
            left -= random.expovariate(1)
            if left < 0:
                return count
            count += 1
