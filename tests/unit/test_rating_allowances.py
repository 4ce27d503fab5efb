"""Allowances: who may draw, in which order, and what they never do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rating_world import HEAD, World, catalogue_of, ms

from pipeline.domain.account import Account
from pipeline.domain.allowances import grant, parse_grant, stale_fields
from pipeline.domain.catalogue import Catalogues
from pipeline.domain.outcome import Refusal

CATALOGUE = catalogue_of(
    HEAD
    + """
  - id: p
    allowances:
      - {id: month, service: VOICE, quantity: 3, unit: min, every: month, priority: 10}
      - {id: noon, service: VOICE, quantity: 1, unit: min, every: day, band: noon, priority: 5}
      - {id: roaming, service: VOICE, quantity: 1, unit: min, every: month, visited: eu}
      - {id: own, service: VOICE, quantity: 1, unit: min, every: month, on_net: true, priority: 1}
      - {id: china, service: VOICE, quantity: 1, unit: min, every: month, to: cn, priority: 1}
      - {id: music, service: DATA, quantity: 1, unit: MB, every: month, rating_group: 9}
      - {id: week, service: DATA, quantity: 2, unit: kB, valid_days: 7, priority: 1}
      - {id: ever, service: DATA, quantity: 2, unit: kB, priority: 1}
    prices:
      - {id: out, match: {service: VOICE, direction: MO, visited: any}, unit: s, steps: [{price: "0.01"}]}
      - {id: in, match: {service: VOICE, direction: MT, visited: any}, unit: s, steps: [{price: "0.01"}]}
      - {id: data, match: {service: DATA}, unit: kB, steps: [{price: "0.01"}]}
"""
)
CATALOGUES = Catalogues([CATALOGUE])
AT = ms("2026-06-01T12:00:00+02:00")
DAY_MS = 86_400_000


def drawn(rated):
    return {line.allowance: line.allowance_used for line in rated.lines if line.allowance}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"start": "2026-06-01T15:00:00+02:00"}, {"month": 60_000}),
        ({"start": "2026-06-01T12:00:00+02:00"}, {"noon": 60_000}),
        ({"start": "2026-06-01T13:00:00+02:00"}, {"month": 60_000}),
        ({"start": "2026-06-01T15:00:00+02:00", "on_net": True}, {"own": 60_000}),
        ({"start": "2026-06-01T15:00:00+02:00", "to": "+8613"}, {"china": 60_000}),
        ({"start": "2026-06-01T15:00:00+02:00", "visited": "26201"}, {"month": 60_000}),
        ({"start": "2026-06-01T15:00:00+02:00", "visited": "20801"}, {"roaming": 60_000}),
        ({"start": "2026-06-01T15:00:00+02:00", "visited": "99999"}, {}),
        ({"start": "2026-06-01T15:00:00+02:00", "direction": "MT"}, {}),
        ({"service": "DATA", "octets": 1_000}, {}),
        ({"service": "DATA", "octets": 1_000, "rating_group": 9}, {"music": 1_000}),
    ],
)
def test_an_allowance_matches_by_the_rules_keys(record, expected):
    """Absent direction is MO and absent visited is home; every key that is there must match."""
    assert drawn(World(CATALOGUE, "p").charge(**{"seconds": 60, **record})) == expected


def test_every_bucket_drawn_has_a_line_and_its_fields_say_used_of_size():
    """Five minutes at noon: one of the day, three of the month, one for money; the lines tell it in that order."""
    world = World(CATALOGUE, "p")
    rated = world.charge(start=AT, seconds=300)
    first, second = rated.lines
    assert (first.quantity, first.quantity_rounded, first.allowance, first.allowance_used) == (
        300_000,
        300_000,
        "noon",
        60_000,
    )
    assert (second.quantity, second.quantity_rounded, second.allowance, second.allowance_used) == (
        0,
        0,
        "month",
        180_000,
    )
    assert (rated.amount_micros, first.amount_micros, second.amount_micros) == (600_000, 600_000, 0)
    assert first.meter_quantity_after - first.meter_quantity_before == 60_000
    assert rated.account_changes == {
        "bucket:p:noon:2026-06-01": "60000/60000",
        "bucket:p:month:2026-06": "180000/180000",
    }


def test_grants_serve_records_that_start_inside_them():
    """A bought bucket serves from its first ms to before its last; soonest end first, then the number."""
    world = World(CATALOGUE, "p")
    for number, allowance in ((1, "ever"), (2, "week"), (3, "week")):
        field, value, _ = grant(CATALOGUES, "p", allowance, AT, number)
        world.account.fields[field] = value
    assert drawn(world.charge(service="DATA", octets=1_000, start=AT - 1)) == {}
    rated = world.charge(service="DATA", octets=5_000, start=AT)
    assert [(line.allowance, line.allowance_used) for line in rated.lines] == [
        ("week", 2_000),
        ("week", 2_000),
        ("ever", 1_000),
    ]
    assert [world.account.fields[f"grant:{n}"].split(" ")[0] for n in (1, 2, 3)] == [
        "1000/2000",
        "2000/2000",
        "2000/2000",
    ]
    rated = world.charge(service="DATA", octets=5_000, start=AT + 7 * DAY_MS)
    assert drawn(rated) == {"ever": 1_000}


def test_a_grant_ends_before_its_last_moment():
    """A record that starts when the bucket ends is not served; one ms earlier it is."""
    world = World(CATALOGUE, "p")
    field, value, _ = grant(CATALOGUES, "p", "week", AT, 1)
    world.account.fields[field] = value
    assert drawn(world.charge(service="DATA", octets=1_000, start=AT + 7 * DAY_MS)) == {}
    assert drawn(world.charge(service="DATA", octets=1_000, start=AT + 7 * DAY_MS - 1)) == {"week": 1_000}


def test_how_long_a_grant_lasts():
    """valid_days times 24 hours; of an allowance of every month, to the month's end in tariff time; else for ever."""
    ends = {}
    for allowance in ("week", "month", "noon", "ever"):
        _, value, _ = grant(CATALOGUES, "p", allowance, AT, 1)
        ends[allowance] = parse_grant(value).to_ms
    assert ends == {
        "week": AT + 7 * DAY_MS,
        "month": ms("2026-07-01T00:00:00+02:00"),
        "noon": ms("2026-06-02T00:00:00+02:00"),
        "ever": None,
    }


