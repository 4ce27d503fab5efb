"""Catalogues are read as a whole, and refused with everything that is wrong at once."""

import json
import subprocess
import sys

import pytest
from rating_world import HEAD, World, catalogue_of, load_text, ms

from pipeline.adapters.catalogue import CatalogueRefused, compile, load_directory  # noqa: A004
from pipeline.adapters.catalogue_offsets import utc_offsets
from pipeline.domain.catalogue import canonical_bytes

RULE = "{id: x, match: {service: VOICE, direction: MO}, unit: min, steps: [{price: '0.10'}]}"
PLAN = HEAD + f"  - {{id: p, prices: [{RULE}]}}\n"


def problems(text, **files):
    with pytest.raises(CatalogueRefused) as refused:
        load_text(text, **files)
    return [str(problem) for problem in refused.value.problems]


def rule(changes, head=HEAD):
    return (
        head
        + f"""
  - id: p
    prices:
      - {{{changes}}}
"""
    )


GOOD = "id: x, match: {service: VOICE}, unit: min, steps: [{price: '0.10'}]"


def extra(keys):
    """A plan of one good rule, and these keys."""
    return rule(GOOD) + f"    {keys}\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            rule(GOOD + ", meterr: day"),
            "tariff.yaml:16: price rule of plan 'p': unknown key 'meterr'; did you mean 'meter'?",
        ),
        (rule(GOOD.replace("service: VOICE", "service: VOICE, zone: cn")), "unknown key 'zone'; "),
        (rule(GOOD.replace("VOICE", "VOIZE")), "service is one of VOICE, DATA, SMS, MMS, EVENT, not 'VOIZE'"),
        (rule(GOOD.replace("VOICE", "VOICE, to: nowhere")), "to (a zone) is one of cn, mobile, short, not 'nowhere'"),
        (rule(GOOD.replace("VOICE", "VOICE, band: dusk")), "band is one of day, noon, night, not 'dusk'"),
        (rule(GOOD.replace("VOICE", "VOICE, visited: mars")), "visited (networks) is one of"),
        (rule(GOOD.replace("unit: min", "unit: MB")), "unit of VOICE is one of ms, s, min, h, not 'MB'"),
        (rule(GOOD.replace("0.10", "1e3")), "price: not a decimal amount: '1e3'"),
        (rule(GOOD.replace("0.10", "-1")), "price: it is 0 or more"),
        (rule(GOOD.replace("'0.10'", "'0.10', increment: 0")), "`per` and `increment` more than 0"),
        (rule(GOOD.replace("'0.10'", "'0.10', from: 1")), "steps begin with `from: 0`"),
        (rule(GOOD.replace("'0.10'", "deck")), "'price: deck' needs a `to` zone with a file"),
        (rule(GOOD + ", connect_fee: '0.0000001'"), "connect_fee: more than six decimals"),
        (rule(GOOD + ", round_up: {to: 0}"), "round_up: it is more than 0"),
        (
            rule(GOOD + ", rounding: {decimals: 7, mode: nearest}"),
            "rounding: decimals is a whole number from 0 to 6, not '7'",
        ),
        (
            rule(GOOD + ", rounding: {decimals: 7, mode: nearest}"),
            "rounding: mode is one of half_up, half_even, up, down",
        ),
        (rule(GOOD + ", free: true"), "a free rule has no steps"),
        (rule("id: x, match: {service: VOICE}"), "a rule with a price says its unit"),
        (rule("match: {service: VOICE}, free: true"), "key 'id' is missing"),
        (rule("id: a b, match: {service: VOICE}, free: true"), "'a b' must be letters"),
        (
            rule(GOOD) + "      - {" + GOOD.replace("VOICE", "VOICE, on_net: true") + "}\n",
            "id 'x' is there twice; rename one (see tariff.yaml:16)",
        ),
        (
            HEAD + "  - {id: p}\n  - {id: p}\n",
            "plan 'p' is there twice; give the newer a later valid_from (see tariff.yaml:13)",
        ),
        (HEAD + "  - {id: p, valid_from: '2026-01-01'}\n", "valid_from is a moment with its offset"),
        (HEAD + "  - {id: p, valid_from: '2026-13-01T00:00:00Z'}\n", "valid_from is a moment with its offset"),
        (HEAD + "  - {id: p, currency: yen}\n", "currency is a code of three capital letters"),
        (HEAD + "  - {id: p, fee: {amount: '1', every: once, prorate: true}}\n", "every: once has no prorate"),
        (HEAD + "  - {id: p, fee: [{amount: '1'}, {amount: '2'}]}\n", "fee 'fee' is there twice; give each an id"),
        (HEAD + "  - {id: p, fee: [{amount: '1', every: week}]}\n", "every is one of month, once"),
        (rule(GOOD + ", minimum: '2', maximum: '1'"), "a minimum is not above the maximum"),
        (rule(GOOD + ", tiers: all"), "tiers is one of graduated, volume"),
        (rule(GOOD + ", tiers: volume, meter: session"), "volume tiers go with steps of their own and meter record"),
        (rule("id: x, match: {}, free: true, minimum: '1'"), "a free rule has no minimum"),
        (rule("id: x, match: {}, free: true, tax: {rate: '1', included: true}"), "a free rule has no tax"),
        (
            rule(
                f"{GOOD}, tiers: volume}}\n      - {{id: y, match: {{service: VOICE, band: day}}, unit: min, steps: [{{price: '1'}}]"
            ),
            "rules 'x' and 'y' of plan 'p' can price parts of one call",
        ),
        (extra("discounts: [{id: d, match: {}}]"), "discount 'd' of plan 'p': say either percent or amount"),
        (extra("discounts: [{id: d, percent: '5', amount: '1'}]"), "say either percent or amount"),
        (extra("discounts: [{id: d, percent: '101'}]"), "at most 100 percent"),
        (extra("discounts: [{id: d, percent: '-1'}]"), "a percentage is 0 or more"),
        (extra("discounts: [{id: d, percent: '5', rule: z}]"), "rule is one of x, not 'z'"),
        (extra("discounts: [{id: d, percent: '5', first: 3}]"), "'first' and 'unit' go together"),
        (extra("discounts: [{id: d, percent: '5', first: 3, unit: min}]"), "say match: {service: ...}"),
        (extra("discounts: [{id: d, rule: x, percent: '5', first: 3, unit: MB}]"), "unit of VOICE is one of"),
        (extra("discounts: [{id: d, rule: x, percent: '5', first: 0, unit: min}]"), "'first' is more than 0"),
        (extra("discounts: [{id: d, percent: '5'}, {id: d, percent: '5'}]"), "id 'd' is there twice; rename one"),
        (
            extra("discounts: [{id: d, percent: '5', from: '2026-02-01T00:00:00Z', until: '2026-01-01T00:00:00Z'}]"),
            "'until' is after 'from'",
        ),
        (
            extra("allowances: [{id: a, service: SMS, quantity: 1, unit: msg, every: day, prorate: true}]"),
            "prorate is of a first month; say every: month",
        ),
        (
            extra("allowances: [{id: a, service: SMS, quantity: 1, unit: msg, every: day, price: '1'}]"),
            "a pack that repeats every day says its valid_days as well",
        ),
        (
            extra("allowances: [{id: a, service: SMS, quantity: 1, unit: msg, price: '1', rollover: true}]"),
            "what is bought has no rollover",
        ),
        (extra("allowances: [{id: a, service: SMS, quantity: 1, unit: msg, price: '-1'}]"), "price: it is 0 or more"),
        (
            extra("allowances: [{id: a, service: SMS, quantity: 1, unit: msg, every: month, rollover: {limit: 0.5}}]"),
            "no whole number of the smallest unit",
        ),
        (
            extra("allowances: [{id: a, service: SMS, quantity: 1, unit: msg, every: month, rollover: {}}]"),
            "key 'limit' is missing",
        ),
        (extra("caps: [{id: c, every: week, amount: '1'}]"), "every is one of day, month"),
        (extra("caps: [{id: c, every: day}]"), "key 'amount' is missing"),
        (extra("caps: [{id: c, every: day, amount: '1', match: {band: day}}]"), "leave band out"),
        (extra("caps: [{id: c, every: day, amount: '1', match: {to: mars}}]"), "to (a zone) is one of"),
        (HEAD + "  - {id: p, tax: {rate: 6%, included: true}}\n", "write 6% as 6"),
        (HEAD + "  - {id: p, tax: {rate: '-1', included: true}}\n", "a percentage is 0 or more"),
        (HEAD + "  - {id: p, tax: {rate: '6'}}\n", "key 'included' is missing"),
        (
            HEAD + "  - {id: p, allowances: [{id: a, service: SMS, quantity: 1, unit: msg, rollover: true}]}\n",
            "rollover is from one period to the next; say every",
        ),
        (
            HEAD + "  - {id: p, allowances: [{id: a, service: SMS, quantity: 0, unit: msg}]}\n",
            "quantity: it is more than 0",
        ),
        (
            HEAD + "  - {id: p, allowances: [{id: a, service: SMS, quantity: 1, unit: min}]}\n",
            "unit of SMS is one of msg, not 'min'",
        ),
        (
            PLAN.replace('to: "20:00"', 'to: "07:00"'),
            "'to' is after 'from'; a band over midnight is written as two bands",
        ),
        (PLAN.replace('to: "24:00"', 'to: "24:01"'), "is a time of day from 00:00 to 24:00, not '24:01'"),
        (
            PLAN.replace("bands:", 'calendars: {c: {holidays: ["2026-02-30"]}}\nbands:'),
            "is a date like 2026-10-01, not '2026-02-30'",
        ),
        (
            PLAN.replace("bands:", 'calendars: {c: {holidays: ["2026-02-01"], workdays: ["2026-02-01"]}}\nbands:'),
            "cannot be a holiday and a workday",
        ),
        (PLAN.replace('"+86"', '"86-1"'), "'86-1' is no prefix: a prefix is '+' and digits"),
        (PLAN.replace('["26201"]', '["2620"]'), "'2620' is no MCC+MNC"),
        (PLAN.replace("Europe/Berlin", "Mars/Olympus"), "timezone 'Mars/Olympus' is not known"),
        (PLAN.replace("Europe/Berlin", "../zoneinfo/UTC"), "is not known"),
        (PLAN.replace("currency: EUR\n", ""), "the catalogue has no 'currency'"),
        (PLAN + "plans: []\n", "key 'plans' is written twice"),
        ("a: [", "no YAML"),
        ("a: &a [*a]", "*a stands for nothing that is written above it"),
        ("- 1", "a catalogue file is a mapping of keys, not a list"),
    ],
)
def test_a_problem_is_named_with_its_place_and_what_to_do(text, says):
    """Every mistake is refused at load, by file and line, in words that say what to write instead."""
    found = problems(text)
    assert any(says in problem and problem.startswith(("tariff.yaml:", ".:1")) for problem in found), found


