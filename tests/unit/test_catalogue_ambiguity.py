"""Refused is exactly what a record could not choose between: no more, no less."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rating_world import HEAD, World, catalogue_of, load_text

from pipeline.adapters.catalogue import CatalogueRefused

CALENDARS = """calendars: {c: {holidays: ["2026-06-03"]}, w: {workdays: ["2026-06-06"]}}
bands:
  sunday: {calendar: c, days: [sun]}
  wednesday: {days: [wed]}
  weekday: {days: [mon, tue, wed, thu, fri], from: "08:00", to: "20:00"}
  monday-worked: {calendar: w, days: [mon]}
  saturday: {days: [sat]}
"""
DIGITS = ", ".join(f'"+{digit}"' for digit in range(1, 10))
ALL = f'all: {{prefixes: ["+"]}}, all2: {{prefixes: ["+", "+86"]}}, digits: {{prefixes: ["+", {DIGITS}]}}, '
WORLD = HEAD.replace("bands:\n", CALENDARS).replace("zones: {", "zones: {" + ALL)


def pair(one, other, more_one="", more_other=""):
    text = WORLD
    text += "  - id: p\n    prices:\n"
    for name, match, more in (("one", one, more_one), ("other", other, more_other)):
        text += f"      - {{id: {name}, match: {{service: VOICE, {match}}}, free: true{more}}}\n"
    return text


def is_refused(text):
    try:
        load_text(text)
    except CatalogueRefused as refused:
        return "both match" in str(refused)
    return False


@pytest.mark.parametrize(
    ("one", "other", "refused"),
    [
        ("direction: MO", "direction: MO", True),
        ("direction: MO", "direction: MT", False),
        ("direction: MO", "on_net: true", True),
        ("on_net: true", "on_net: false", False),
        ("rating_group: 1", "rating_group: 1", True),
        ("rating_group: 1", "rating_group: 2", False),
        ("to: cn", "to: mobile", False),
        ("to: cn", "to: cn", True),
        ("to: cn", "to: all2", True),
        ("to: all", "to: all2", True),
        ("to: all", "to: digits", False),
        ("to: short", "to: short", True),
        ("to: cn", "direction: MO", False),
        ("visited: eu", "visited: eu2", True),
        ("visited: eu", "visited: home", False),
        ("visited: eu2", "visited: home", True),
        ("visited: any", "visited: eu", True),
        ("visited: eu", "direction: MO", False),
        ("visited: eu2", "direction: MO", True),
        ("band: day", "band: noon", True),
        ("band: day", "band: night", False),
        ("band: sunday", "band: wednesday", True),
        ("band: sunday", "band: saturday", False),
        ("band: monday-worked", "band: saturday", True),
        ("band: monday-worked", "band: wednesday", False),
        ("band: weekday", "band: night", False),
    ],
)
def test_two_rules(one, other, refused):
    """Overlap alone is no ambiguity: some record must match both with equal prefix length."""
    assert is_refused(pair(one, other)) is refused


def test_priority_or_one_key_more_decides():
    """Equal is only what is equal in all three: prefix length, priority, number of keys."""
    assert not is_refused(pair("direction: MO", "direction: MO", ", priority: 1"))
    assert not is_refused(pair("direction: MO", "direction: MO, on_net: true"))


def test_the_refusal_names_both_rules_with_their_lines():
    """File, line and both rules, and what to do about it."""
    with pytest.raises(CatalogueRefused) as refused:
        load_text(pair("to: cn", "to: cn"))
    (problem,) = refused.value.problems
    lines = pair("to: cn", "to: cn").splitlines()
    assert (lines[problem.place.line - 1].strip()[:12], lines[problem.other.line - 1].strip()[:10]) == (
        "- {id: other",
        "- {id: one",
    )
    assert "rules 'one' and 'other' of plan 'p' both match VOICE MO with +86..." in str(problem)
    assert "give one a higher priority" in str(problem)


def test_rules_of_two_plans_are_never_compared():
    """Each plan chooses among its own rules; so do two versions of one plan."""
    one = "    prices: [{id: a, match: {service: VOICE}, free: true}]\n"
    load_text(
        HEAD + "  - id: p\n" + one + "  - id: q\n" + one + "  - id: p\n    valid_from: '2026-01-01T00:00:00Z'\n" + one
    )


def metered(one, other):
    steps = "unit: s, steps: [{price: '1'}]"
    return (
        WORLD
        + f"""
  - id: p
    prices:
      - {{id: one, match: {{service: VOICE, {one[0]}}}, meter: {one[1]}, {steps}}}
      - {{id: other, match: {{service: VOICE, {other[0]}}}, meter: {other[1]}, {steps}}}