def test_an_unknown_allowance_is_refused():
    """What the plan does not have cannot be bought; nor can anything without a catalogue."""
    for catalogues, plan, allowance in (
        (CATALOGUES, "p", "x"),
        (CATALOGUES, "x", "week"),
        (Catalogues([]), "p", "week"),
    ):
        assert grant(catalogues, plan, allowance, AT, 1).reason == "unknown_allowance"


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 40), st.booleans()), max_size=8))
def test_no_bucket_falls_below_empty_or_above_full(calls):
    """Whatever is used, each bucket's use only grows, up to its size, by what the lines say."""
    world = World(CATALOGUE, "p")
    for seconds, hours, on_net in calls:
        before = dict(world.account.fields)
        rated = world.charge(start=AT + hours * 3_600_000, seconds=seconds, on_net=on_net)
        moved = 0
        for field, value in rated.account_changes.items():
            used, size = map(int, value.split("/"))
            was = int(before.get(field, "0/0").split("/")[0])
            assert was < used <= size
            moved += used - was
        assert moved == sum(line.allowance_used for line in rated.lines)
        assert (
            sum(line.quantity_rounded - line.allowance_used for line in rated.lines)
            == rated.lines[0].meter_quantity_after
        )


def test_stale_fields_are_those_nobody_will_ask_for():
    """A period counts as ended a day late, for any zone of time; what never expires stays."""
    fields = {
        "balance": "0",
        "bucket:p:month:2026-05": "1/2",
        "bucket:p:month:2026-06": "1/2",
        "meter:p:r:2026-05-30": "1 1 1 2 half_up",
        "spend:2025-12": "1",
        "reached:2026-05": "50@1",
        "grant:1": f"0/1 p week {AT - 90 * DAY_MS} {AT - 60 * DAY_MS}",
        "grant:2": f"0/1 p ever {AT - 90 * DAY_MS} -",
    }
    june = ms("2026-06-01T00:00:00+00:00")

    def stale(clock_ms: int, keep_ms: int) -> list[str]:
        """What goes where a period begins that the account has no field of yet, asked twice over."""
        account = Account("a", {**fields, "seq": "0"})
        new: dict[str, str | None] = {"spend:2026-06": "1"}
        found = stale_fields(account, new, clock_ms, keep_ms)
        assert stale_fields(account, new, clock_ms, keep_ms) == found
        assert stale_fields(account, {"balance": "1"}, clock_ms, keep_ms) == []
        return found

    assert stale(june + DAY_MS, 0) == ["meter:p:r:2026-05-30", "spend:2025-12", "grant:1"]
    assert stale(june + DAY_MS + 1, 0) == [
        "meter:p:r:2026-05-30",
        "spend:2025-12",
        "reached:2026-05",
        "grant:1",
    ]
    assert stale(june, 200 * DAY_MS) == []
    # a bucket may roll over: it is asked for one period longer
    assert "bucket:p:month:2026-05" not in stale(june + 32 * DAY_MS, 0)
    assert "bucket:p:month:2026-05" in stale(june + 32 * DAY_MS + 1, 0)


def test_the_size_is_that_of_the_records_own_version():
    """A new version's larger bucket is there at once; a late record of the old one gets no more than the old one had."""
    text = (
        HEAD
        + """
  - id: p
    allowances: [{id: m, service: VOICE, quantity: %d, unit: min, every: month}]
    prices: [{id: x, match: {service: VOICE}, unit: s, steps: [{price: "0.01"}]}]
"""
    )
    world = World(Catalogues([catalogue_of(text % 1), catalogue_of(text % 2, AT)]), "p")
    assert drawn(world.charge(start=AT, seconds=120)) == {"m": 120_000}
    assert drawn(world.charge(start=AT - 3_600_000, seconds=60)) == {}


def test_refusals_change_nothing():
    """A refused record leaves every bucket as it was."""
    world = World(CATALOGUE, "p")
    before = dict(world.account.fields)
    assert isinstance(world.charge(service="SMS"), Refusal)
    assert world.account.fields == before
