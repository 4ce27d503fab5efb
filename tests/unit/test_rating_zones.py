"""Which rule and which row of a deck a number has, however many prefixes there are and in whatever order they are asked."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from rating_world import HEAD, World, catalogue_of, load_text

from pipeline.adapters.catalogue import compile  # noqa: A004
from pipeline.domain.matching import DeckCurves
from pipeline.domain.outcome import Refusal

PREFIXES = ("+", "+4", "+49", "+491", "+4915", "+44", "+447", "+1", "110", "11", "*100#")
NUMBERS = ("+4915123", "+49", "+4930", "+4477", "+12", "+7", "110", "11", "1100", "*100#", None)


@st.composite
def tariffs(draw):
    """Zones that nest as they like, two of them decks, and up to five rules of different rank, some for on-net alone."""
    zones = {
        f"z{n}": {"prefixes": draw(st.lists(st.sampled_from(PREFIXES), min_size=1, unique=True))} for n in range(2)
    }
    decks = {f"d{n}": draw(st.lists(st.sampled_from(PREFIXES), min_size=1, unique=True)) for n in range(2)}
    asked = draw(st.lists(st.sampled_from([None, *zones, *decks]), min_size=1, max_size=5))
    priorities = draw(st.permutations(range(len(asked))))
    on_net = draw(st.lists(st.booleans(), min_size=len(asked), max_size=len(asked)))
    ranks = zip(asked, priorities, on_net, strict=True)
    return zones, decks, [(f"r{n}", *ranked) for n, ranked in enumerate(ranks)]


def longest(prefixes, number):
    fitting = [p for p in prefixes if number is not None and (number.startswith(p) if p[0] == "+" else number == p)]
    return max(fitting, key=len, default=None)


def rate_of(prefix):
    return f"0.{PREFIXES.index(prefix) + 1:02}"


@settings(deadline=None)
@given(tariffs(), st.lists(st.tuples(st.sampled_from(NUMBERS), st.booleans()), min_size=1, max_size=12))
def test_the_rule_and_the_row_are_those_of_the_longest_prefix(tariff, numbers):
    """As a plain search of all rules finds them: longest prefix, then priority; the price is the row's or the rule's."""
    zones, decks, rules = tariff
    prefixes = {name: zone["prefixes"] for name, zone in zones.items()} | decks

    def price_of(zone, priority, prefix):
        return rate_of(prefix) if zone in decks else f"1.{priority:02}"

    prices = [
        {"id": name, "match": {"service": "SMS", "to": zone, "on_net": on_net or None}, "priority": priority,
         "unit": "msg", "steps": [{"price": "deck" if zone in decks else f"1.{priority:02}"}]}
        for name, zone, priority, on_net in rules
    ]  # fmt: skip
    own = {**zones, **{name: {"file": f"{name}.csv"} for name in decks}}
    plan = json.dumps({"id": "p", "prices": prices})
    text = HEAD.replace("zones: {", f"zones: {{{json.dumps(own)[1:-1]}, ") + f"  - {plan}\n"
    files = {
        f"{name}_csv": "\n".join(["prefix,rate", *(f"{p},{rate_of(p)}" for p in ps)]) for name, ps in decks.items()
    }
    world = World(compile(load_text(text, **files).document(0)), "p")
    for number, own_net in numbers:
        ranked = []
        for name, zone, priority, on_net in rules:
            prefix = None if zone is None else longest(prefixes[zone], number)
            if (zone is None or prefix is not None) and own_net >= on_net:
                ranked.append(
                    (
                        len(prefix or ""),
                        priority,
                        name,
                        rate_of(prefix) if zone in decks else f"1.{priority:02}",
                        prefix,
                    )
                )
        rated = world.charge(service="SMS", to=number, on_net=own_net)
        if not ranked:
            assert isinstance(rated, Refusal)
            continue
        _, _, name, price, prefix = max(ranked)
        (line,) = rated.lines
        assert (line.rule, line.prefix, line.unit_price) == (name, prefix, price)


def test_a_deck_costs_nothing_before_it_is_used():
    """Of two thousand rows no price is worked out when it is loaded; one number works out one; equal rows share it."""
    rows = "".join(f"+1{n:04},0.{n % 10}0\n" for n in range(2_000))
    text = HEAD.replace("zones: {", "zones: {w: {file: w.csv}, ")
    text += "\n  - {id: p, prices: [{id: x, match: {service: SMS, to: w}, unit: msg, steps: [{price: deck}]}]}\n"
    catalogue = compile(load_text(text, w_csv="prefix,rate\n" + rows).document(0))
    price = catalogue.plans[0].rule("x").price
    assert isinstance(price, DeckCurves)
    world = World(catalogue, "p")
    made = []
    for number in (None, "+100015", "+100015", "+100115", "+100027"):
        world.charge(service="SMS", to=number)
        made.append(len(price._made))
    assert made == [0, 1, 1, 1, 2]
    assert price.of("+10001") is price.of("+10011")


def test_a_short_code_is_whole():
    """`+` is no prefix of it, and it is none of a longer one."""
    catalogue = catalogue_of(
        HEAD + "\n  - {id: p, prices: [{id: x, match: {service: SMS, to: short}, unit: msg, steps: [{price: '1'}]}]}\n"
    )
    found = [isinstance(World(catalogue, "p").charge(service="SMS", to=to), Refusal) for to in ("100", "1000", "+100")]
    assert found == [False, True, True]
