"""`chargeline catalogue diff | simulate | import-deck | calendar`, as they are typed."""

import json

import pytest

from deploy.cli import main
from pipeline.adapters.catalogue import load_directory

TARIFF = """
operator: Example
currency: CNY
timezone: Asia/Shanghai
zones: {cn: {prefixes: ["+86"]}, world: {file: world.csv}}
calendars: {cn: {holidays: ["2026-10-01"]}}
bands: {peak: {calendar: cn, from: "08:00", to: "20:00"}}
plans:
  - id: basic
    fee: {amount: "19.00", every: month}
    allowances: [{id: talk, service: VOICE, quantity: 1, unit: min, every: month}]
    prices:
      - {id: call, match: {service: VOICE, direction: MO, to: cn}, unit: min, steps: [{price: "0.15"}]}
      - {id: text, match: {service: SMS, direction: MO}, unit: msg, steps: [{price: "0.10"}]}
  - id: old
    prices: [{id: text, match: {service: SMS, direction: MO}, unit: msg, steps: [{price: "0.20"}]}]
"""


@pytest.fixture
def run(capsys):
    def ran(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return ran


def directory(path, text, deck="prefix,rate\n+1,0.60\n+44,0.30\n"):
    path.mkdir()
    (path / "tariff.yaml").write_text(text, encoding="utf-8")
    (path / "world.csv").write_text(deck, encoding="utf-8")
    return path


@pytest.fixture
def before(tmp_path):
    return directory(tmp_path / "a", TARIFF)


def test_diff_says_what_a_tariff_manager_would(run, before, tmp_path):
    """Each change with its plan and rule: prices, fees, quantities, rates of a deck, days of a calendar."""
    text = TARIFF.replace('{price: "0.15"}', '{price: "0.20"}, {from: 10, price: "0.05", per: 2}').replace(
        "19.00", "21.00"
    )
    text = text.replace("quantity: 1,", "quantity: 2,").replace('"2026-10-01"', '"2026-10-01", "2026-10-02"')
    text = text[: text.index("  - id: old")] + '  - {id: new, caps: [{id: day, every: day, amount: "5"}]}\n'
    after = directory(tmp_path / "b", text, "prefix,rate\n+1,0.55\n+33,0.45\n")
    code, out, _ = run("catalogue", "diff", before, after)
    assert code == 0
    assert out.splitlines() == [
        "zone world: +1: rate 0.60 becomes rate 0.55",
        "zone world: +33 is new: rate 0.45",
        "zone world: +44 is gone (was rate 0.30)",
        "calendar cn: holidays 2026-10-02 is new",
        "plan basic, fee fee: amount: 19.00 becomes 21.00",
        "plan basic, allowance talk: quantity: 1 becomes 2",
        "plan basic, price call: steps: 0.15 per min becomes 0.20 per min then from 10 min on 0.05 per 2 min by 1 min",
        "plan new is new",
        "plan old is gone",
    ]
    lines = [json.loads(line) for line in run("catalogue", "diff", before, after, "--json")[1].splitlines()]
    assert lines[0] == {"place": "zone world", "key": "+1", "before": "rate 0.60", "after": "rate 0.55"}


def test_diff_of_the_same_says_nothing(run, before, tmp_path):
    """Another order of keys and files is no change."""
    assert run("catalogue", "diff", before, directory(tmp_path / "b", TARIFF))[1] == ""


def test_a_new_version_of_a_plan_is_told_by_what_it_changes(run, before, tmp_path):
    """A plan with a later valid_from is compared with the version before it."""
    text = TARIFF + (
        '  - {id: old, valid_from: "2027-01-01T00:00:00+08:00", prices: '
        '[{id: text, match: {service: SMS, direction: MO}, unit: msg, steps: [{price: "0.25"}], maximum: "9"}]}\n'
    )
    out = run("catalogue", "diff", before, directory(tmp_path / "b", text))[1].splitlines()
    assert out == [
        "plan old from 2026-12-31T16:00:00.000Z is new",
        "plan old from 2026-12-31T16:00:00.000Z, price text: maximum: none becomes 9",
        "plan old from 2026-12-31T16:00:00.000Z, price text: steps: 0.20 per msg becomes 0.25 per msg",
    ]


def files(tmp_path):
    accounts, usage = tmp_path / "accounts.jsonl", tmp_path / "usage.jsonl"
    people = [("ann", "basic", 1), ("bob", "basic", 2), ("cid", "old", 3)]
    accounts.write_text(
        "".join(
            json.dumps(
                {"type": "open_account", "command_id": name, "account": name, "at": "2026-09-01T00:00:00Z", "actor": "x",
                 "currency": "CNY", "plan": plan, "identities": [f"msisdn-+861390000000{n}"], "opening_balance": "0"}
            ) + "\n" for name, plan, n in people
        )
    )  # fmt: skip
    rows = [(1, "SMS", 0, 2), (1, "VOICE", 120_000, 0), (2, "VOICE", 60_000, 0), (3, "SMS", 0, 1), (3, "VOICE", 1, 0)]
    usage.write_text(
        "".join(
            json.dumps(
                {"record_id": f"r{at}", "source": "s", "service": service, "direction": "MO",
                 "msisdn": f"+861390000000{n}", "other_party": "+8613800000009", "start_time": "2026-10-08T04:00:00Z",
                 "duration_ms": ms, "message_count": count}
            ) + "\n" for at, (n, service, ms, count) in enumerate(rows)
        )
    )  # fmt: skip
    return accounts, usage


def test_simulate_says_who_pays_more(run, before, tmp_path):
    """Ann: 2 texts and 1 paid minute, 0.35, then 0.42. Bob is covered by his bundle. Cid: 0.20, then 0.10."""
    text = TARIFF.replace('{price: "0.15"}', '{price: "0.22"}').replace('"0.20"', '"0.10"')
    after = directory(tmp_path / "b", text)
    accounts, usage = files(tmp_path)
    how = ("--usage", usage, "--accounts", accounts)
    code, out, _ = run("catalogue", "simulate", before, after, *how, "--json")
    assert code == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(r["account"], r["before_micros"], r["after_micros"]) for r in lines if r["type"] == "account"] == [
        ("ann", 350_000, 420_000),
        ("bob", 0, 0),
        ("cid", 200_000, 100_000),
    ]
    plans = {row["plan"]: row for row in lines if row["type"] == "plan"}
    assert [plans["basic"][key] for key in ("accounts", "more", "less", "same", "before_micros", "after_micros")] == [
        2, 1, 0, 1, 350_000, 420_000,
    ]  # fmt: skip
    assert lines[-1] == {"type": "records", "charged_by_a_alone": 0, "charged_by_b_alone": 0}
    out = run("catalogue", "simulate", before, after, *how)[1]
    assert "ann pays 0.07 CNY more than 0.35" in out
    assert ["total", "0.55", "0.52", "-0.03", "CNY"] in [line.split() for line in out.splitlines()]