def test_all_problems_at_once():
    """Two mistakes in one file are two problems of one refusal, by line."""
    found = problems(rule(GOOD + ", meterr: day") + "      - {id: y, match: {servise: SMS}, free: true}\n")
    assert [problem.split(":")[1] for problem in found] == ["16", "17"]


def test_files_are_merged_and_their_names_do_not_matter(tmp_path):
    """Two ways of cutting one catalogue into files give the same document, hence the same hash."""
    one = load_text(PLAN).document(5)
    head, plans = PLAN.split("plans:\n")
    (tmp_path / "z.yaml").write_text(head)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yml").write_text("plans:\n" + plans)
    (tmp_path / ".hidden.yaml").write_text("nonsense: true")
    assert canonical_bytes(load_directory(tmp_path).document(5)) == canonical_bytes(one)
    (tmp_path / "b.yaml").write_text("currency: CNY\nzones: {cn: {prefixes: ['+1']}}")
    with pytest.raises(CatalogueRefused) as refused:
        load_directory(tmp_path)
    assert [str(problem) for problem in refused.value.problems] == [
        "z.yaml:3: currency is said twice; say it in one file (see b.yaml:1)",
        "z.yaml:6: zones: 'cn' is defined twice; rename one (see b.yaml:2)",
    ]


