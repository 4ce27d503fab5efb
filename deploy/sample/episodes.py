"""What the sample tells: each episode puts a few records among the everyday ones, and says what becomes of them."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from deploy.sample.days import FRIDAY, HOUR_MS, MINUTE_MS, SECOND_MS, Calendar
from deploy.sample.drafts import MSC, Draft, Part, call, message, session
from deploy.sample.people import People, line

FRENCH_ROAMING: Final = "20801"
HONG_KONG_ROAMING: Final = "45400"
LATE_DAYS: Final = 60
SATELLITE: Final = "+88160000007"
UNPRICED: Final = "+85020005550"
ONE_RING: Final = "+25290055501"
PREMIUM: Final = ("+25290055511", "+25290055512", "+25290055513", "+25290055514")


class Told(NamedTuple):
    """An episode before its records have ids: what it shows, by the label of the record that decides."""

    title: str
    label: str | None
    outcome: str
    note: str


class Copy(NamedTuple):
    """A record sent again: the label of the first one, when, and what is different in it."""

    of: str
    label: str
    sent_ms: int
    changes: dict[str, object]


class Scene(NamedTuple):
    """An episode's records, the copies of them, and what to tell."""

    told: tuple[Told, ...]
    drafts: Sequence[Draft] = ()
    copies: Sequence[Copy] = ()


def scenes(people: People, days: Calendar) -> list[Scene]:
    """Return all episodes, in the order in which they are told."""
    return [scene(people, days) for scene in _SCENES]


def _bands(people: People, days: Calendar) -> Scene:
    of = people.line("night-xu")
    evening = days.at(days.last(0, 1, 2, 3, FRIDAY), 19, 50)
    friday = days.at(days.last(FRIDAY), 23, 50)
    drafts = [
        call(of, "+8613800000301", evening, 25 * MINUTE_MS, label="band"),
        call(of, "+8613800000302", friday, 30 * MINUTE_MS, label="midnight"),
    ]
    cut = "CHARGED"
    return Scene(
        (
            Told("A call from the day into the evening", "band", cut, "cut at 20:00, where another rule takes over"),
            Told("A call over midnight into the weekend", "midnight", cut, "cut at 24:00; weekends are cheaper"),
        ),
        drafts,
    )


def _family(people: People, days: Calendar) -> Scene:
    drafts = [
        call(people.line("family-lin", 0), "+8613800000311", days.at(2, 9, 5), 50 * MINUTE_MS, label="family-1"),
        call(people.line("family-lin", 1), "+8613800000312", days.at(2, 10, 40), 45 * MINUTE_MS, label="family-2"),
        call(people.line("family-lin", 2), "+862155500313", days.at(2, 14, 20), 40 * MINUTE_MS, label="family-3"),
        message(people.watch, "+8613800000314", days.at(6, 16, 30), label="watch"),
    ]
    return Scene(
        (
            Told(
                "A family shares 120 minutes",
                "family-3",
                "CHARGED",
                "three numbers of one account talk 50, 45 and 40 minutes: the last call takes the 25 that are left "
                "and pays for 15",
            ),
            Told("A child's watch", "watch", "CHARGED", "a number that the family added later"),
        ),
        drafts,
    )


def _budget(people: People, days: Calendar) -> Scene:
    of = people.line("budget-zhou")
    drafts = [call(of, "+442079460777", days.at(2, 10 + n), 16 * MINUTE_MS, label=f"budget-{n + 1}") for n in range(6)]
    crossed = "CHARGED", "six calls abroad at 4.00: the third, fourth and fifth cross 50, 80 and 100 % of 20.00"
    return Scene((Told("A budget is used up", "budget-5", *crossed),), drafts)