def test_simulate_counts_what_only_one_of_them_prices(run, before, tmp_path):
    """A rule that is gone is no price of nothing: its records are named apart."""
    text = TARIFF.replace(
        '      - {id: text, match: {service: SMS, direction: MO}, unit: msg, steps: [{price: "0.10"}]}\n', ""
    )
    accounts, usage = files(tmp_path)
    after = directory(tmp_path / "b", text)
    out = run("catalogue", "simulate", before, after, "--usage", usage, "--accounts", accounts, "--json")[1]
    assert json.loads(out.splitlines()[-1]) == {"type": "records", "charged_by_a_alone": 1, "charged_by_b_alone": 0}


A2BILLING = "dialprefix,destination,rateinitial,initblock,billingblock,connectcharge\n"
KAZOO = "prefix,iso_country_code,rate_name,rate_cost,rate_increment,rate_minimum,rate_surcharge\n"


@pytest.mark.parametrize(
    ("text", "deck"),
    [
        (A2BILLING + "1,USA,0.60,60,60,0\n0044,UK,0.30,30,6,0.05\n",
         "prefix,rate,connect_fee,first,next\n+1,0.60,,60,60\n+44,0.30,0.05,30,6\n"),
        (KAZOO + "33,FR,FR-33,0.45,1,60,0\n", "prefix,rate,first,next\n+33,0.45,60,1\n"),
        ("Dial Code;Price\n49 151;0,05\n49160-49162;0,06\n", "prefix,rate\n+49151,0.05\n+49160,0.06\n+49161,0.06\n+49162,0.06\n"),
        ('Code,Rate,Valid from\n"7;76",0.1,2026-01-01\n7,0.1,2026-01-01\n', "prefix,rate\n+7,0.1\n+76,0.1\n"),
    ],
)  # fmt: skip
def test_a_price_list_becomes_a_deck(run, tmp_path, before, text, deck):
    """Their columns are read as ours, blocks of 0 are none, lists and ranges are written out; a catalogue reads it."""
    source, out = tmp_path / "carrier.csv", before / "world.csv"
    source.write_text(text, encoding="utf-8")
    code, _, talk = run("catalogue", "import-deck", source, "--out", out)
    assert (code, out.read_text()) == (0, deck), talk
    assert ("not read: Valid from" in talk) == ("Valid" in text)
    load_directory(before)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prefix,rate\n44,0.10\n1,0.2\n+44,0.30\n",
         "carrier.csv:4: prefix +44 has another price here (rate 0.30) than before (rate 0.10); keep one (see carrier.csv:2)"),
        ("prefix,price,rate,rate\n44,1,1,1\n", "column 'rate' is there twice"),
        ("country,cost\nUK,1\n", "carrier.csv:1: no column for the prefix among country, cost"),
        ("prefix,rate\nUK,0.1\n", "carrier.csv:2: 'UK' is no prefix"),
        ("prefix,rate\n44,free\n", "carrier.csv:2: rate: not a decimal amount"),
        ("prefix,rate\n44,\n", "carrier.csv:2: prefix 44 has no rate"),
        ("prefix,rate\n44,-1\n", "carrier.csv:2: rate: -1 is below 0"),
        ("prefix,rate\n449-44,1\n", "carrier.csv:2: '449-44' is no range"),
    ],
)  # fmt: skip
def test_a_price_list_with_a_conflict_is_refused(run, tmp_path, text, says):
    """Every conflict with its line, and the other one's; nothing is written."""
    source, out = tmp_path / "carrier.csv", tmp_path / "deck.csv"
    source.write_text(text, encoding="utf-8")
    code, data, talk = run("catalogue", "import-deck", source, "--out", out)
    assert (code, data, out.exists()) == (1, "", False)
    assert says in talk


