"""The past priced anew: the differences are those by hand, and a repeat finds nothing left to post."""

from charging_world import DOCUMENT, NOW, World, command, opening, usage
from charging_world import _plan as plan_of
from charging_world import _rule as rule_of
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.statements.rerate import Correction, Unpriced, rerate
from deploy.cli.rerate import commands_of
from pipeline.domain.catalogue import Catalogues, compile_catalogue
from pipeline.domain.usage import DAY_MS

VOICE = {"service": "VOICE", "direction": "MO", "to": "mobile"}
STEPS = [{"from": "0", "price": "0.10", "per": "1", "increment": "1"},
         {"from": "3", "price": "0.05", "per": "1", "increment": "1"}]  # fmt: skip


def catalogue(effective_from, minute, *, bundle="1", steps=STEPS, game="1.00"):
    prices = [
        rule_of("call", VOICE, "min", minute),
        rule_of("text", {"service": "SMS"}, "msg", "0", meter="month", steps=steps),
        rule_of("game", {"service": "EVENT"}, "event", game, meter="session"),
    ]
    buckets = [{"id": "talk", "match": {"service": "VOICE"}, "quantity": bundle, "unit": "min", "every": "month",
                "valid_days": None, "priority": 1}]  # fmt: skip
    return compile_catalogue(
        {**DOCUMENT, "effective_from": effective_from, "plans": [plan_of("plain", prices=prices, allowances=buckets)]}
    )


OLD = catalogue(0, "0.15")
SPAN = (NOW - 10 * DAY_MS, NOW + DAY_MS)


def corrected(new):
    return Catalogues([OLD, new]).corrected(new, *SPAN)


def differences(world, new, span=SPAN):
    catalogues = Catalogues([OLD, new]).corrected(new, *span)
    return list(rerate(0, world.events, catalogues, span).found())


def post(world, found, new):
    return [world.one(c) for item in found for c in commands_of(item, new.hash, "wrong price", "test")]


def world_of():
    world = World(catalogues=Catalogues([OLD]))
    world.one(opening())
    return world


def test_what_was_too_much_comes_back_linked_to_its_charge():
    """Two calls of two minutes, one minute of them included: 0.15 and 0.30 become 0.10 and 0.20."""
    world = world_of()
    world.send(usage("r1", duration_ms=120_000), usage("r2", duration_ms=120_000))
    new = catalogue(NOW + DAY_MS, "0.10")
    found = differences(world, new)
    assert [(c.charge_id, c.paid_micros, c.due_micros, c.amount_micros) for c in found] == [
        ("0-2", 150_000, 100_000, 50_000),
        ("0-3", 300_000, 200_000, 100_000),
    ]
    events = post(world, found, new)
    assert [(e.kind, e.amount_micros, e.command["charge_id"]) for e in events] == [
        ("ADJUSTED", 50_000, "0-2"),
        ("ADJUSTED", 100_000, "0-3"),
    ]
    assert world.balance() == 100_000_000 - 300_000


def test_a_repeat_posts_nothing_twice():
    """Once posted nothing differs any more; sent again before that was seen, the same ids are DUPLICATE."""
    world = world_of()
    world.one(usage("r1", duration_ms=180_000))
    new = catalogue(NOW + DAY_MS, "0.10")
    found = differences(world, new)
    post(world, found, new)
    balance = world.balance()
    assert differences(world, new) == []
    assert [event.kind for event in post(world, found, new)] == ["DUPLICATE"]
    assert world.balance() == balance


def test_a_correction_of_a_correction_and_back():
    """0.30 corrected to 0.20, then to 0.50, then to 0.20 again: each time by what is missing."""
    world = world_of()
    world.one(usage("r1", duration_ms=180_000))
    cheap, dear = catalogue(NOW + DAY_MS, "0.10"), catalogue(NOW + 2 * DAY_MS, "0.25")
    for new, amount in ((cheap, 100_000), (dear, -300_000), (cheap, 300_000)):
        (event,) = post(world, differences(world, new), new)
        assert (event.kind, event.amount_micros) == ("ADJUSTED", amount), event.detail
    assert world.balance() == 100_000_000 - 200_000


def test_a_gift_is_not_taken_back():
    """An adjustment that a person made on the charge stays a gift: the difference is of the price alone."""
    world = world_of()
    world.one(usage("r1", duration_ms=180_000))
    world.one(command("adjust", "sorry", amount="0.05", reason="sorry", charge_id="0-2"))
    (found,) = differences(world, catalogue(NOW + DAY_MS, "0.10"))
    assert found.amount_micros == 100_000