def _money(people: People, days: Calendar) -> Scene:
    drafts = [
        call(people.line("low-wu"), "+447700900462", days.at(1, 10), 6 * MINUTE_MS, label="low"),
        call(people.line("debt-sun"), "+819000001235", days.at(1, 11), 9 * MINUTE_MS, label="debt"),
    ]
    return Scene(
        (
            Told("A balance runs low", "low", "CHARGED", "below 10.00 after this call"),
            Told("Below the credit limit", "debt", "CHARGED", "use that has happened is charged, and an alert raised"),
        ),
        drafts,
    )


def _data(people: People, days: Calendar) -> Scene:
    hour = 30 * MINUTE_MS
    stream = session(
        people.line("stream-ma"),
        "pgw1-stream",
        days.at(3, 19),
        [Part(hour, 2_000_000, 58_000_000)] * 4,
        label="cap",
    )
    # the second part is sent an hour late, after the third
    stream[1] = stream[1]._replace(sent_ms=stream[1].sent_ms + HOUR_MS)
    pack = session(
        people.line("pack-gao"),
        "pgw1-pack",
        days.at(4, 9),
        [*[Part(hour, 100_000_000, 1_100_000_000)] * 6, Part(hour, 50_000_000, 516_192_768)],
        label="pack",
    )
    changed = [
        *session(people.line("switch-he"), "pgw1-he-1", days.at(7, 12), [Part(hour, 0, 40_000_000)], label="before"),
        call(people.line("switch-he"), "+447700900463", days.at(7, 13), 3 * MINUTE_MS),
        call(people.line("switch-he"), "+8613800000321", days.at(4, 13), 3 * MINUTE_MS, label="changed"),
    ]
    return Scene(
        (
            Told("A session under its cap", "cap-4", "CHARGED", "240 MB come to 12.00, the cap is 8.00"),
            Told("Parts out of order", "cap-2", "CHARGED", "arrived after the third; the session's sum is the same"),
            Told("Allowance, pack, then money", "pack-7", "CHARGED", "5 GiB of the plan, 2 GiB bought, 250 MB to pay"),
            Told("A plan change", "changed", "CHARGED", "priced by the new plan, the calls before by the old one"),
        ),
        [*stream, *pack, *changed],
    )


def _abroad(people: People, days: Calendar) -> Scene:
    eva, hong = people.line("trip-eva"), people.line("trip-hong")
    eva_parts = [Part(20 * MINUTE_MS, 4_000_000, 36_000_000)]
    drafts = [
        *(
            draft
            for n in range(3)
            for draft in session(
                eva, f"pgw1-eva-{n}", days.at(3, 9 + n), eva_parts, visited=FRENCH_ROAMING, label=f"eu-{n}"
            )
        ),
        call(eva, "+8613800000331", days.at(3, 13), 5 * MINUTE_MS, visited=FRENCH_ROAMING),
        call(eva, "+8613800000331", days.at(3, 14), 3 * MINUTE_MS, incoming=True, visited=FRENCH_ROAMING, label="mt"),
        message(eva, "+33639980012", days.at(3, 15), visited=FRENCH_ROAMING),
        *session(hong, "pgw1-hong", days.at(5, 8), eva_parts * 5, visited=HONG_KONG_ROAMING, label="hk"),
        call(hong, "+8613800000332", days.at(5, 13), 4 * MINUTE_MS, visited=HONG_KONG_ROAMING),
        call(people.line("cust-005"), "12590", days.at(6, 21), 7 * MINUTE_MS, label="hotline"),
    ]
    return Scene(
        (
            Told("A day abroad is capped", "eu-2-1", "CHARGED", "the day's third session reaches 25.00"),
            Told("Called while abroad", "mt", "CHARGED", "to be called costs money there, at home it is free"),
            Told(
                "A day pass in Hong Kong", "hk-5", "CHARGED", "3.00 with the first octet, never more than 25.00 a day"
            ),
            Told("A short code with a price", "hotline", "CHARGED", "0.50 to connect, then by the begun minute"),
        ),
        drafts,
    )