def test_a_calendar_is_made_of_public_holidays(run, tmp_path):
    """Holidays by date and name, and the weekend days worked in exchange; what is written is a catalogue's section.

    China in 2026: National Day is a Thursday, and Saturday 10 October is worked for it.
    """
    code, out, _ = run("catalogue", "calendar", "cn", "2026")
    assert code == 0
    assert out.startswith('calendars:\n  cn:\n    holidays:\n      - "2026-01-01" # New Year\'s Day\n')
    loaded = load_directory(directory(tmp_path / "c", out + "\ncurrency: CNY\ntimezone: Asia/Shanghai\n"))
    calendar = loaded.document(0)["calendars"]["cn"]
    assert "2026-10-01" in calendar["holidays"]
    assert "2026-10-10" in calendar["workdays"]
    assert {day[:4] for day in calendar["holidays"] + calendar["workdays"]} == {"2026"}


def test_holidays_of_a_country_that_is_not_known_are_refused(run):
    """The refusal says what a country looks like; nothing is written."""
    code, out, talk = run("catalogue", "calendar", "XX", "2026")
    assert (code, out) == (1, "")
    assert "no holidays are known of 'XX'; give an ISO code like CN or DE" in talk


def test_a_period_has_an_id_of_its_own():
    """Whoever begins a month, by hand or by a scheduler, uses the same id: it is begun once."""
    from deploy.cli.sending import _own_id

    document = {"type": "begin_period", "account": "alice", "period": "2026-12"}
    assert _own_id(document) == "period-alice-2026-12"
    assert _own_id({**document, "type": "top_up"}) != _own_id({**document, "type": "top_up"})
