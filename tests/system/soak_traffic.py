"""The soak's records, each a function of the seed and its number, and what they cost: worked out here, on paper.

Prices are such that the order of arrival does not matter: a call by its own minutes, data by the month's octets, a game
by the parts of its session. So the sum of an account can be said before anything is charged.
"""

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from charging_traffic import DOCUMENT as BASIC
from charging_traffic import account_name, msisdn

from pipeline.adapters.avro import USAGE_RECORD
from pipeline.domain.usage import DAY_MS, UsageRecord

OPENING_MICROS: Final = 100_000_000
TWICE: Final = 0.05
POISON: Final = 0.001
FAR_BACK: Final = 50_000
"""Records between a record and its copy, at most."""
MINUTE_MICROS: Final = 155_000
MEGABYTE_MICROS: Final = 290_000
EVENT_MICROS: Final = 100_000
CONNECT_MICROS: Final = 10_000
CENT_MICROS: Final = 10_000
SHANGHAI_MS: Final = 8 * 3_600_000


def document() -> dict[str, Any]:
    """The tariff of the soak: without the allowance, whose share depends on what comes first."""
    (plan,) = BASIC["plans"]
    call, *others = plan["prices"]
    call = {**call, "steps": [{**call["steps"][0], "price": "0.155"}]}
    return {**BASIC, "plans": [{**plan, "allowances": [], "prices": [call, *others]}]}


class Traffic(NamedTuple):
    """All records of one run. `began_ms` is kept with the run's state: starts lie in the three days before it."""

    seed: int
    began_ms: int
    accounts: int

    def usage(self, n: int) -> UsageRecord | None:
        """The n-th record, None where it is poison."""
        chance = random.Random(f"{self.seed}:{n}")
        if chance.random() < POISON:
            return None
        service = chance.choice(("VOICE", "VOICE", "DATA", "EVENT"))
        number = chance.randrange(self.accounts)
        return UsageRecord(
            record_id=f"{n:032x}", source="MSC-7", sequence=n, service=service, direction="MO", msisdn=msisdn(number),
            imsi=None, imei=None, other_party=None if service == "DATA" else "+8613800000001",
            start_time=self.began_ms - chance.randrange(3 * DAY_MS) - 60_000,
            duration_ms=1 + chance.randrange(600_000) if service == "VOICE" else 0,
            uplink_octets=1 + chance.randrange(10**6) if service == "DATA" else 0, downlink_octets=0,
            message_count=1 if service == "EVENT" else 0, answered=True, visited_plmn="46001", cell=None,
            rating_group=None, session_id=f"{number}-{n // 40_000}" if service == "EVENT" else None,
            partial_number=None, cause_for_closing=0, retransmission=False,
        )  # fmt: skip

    def values(self, n: int) -> Iterator[tuple[bytes, str]]:
        """What is sent for the n-th record, with its key: itself, and now and then a copy of one long before it."""
        usage = self.usage(n)
        if usage is None:
            yield poison(n), ""
            return
        yield USAGE_RECORD.encode(usage._asdict()), usage.msisdn or ""
        chance = random.Random(f"{self.seed}:{n}:again")
        if chance.random() < TWICE:
            again = self.usage(max(n - chance.randrange(FAR_BACK), 0))
            if again is not None:
                yield USAGE_RECORD.encode(again._asdict()), again.msisdn or ""


def poison(n: int) -> bytes:
    """Bytes that are no record, and tell which they are."""
    return b"poison" + n.to_bytes(8, "big")


class Bill(NamedTuple):
    """What the first records of a run come to."""

    balances_micros: dict[str, int]
    poisoned: set[int]
    valid: bytearray
    """1 for each number that is a record"""


def bill(traffic: Traffic, records: int) -> Bill:
    """Work out every account's balance with integers and nothing of the product."""
    balances = dict.fromkeys(map(account_name, range(traffic.accounts)), OPENING_MICROS)
    of_number = {msisdn(number): account_name(number) for number in range(traffic.accounts)}
    octets: Counter[tuple[str, int]] = Counter()
    events: Counter[tuple[str, str]] = Counter()
    poisoned, valid = set(), bytearray(records)
    for n in range(records):
        usage = traffic.usage(n)
        if usage is None:
            poisoned.add(n)
            continue
        valid[n] = 1
        account = of_number[usage.msisdn or ""]
        if usage.service == "VOICE":
            micros = CONNECT_MICROS + -(-usage.duration_ms // 60_000) * MINUTE_MICROS
            balances[account] -= (micros + CENT_MICROS // 2) // CENT_MICROS * CENT_MICROS
        elif usage.service == "DATA":
            octets[account, _month(usage.start_time)] += usage.uplink_octets
            balances[account] -= CONNECT_MICROS  # each connection, whatever it carries
        else:
            assert usage.session_id is not None
            events[account, usage.session_id] += 1
    for (account, _), total in octets.items():
        balances[account] -= -(-total // 10**6) * MEGABYTE_MICROS
    for (account, _), count in events.items():
        balances[account] -= CONNECT_MICROS + count * EVENT_MICROS
    return Bill(balances, poisoned, valid)


def _month(start_ms: int) -> int:
    import datetime as dt

    day = dt.date(1970, 1, 1) + dt.timedelta(days=(start_ms + SHANGHAI_MS) // DAY_MS)
    return day.year * 12 + day.month