def test_an_empty_directory_is_refused(tmp_path):
    """Nothing to read is a refusal, not an empty tariff; so is a directory that is not there."""
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(CatalogueRefused, match="no catalogue here"):
            load_directory(path)


DECKED = (
    HEAD.replace("short: {", "world: {file: deck.csv}, short: {")
    + """
  - id: p
    prices: [{id: w, match: {service: VOICE, direction: MO, to: world}, unit: s, connect_fee: "0.10", steps: [{price: deck, per: 60, increment: 60}]}]
"""
)


def test_a_deck_sets_rate_fee_and_increments():
    """Empty cells keep the rule's value; short codes stand whole; the longest prefix gives the row."""
    deck = "prefix,rate,connect_fee,first,next\n+1,0.60,,,\n+12,0.60,0,30,6\n22833,1,,1,1\n\n"
    world = World(compile(load_text(DECKED, deck_csv=deck).document(0)), "p")
    charged = [world.charge(to=to, seconds=31).amount_micros for to in ("+1900", "+1200", "22833")]
    assert charged == [700_000, 360_000, 620_000]


@pytest.mark.parametrize(
    ("deck", "says"),
    [
        ("prefix;rate\n", "deck.csv:1: a deck begins with the line prefix,rate"),
        ("prefix,rate\n+1,1\n+1,2\n", "deck.csv:3: prefix +1 is in this deck twice; keep one (see deck.csv:2)"),
        ("prefix,rate\n+1,x\n", "deck.csv:2: rate: not a decimal"),
        ("prefix,rate\n+1,\n", "deck.csv:2: prefix +1 has no rate"),
        ("prefix,rate\n+1,-1\n", "deck.csv:2: rate -1 is too small"),
        ("prefix,rate\n1-2,1\n", "deck.csv:2: '1-2' is no prefix"),
        ("prefix,rate\n+1,1,2\n", "deck.csv:2: 3 cells under 2 columns"),
        ("prefix,rate,first\n+1,1,0\n", "deck.csv:2: first 0 is too small"),
        ("prefix,rate,first\n+1,1,0.0001\n", "deck row of +1: 0.0001 is no whole number"),
    ],
)
def test_a_deck_with_a_mistake(deck, says):
    """Decks are checked row by row, a repeated prefix included."""
    assert any(says in problem for problem in problems(DECKED, deck_csv=deck)), problems(DECKED, deck_csv=deck)