def test_meters_and_bundles_are_those_of_the_corrected_prices():
    """A bundle of 3 minutes instead of 1, and texts in one tier: each record is priced after the corrected ones."""
    world = world_of()
    world.send(
        usage("r1", duration_ms=120_000), usage("r2", duration_ms=120_000),
        usage("t1", service="SMS", message_count=2), usage("t2", service="SMS", message_count=2),
    )  # fmt: skip
    flat = [{"from": "0", "price": "0.20", "per": "1", "increment": "1"}]
    found = differences(world, catalogue(NOW + DAY_MS, "0.15", bundle="3", steps=flat))
    assert [(c.charge_id, c.charged_micros, c.due_micros) for c in found] == [
        ("0-2", 150_000, 0),
        ("0-3", 300_000, 150_000),
        ("0-4", 200_000, 400_000),
        ("0-5", 150_000, 400_000),
    ]


def test_what_lies_outside_of_the_time_stays():
    """Use before the time or after it keeps its price, though it stands on the same meter."""
    world = world_of()
    times = [SPAN[0] - 1, SPAN[0], SPAN[0] + DAY_MS - 1, SPAN[0] + DAY_MS]
    world.send(*(usage(f"r{at}", start_time=at, duration_ms=180_000) for at in times))
    new = catalogue(NOW + DAY_MS, "0.10")
    found = differences(world, new, (SPAN[0], SPAN[0] + DAY_MS))
    assert [correction.start_ms for correction in found] == times[1:3]


def test_a_charge_without_a_price_is_left_to_a_person():
    """The corrected catalogue has no rule for it: it is named, and nothing is posted."""
    world = world_of()
    world.one(usage("r1", service="SMS"))
    none = compile_catalogue({**DOCUMENT, "effective_from": NOW + DAY_MS, "plans": [plan_of("plain", prices=[])]})
    assert differences(world, none) == [Unpriced("a", "0-2", "no_tariff")]


def test_more_than_a_charge_took_is_returned_beside_it():
    """A charge below nothing has nothing to return: what it should have been less is an adjustment of its own."""
    correction = Correction("a", "0-7", NOW, "CNY", 30_000, 30_000, -20_000, 0, 10_000)
    assert list(correction.adjustments("f" * 64)) == [
        ("rerate-ffffffffffffffff-0-7-0", 20_000, "0-7"),
        ("rerate-ffffffffffffffff-0-7-0-rest", 30_000, None),
    ]
    below = Correction("a", "0-7", NOW, "CNY", -30_000, -30_000, -50_000, 0, 0)
    assert list(below.adjustments("f" * 64)) == [("rerate-ffffffffffffffff-0-7-0", 20_000, None)]
    dearer = Correction("a", "0-7", NOW, "CNY", 30_000, 30_000, 50_000, 1, 30_000)
    assert list(dearer.adjustments("f" * 64)) == [("rerate-ffffffffffffffff-0-7-1", -20_000, "0-7")]


records = st.lists(
    st.tuples(st.sampled_from(["VOICE", "SMS", "EVENT"]), st.integers(0, 300), st.sampled_from([None, "s"])), max_size=8
)


@settings(deadline=None)
@given(
    records, st.sampled_from(["0.10", "0.15", "0.40"]), st.sampled_from(["1", "4"]), st.sampled_from(["0.50", "2.00"])
)
def test_after_it_the_account_has_paid_the_corrected_prices(given_records, minute, bundle, game):
    """However use lies, the balance afterwards is what the corrected catalogue alone would have left."""
    new = catalogue(NOW + DAY_MS, minute, bundle=bundle, game=game)
    wrong, right = world_of(), World(catalogues=corrected(new))
    right.one(opening())
    for number, (service, minutes, session) in enumerate(given_records):
        record = usage(
            f"r{number}",
            service=service,
            start_time=NOW - minutes * 60_000,
            duration_ms=90_000 if service == "VOICE" else 0,
            session_id=session,
        )
        wrong.one(record)
        right.one(record)
    for event in post(wrong, differences(wrong, new), new):
        assert event.kind == "ADJUSTED", event.detail
    assert wrong.balance() == right.balance()
    assert differences(wrong, new) == []
