"""Everyday traffic: what some fifty lines do in ten days, with nobody in two calls at once."""

from collections.abc import Iterable, Sequence
from random import Random
from typing import Final, NamedTuple

from deploy.sample.days import DAYS, HOUR_MS, MINUTE_MS, SECOND_MS, Calendar
from deploy.sample.drafts import Draft, Part, call, message, session
from deploy.sample.people import Line, People

HOURS: Final = (1, 0, 0, 0, 0, 1, 3, 6, 9, 10, 10, 9, 12, 9, 8, 9, 10, 12, 13, 14, 13, 11, 7, 3)
"""How much happens in each local hour, in shares."""

CALL: Final = "call"
MISSED: Final = "missed"
CALL_IN: Final = "call-in"
ON_NET: Final = "on-net"
WORLD: Final = "world"
HELPDESK: Final = "helpdesk"
SMS: Final = "sms"
SMS_IN: Final = "sms-in"
MMS: Final = "mms"
SURF: Final = "surf"
OWN_APP: Final = "own-app"

SHARES: Final = {
    CALL: 18,
    MISSED: 7,
    CALL_IN: 14,
    ON_NET: 9,
    WORLD: 2,
    HELPDESK: 2,
    SMS: 8,
    SMS_IN: 14,
    MMS: 2,
    SURF: 26,
    OWN_APP: 4,
}
SHARED_FAMILY: Final = frozenset({CALL, ON_NET, WORLD})
"""What one family does only in its episode, which tells how the shared minutes run out."""

MOBILES: Final = tuple(f"+86138000{n:05d}" for n in range(201, 261))
LANDLINES: Final = tuple(f"+86{area}5550{n:04d}" for area in ("10", "20", "21") for n in range(101, 111))
ABROAD: Final = ("+12025550143", "+442079460018", "+447700900461", "+33199001234", "+85255550123", "+819000001234")
GAP_MS: Final = 40 * SECOND_MS


class _Intent(NamedTuple):
    start_ms: int
    account: str
    line: Line
    kind: str


class Traffic:
    """Makes the drafts of everyday traffic around those already told; the same seed and calendar make the same."""

    def __init__(self, people: People, calendar: Calendar, random: Random, told: Iterable[Draft]) -> None:
        self._people = people
        self._calendar = calendar
        self._random = random
        self._taken: dict[str, list[tuple[int, int]]] = {}
        for draft in told:
            self._occupy(str(draft.fields["msisdn"]), draft.start_ms, draft.sent_ms)
        self._sessions = 0
        self._by_number = {of.msisdn: of for customer in people.customers if customer.busy for of in customer.lines}
        self._plans = {of.msisdn: customer.plan for customer in people.customers for of in customer.lines}

    def drafts(self) -> list[Draft]:
        """Return everything, by start; what would end after the story's end never happened."""
        made: list[Draft] = []
        for intent in sorted(self._intents()):
            made += self._carry_out(intent)
        return [draft for draft in made if draft.sent_ms <= self._calendar.end_ms]

    def _intents(self) -> list[_Intent]:
        kinds, shares = list(SHARES), list(SHARES.values())
        intents = []
        for customer in self._people.customers:
            if not customer.busy:
                continue
            for of in customer.lines:
                for days_ago in range(DAYS, -1, -1):
                    for kind in self._random.choices(kinds, shares, k=self._random.randrange(3, 10)):
                        hour = self._random.choices(range(24), HOURS)[0]
                        start = self._calendar.at(days_ago, hour) + self._random.randrange(HOUR_MS)
                        if customer.account != "family-lin" or kind not in SHARED_FAMILY:
                            intents.append(_Intent(start, customer.account, of, kind))
        return intents

    def _carry_out(self, intent: _Intent) -> list[Draft]:
        of, start = intent.line, intent.start_ms
        match intent.kind:
            case "sms":
                return [message(of, self._pick(MOBILES), start, parts=self._random.choice((1, 1, 1, 2)))]
            case "sms-in":
                return [message(of, self._pick(MOBILES), start, incoming=True)]
            case "mms":
                return [message(of, self._pick(MOBILES), start, service="MMS")]
            case "surf":
                return self._surf(of, start, None)
            case "own-app":
                return self._surf(of, start, 900)
        return self._call(intent)

    def _call(self, intent: _Intent) -> list[Draft]:
        of, start = intent.line, intent.start_ms
        duration = 0 if intent.kind == MISSED else self._duration()
        other_party, incoming = self._other_party(intent)
        if intent.kind == WORLD:
            duration = min(duration, 4 * MINUTE_MS)
        if not self._free(of.msisdn, start, start + duration):
            return []
        other = self._by_number.get(other_party)
        if other is not None and not self._free(other.msisdn, start, start + duration):
            return [call(of, other_party, start, 0)]
        self._occupy(of.msisdn, start, start + duration)
        made = [call(of, other_party, start, duration, incoming=incoming)]
        if other is not None:
            self._occupy(other.msisdn, start, start + duration)
            made.append(call(other, of.msisdn, start, duration, incoming=True))
        return made

    def _other_party(self, intent: _Intent) -> tuple[str, bool]:
        """Return the other number, and whether it is the one that calls."""
        match intent.kind:
            case "missed":
                return self._pick(MOBILES), self._random.random() < 0.5
            case "call-in":
                return self._pick(MOBILES + LANDLINES), True
            case "on-net":
                return self._pick([number for number in self._by_number if number != intent.line.msisdn]), False
            case "world":
                return self._pick(ABROAD), False
            case "helpdesk":
                return self._pick(("10086", "12345")), False
        return self._pick(MOBILES + LANDLINES), False

    def _surf(self, of: Line, start: int, rating_group: int | None) -> list[Draft]:
        self._sessions += 1
        most = 6_000_000 if self._plans[of.msisdn] == "payg" else 90_000_000
        parts = [self._part(30 * MINUTE_MS, most) for _ in range(self._random.choice((0, 0, 0, 1, 2)))]
        parts.append(self._part(self._random.randrange(20, 1500) * SECOND_MS, most))
        return session(of, f"pgw1-{self._sessions:06d}", start, parts, rating_group=rating_group)

    def _part(self, duration_ms: int, most: int) -> Part:
        downlink = self._random.randrange(most // 100, most)
        return Part(duration_ms, downlink // self._random.randrange(6, 20), downlink)

    def _duration(self) -> int:
        most = self._random.choice((45, 90, 180, 180, 400, 900))
        return self._random.randrange(4, most) * SECOND_MS + self._random.randrange(1000)

    def _pick(self, numbers: Sequence[str]) -> str:
        return self._random.choice(numbers)

    def _free(self, msisdn: str, begin_ms: int, end_ms: int) -> bool:
        spans = self._taken.get(msisdn, ())
        return all(end_ms + GAP_MS < begin or end + GAP_MS < begin_ms for begin, end in spans)

    def _occupy(self, msisdn: str, begin_ms: int, end_ms: int) -> None:
        self._taken.setdefault(msisdn, []).append((begin_ms, end_ms))