def test_a_deck_lies_inside_the_catalogue():
    """No file outside the directory is read."""
    assert "there is no file '/etc/passwd'" in problems(DECKED.replace("deck.csv", "/etc/passwd"))[0]


def test_the_document_is_plain_json_and_compiles_to_the_same_hash():
    """What is published is JSON; read back it is the same version; effective_from is part of the hash."""
    document = load_text(PLAN).document(7)
    again = json.loads(canonical_bytes(document))
    assert compile(again).hash == compile(document).hash
    assert (compile(again).effective_from, len(compile(again).hash)) == (7, 64)
    assert compile(load_text(PLAN).document(8)).hash != compile(document).hash
    with pytest.raises(ValueError, match="format 2 is not known"):
        compile({**document, "format": 2})


def test_numbers_are_text_and_never_floats():
    """Unquoted amounts and times mean what they say; the document holds no float."""
    text = PLAN.replace("'0.10'", "0.10, increment: 0.5").replace('from: "08:00"', "from: 08:00")

    def floats(value):
        if isinstance(value, dict):
            return any(map(floats, value.values()))
        return any(map(floats, value)) if isinstance(value, list) else isinstance(value, float)

    document = load_text(text).document(0)
    assert not floats(document)
    assert document["plans"][0]["prices"][0]["steps"] == [
        {"from": "0", "price": "0.10", "per": "1", "increment": "0.5"}
    ]
    assert document["bands"]["day"]["from"] == "08:00"


def test_offsets_are_frozen_and_the_wall_clock_follows_them():
    """Berlin changes in March and October, to the second; months and days are those of the wall."""
    offsets = dict(utc_offsets("Europe/Berlin"))
    assert offsets[ms("2026-03-29T01:00:00+00:00")] == 7_200
    assert offsets[ms("2026-10-25T01:00:00+00:00")] == 3_600
    catalogue = catalogue_of(PLAN)
    moments = [
        "2026-05-31T21:59:59+00:00",
        "2026-05-31T22:00:00+00:00",
        "2025-12-31T23:00:00+00:00",
        "2024-02-29T12:00:00+00:00",
    ]
    assert [catalogue.day_of(ms(at)) for at in moments] == ["2026-05-31", "2026-06-01", "2026-01-01", "2024-02-29"]
    assert catalogue.month_of(ms(moments[1])) == "2026-06"
    periods = catalogue.clock.periods(ms("2026-10-25T12:00:00+00:00"))
    assert (periods.day_end_ms, periods.month_end_ms) == (
        ms("2026-10-26T00:00:00+01:00"),
        ms("2026-11-01T00:00:00+01:00"),
    )


def test_a_day_whose_midnight_is_skipped_begins_with_the_jump():
    """In Beirut the clocks go from 00:00 to 01:00: the day before ends there, and the day has 23 hours."""
    catalogue = catalogue_of(PLAN.replace("Europe/Berlin", "Asia/Beirut"))
    jump = ms("2026-03-28T22:00:00+00:00")
    assert (catalogue.day_of(jump - 1), catalogue.day_of(jump)) == ("2026-03-28", "2026-03-29")
    assert catalogue.clock.periods(jump - 1).day_end_ms == jump


def test_the_hash_does_not_depend_on_the_process(tmp_path):
    """Another process, with another hash seed, publishes the same bytes."""
    (tmp_path / "t.yaml").write_text(PLAN)
    code = "import sys; from pipeline.adapters.catalogue import *; print(compile(load_directory(sys.argv[1]).document(0)).hash)"
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert hashes == {catalogue_of(PLAN).hash + "\n"}