"""
    )


@pytest.mark.parametrize(
    ("one", "other", "refused"),
    [
        (("band: day", "record"), ("band: night", "month"), True),
        (("band: day", "month"), ("band: night", "month"), False),
        (("band: day", "record"), ("direction: MO, on_net: true", "month"), False),  # it is always the better one
        (("band: day, on_net: true", "record"), ("direction: MO", "month"), True),
        (("band: day, on_net: true", "record"), ("on_net: false", "month"), False),
        (("band: day, to: mobile", "record"), ("to: cn", "month"), True),
        (("band: day, to: cn", "record"), ("to: mobile", "month"), False),  # the longer prefix is there at any time
        (("direction: MO", "record"), ("direction: MT", "month"), False),
        (("to: cn", "record"), ("direction: MO", "month"), False),
    ],
)
def test_rules_that_can_cut_one_call_have_one_meter(one, other, refused):
    """Two meters in one call are refused only where some call can really have both."""
    if refused:
        with pytest.raises(CatalogueRefused, match="give both the same meter"):
            load_text(metered(one, other))
    else:
        load_text(metered(one, other))


ZONES = ['["+1"]', '["+1", "+12"]', '["+12"]', '["+123", "+1"]', '["12"]']
keys = st.fixed_dictionaries(
    {},
    optional={
        "direction": st.sampled_from(["MO", "MT"]),
        "to": st.sampled_from([f"z{n}" for n in range(len(ZONES))]),
        "visited": st.sampled_from(["home", "eu", "eu2", "any"]),
        "rating_group": st.sampled_from([1, 2]),
        "band": st.sampled_from(["day", "noon", "night"]),
        "on_net": st.sampled_from(["true", "false"]),
    },
)
NUMBERS = [None, "+1", "+12", "+123", "+1234", "+13", "12", "123", "+9"]


@given(st.lists(st.tuples(keys, st.integers(0, 1)), min_size=2, max_size=3))
@settings(deadline=None)
def test_refused_exactly_where_a_record_exists(rules):
    """Held against every record of a small world: refused if and only if one of them cannot choose."""
    zones = ", ".join(f"z{n}: {{prefixes: {prefixes}}}" for n, prefixes in enumerate(ZONES))
    text = HEAD.replace("zones: {", f"zones: {{{zones}, ") + "  - id: p\n    prices:\n"
    for number, (match, priority) in enumerate(rules):
        inner = "".join(f", {key}: {value}" for key, value in match.items())
        text += f"      - {{id: r{number}, match: {{service: DATA{inner}}}, free: true, priority: {priority}}}\n"
    assert is_refused(text) is _some_record_cannot_choose(rules)


def _some_record_cannot_choose(rules):
    networks = {"home": {None, "26201"}, "eu": {"20801"}, "eu2": {"20801", "26201"}}
    hours = {"day": (8, 20), "noon": (12, 13), "night": (20, 24)}
    prefixes = [json.loads(text) for text in ZONES]

    def rank(match, priority, number, visited, group, hour, on_net, direction):
        if match.get("direction", direction) != direction or match.get("rating_group", group) != group:
            return None
        if match.get("on_net", on_net) != on_net:
            return None
        where = match.get("visited", "home")
        if where != "any" and visited not in networks[where]:
            return None
        if "band" in match and not hours[match["band"]][0] <= hour < hours[match["band"]][1]:
            return None
        length = 0
        if "to" in match:
            entries = prefixes[int(match["to"][1:])]
            fits = [e for e in entries if number and (number.startswith(e) if e.startswith("+") else number == e)]
            if not fits:
                return None
            length = max(map(len, fits))
        return length, priority, len(match)

    for number in NUMBERS:
        for visited in (None, "26201", "20801", "99999"):
            for group in (None, 1, 2):
                for hour in (6, 10, 12, 21):
                    for on_net in ("true", "false"):
                        for direction in ("MO", "MT"):
                            ranks = [rank(m, p, number, visited, group, hour, on_net, direction) for m, p in rules]
                            ranks = [r for r in ranks if r is not None]
                            if len(set(ranks)) != len(ranks):
                                return True
    return False


def test_the_chosen_rule_is_the_best_by_length_priority_and_keys():
    """The tables answer as the plain sort would: longest prefix, then priority, then number of keys."""
    catalogue = catalogue_of(
        HEAD
        + """
  - id: p
    prices:
      - {id: any, match: {service: SMS}, free: true, priority: 9}
      - {id: cn-low, match: {service: SMS, to: cn, direction: MO}, free: true}
      - {id: cn-high, match: {service: SMS, to: cn}, free: true, priority: 1}
      - {id: mobile, match: {service: SMS, to: mobile}, free: true, priority: -5}
      - {id: mobile-eu, match: {service: SMS, to: mobile, visited: eu}, free: true, priority: -5}
"""
    )
    world = World(catalogue, "p")

    def chosen(**record):
        return world.charge(service="SMS", **record).lines[0].rule

    assert chosen(to="+49") == "any"
    assert chosen(to="+8620") == "cn-high"
    assert chosen(to="+8613") == "mobile"
    assert chosen(to="+8613", visited="20801") == "mobile-eu"
    assert world.charge(service="SMS", to="+8620", visited="20801").reason == "no_tariff"