def _repeats(people: People, days: Calendar) -> Scene:
    of = people.line("cust-001")
    drafts = [
        call(of, "+8613800000341", days.at(4, 9, 30), 7 * MINUTE_MS, label="first"),
        call(of, SATELLITE, days.at(4, 11), 95 * SECOND_MS, label="disputed"),
        call(people.line("cust-004"), "+8613800000342", days.at(LATE_DAYS, 12), 3 * MINUTE_MS, label="late")._replace(
            sent_ms=days.at(1, 4)
        ),
    ]
    copies = [
        Copy("first", "copy", days.at(2, 3), {}),
        Copy("first", "retransmitted", days.at(2, 4), {"retransmission": True}),
        Copy("disputed", "conflict", days.at(2, 5), {"duration_ms": 295 * SECOND_MS}),
    ]
    again = "the same bytes two days later: charged once"
    return Scene(
        (
            Told("A record sent twice", "copy", "DUPLICATE", again),
            Told("Sent again, and saying so", "retransmitted", "DUPLICATE", "a mark of its source changes nothing"),
            Told("The same id, another length", "conflict", "REVIEW conflicting_copy", "a person decides, not a guess"),
            Told("A record two months late", "late", "REVIEW late", "its duplicates can no longer be told"),
        ),
        drafts,
        copies,
    )


def _refused(people: People, days: Calendar) -> Scene:
    stranger = line(99_001)
    mixed = people.line("cust-008")._replace(imsi=people.line("cust-009").imsi)
    drafts = [
        call(stranger, "+8613800000351", days.at(3, 8, 15), 2 * MINUTE_MS, label="stranger"),
        call(mixed, "+8613800000352", days.at(3, 8, 45), 2 * MINUTE_MS, label="mixed"),
        call(people.line("cust-002"), UNPRICED, days.at(3, 16), 2 * MINUTE_MS, label="unpriced"),
    ]
    return Scene(
        (
            Told("An unknown number", "stranger", "dead letter unknown_subscriber", "kept as it came, can be replayed"),
            Told("The number of one, the SIM of another", "mixed", "dead letter ambiguous", "nobody is charged"),
            Told("A country without a price", "unpriced", "REJECTED no_tariff", "the event says what was tried"),
            Told("Garbage", None, "dead letter undecodable", "bytes that are no record, and one that was cut off"),
            Told("A schema from elsewhere", None, "dead letter unknown_schema", "its fingerprint was never published"),
        ),
        drafts,
    )


def _fraud(people: People, days: Calendar) -> Scene:
    stolen = people.line("stolen-qian")
    night = days.at(2, 3, 10)
    drafts = [
        call(stolen, PREMIUM[n % 4], night + n * 100 * SECOND_MS, (240 + 7 * n) * SECOND_MS, label=f"stolen-{n}")
        for n in range(14)
    ]
    rung = [of for customer in people.customers for of in customer.lines][:30]
    noon = days.at(5, 12, 30)
    drafts += [
        call(of, ONE_RING, noon + n * 3 * SECOND_MS, 0, incoming=True, label=f"ring-{n}") for n, of in enumerate(rung)
    ]
    return Scene(
        (
            Told("A stolen SIM at night", "stolen-13", "CHARGED", "14 calls at once to one dear range in 23 minutes"),
            Told("One ring, then silence", "ring-29", "CHARGED", "30 customers rung from abroad within 90 seconds"),
        ),
        drafts,
    )


def _lost(people: People, days: Calendar) -> Scene:
    after = call(people.line("cust-006"), "+8613800000361", days.at(2, 17), 4 * MINUTE_MS, label=AFTER_GAP)
    note = f"{MSC} counts its records; the number before this one never came"
    return Scene((Told("A record that never came", AFTER_GAP, "CHARGED", note),), [after])


AFTER_GAP: Final = "after-gap"
_SCENES: Final = (_bands, _family, _budget, _money, _data, _abroad, _repeats, _refused, _fraud, _lost)
