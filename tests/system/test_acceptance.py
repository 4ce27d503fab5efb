"""What whoever buys this would try: a switch's own file, one price for one use, charges that explain themselves."""

import csv
import io
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from command_line import CommandLine, running, write_lines

from consumers.statements.explain import explain
from deploy.sample import story
from pipeline.adapters.formats import usage_to_json
from pipeline.adapters.kafka.dead_letters import dead_letters
from pipeline.adapters.kafka.ledger_lookup import read_partition
from pipeline.adapters.kafka.topics import describe_topics
from pipeline.adapters.ledger_codec import StoredEvent, decode_event, event_to_json
from pipeline.adapters.store.dump import dump_partition
from pipeline.adapters.store.redis import connect
from pipeline.domain.ledger import Event
from pipeline.domain.outcome import CHARGED, DUPLICATE, REJECTED
from pipeline.domain.usage import UsageRecord
from pipeline.settings import Settings
from pipeline.topics import AUDIT, partition_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

WAIT_S = 40
SMALL = Path(__file__).with_name("data") / "asterisk.csv"
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "asterisk_cdr_pseudonymised.csv"
TARIFFS = """\
operator: Example
currency: CNY
timezone: Asia/Shanghai
plans:
  - id: easy
    valid_from: "2017-01-01T00:00:00+08:00"
    prices:
      - id: call
        match: {service: VOICE, direction: MO}
        unit: s
        steps: [{from: 0, price: "0.10", per: 60, increment: 6}]
"""


def ledger_of(settings: Settings) -> list[Event]:
    """Every event of every partition, in the order of its partition."""
    partitions = describe_topics(settings)[AUDIT.name].partitions
    records = [record for p in range(partitions) for record in read_partition(settings, AUDIT.name, p, WAIT_S)]
    return [decode_event(record.value).event for record in records if record.value is not None]


# --- a switch's own file ---


class Switch(NamedTuple):
    chargeline: CommandLine
    settings: Settings
    folder: Path


class Row(NamedTuple):
    """What is asked of a row of `cdr-csv`, read without a line of ours."""

    caller: str
    seconds: int
    answered: bool


def rows_of(path: Path) -> list[Row]:
    rows = csv.reader(io.StringIO(path.read_text("latin-1")))
    return [Row(row[1], int(row[13]), row[14] == "ANSWERED") for row in rows]


def distinct_rows_of(path: Path) -> list[Row]:
    lines = list(dict.fromkeys(path.read_text("latin-1").splitlines()))
    return [Row(row[1], int(row[13]), row[14] == "ANSWERED") for row in csv.reader(lines)]


def e164(caller: str) -> str:
    digits = re.sub(r"[^0-9]", "", caller)
    return "+" + digits if caller.startswith("+") else "+86" + digits.removeprefix("0")


@pytest.fixture(scope="module")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Switch]:
    """A deployment that still takes calls of 2017."""
    folder = tmp_path_factory.mktemp("switch")
    with running(folder / "data", CHARGE__LATE_WINDOW_DAYS="5000", KAFKA__LEDGER_PARTITIONS="4") as chargeline:
        (folder / "tariffs").mkdir()
        (folder / "tariffs" / "tariffs.yaml").write_text(TARIFFS)
        chargeline("catalogue", "publish", folder / "tariffs")
        yield Switch(chargeline, chargeline.settings(), folder)


def open_accounts(switch: Switch, path: Path) -> dict[str, str]:
    """Open an account for each caller of the file; returns the account of each."""
    numbers = {row.caller: e164(row.caller) for row in rows_of(path)}
    commands = [
        {
            "type": "open_account",
            "command_id": f"open-{number}",
            "account": f"of-{number}",
            "at": "2017-01-01T00:00:00+08:00",
            "actor": "staff-test",
            "currency": "CNY",
            "plan": "easy",
            "identities": [f"msisdn-{number}"],
            "opening_balance": "100.00",
        }
        for number in sorted(set(numbers.values()))
    ]
    switch.chargeline("account", "apply", write_lines(switch.folder / "accounts.jsonl", commands))
    return {caller: f"of-{number}" for caller, number in numbers.items()}


def charge_twice(switch: Switch, path: Path) -> list[Event]:
    """Publish a switch's file, and again; returns the events of the first time. All that holds of any file is held."""
    accounts = open_accounts(switch, path)
    before = len(ledger_of(switch.settings))
    rows, distinct = rows_of(path), distinct_rows_of(path)
    publish = ("publish", path, "--timezone", "Asia/Shanghai", "--wait")
    first = switch.chargeline.one(*publish)
    assert first == {
        "sent": len(rows),
        "refused": 0,
        "answers": {CHARGED: len(distinct), DUPLICATE: len(rows) - len(distinct)},
    }
    ledger = ledger_of(switch.settings)
    assert len(ledger) == before + len(rows), "each row ends as exactly one event"
    events = [event for event in ledger if event.usage is not None and event.account in accounts.values()]
    assert len(events) == len(rows)

    charged = [event for event in events if event.kind == CHARGED]
    assert sum(line.quantity for event in charged for line in event.lines) == 1000 * sum(r.seconds for r in distinct)
    expected = Counter((accounts[row.caller], price_micros(row)) for row in distinct)
    assert Counter((event.account, event.amount_micros) for event in charged) == expected

    assert switch.chargeline.one(*publish)["answers"] == {DUPLICATE: len(rows)}
    assert switch.chargeline.one("audit", "verify")["ok"]
    return events


def price_micros(row: Row) -> int:
    """0.01 for each begun 6 s; nothing where nobody answered."""
    return -(-row.seconds // 6) * 10_000 if row.answered else 0


def test_a_switchs_own_file(switch):
    """Every row of an Asterisk switch's file is one event: copies are duplicates, legs of one call are calls.

    Unanswered rows are recorded at zero, quantities add up to `billsec`, and the file sent again charges nothing.
    """
    events = charge_twice(switch, SMALL)
    assert Counter(event.kind for event in events) == {CHARGED: 10, DUPLICATE: 3}
    free = [event for event in events if event.kind == CHARGED and not event.amount_micros]
    assert len(free) == 4, "three that nobody took, one of no seconds"
    shown = switch.chargeline.one("account", "show", "of-+8613800000001")
    assert shown["balance_micros"] == 100_000_000 - (11 + 86) * 10_000


@pytest.mark.skipif(not REAL.exists(), reason="the real file is not part of the project")
def test_a_real_switchs_file(switch):
    """A file that a real switch wrote, with figures counted by hand."""
    rows = rows_of(REAL)
    assert (len(rows), sum(row.seconds for row in rows)) == (218, 38_947)
    answered = [row for row in rows if row.answered]
    assert (len(answered), sum(row.seconds for row in answered)) == (133, 38_839)
    events = charge_twice(switch, REAL)
    assert Counter(event.kind for event in events) == {CHARGED: 210, DUPLICATE: 8}
    assert sum(event.kind == CHARGED and event.amount_micros == 0 for event in events) == 77 + 24
    assert sum(not event.usage.answered for event in events if event.kind == CHARGED) == 77


# --- one price for one use ---


class Sample(NamedTuple):
    chargeline: CommandLine
    settings: Settings
    files: story.Files
    late: tuple[str, ...]
    ledger: list[Event]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sample]:
    """The sample, sent and charged as a user's own files are."""
    folder = tmp_path_factory.mktemp("sample")
    now_ms = time.time_ns() // 1_000_000
    files, told = story.write(folder, now_ms), story.build(now_ms)
    with running(folder / "data") as chargeline:
        chargeline("catalogue", "publish", files.catalogue)
        chargeline("account", "apply", files.accounts)
        chargeline("publish", files.usage, "--wait")
        settings = chargeline.settings()
        yield Sample(chargeline, settings, files, told.late_record_ids, ledger_of(settings))


def outcome(event: dict[str, Any]) -> dict[str, Any]:
    """What became of a record. A version published has its time in its hash, one that is only tried has none."""
    kept = ("kind", "reason", "account", "digest", "amount_micros", "balance_before_micros", "balance_after_micros")
    lines = [{**line, "catalogue": None} for line in event["lines"]]
    return {**{name: event[name] for name in kept}, "lines": lines}


def test_offline_and_online_are_one_price(sample, tmp_path):
    """`chargeline rate` gives each record what the pipeline gave it: kind, amount, every line, the balances.

    In the order in which the pipeline charged them, for who draws first on a shared allowance decides who pays. Not
    the late one, which offline is never late. What was a dead letter is REJECTED, for the same reason.
    """
    answered = [event for event in sample.ledger if event.usage is not None and event.event_id not in sample.late]
    known = {event.event_id for event in answered}
    rows = [json.loads(line) for line in sample.files.usage.read_text().splitlines()]
    set_aside = [row for row in rows if row["record_id"] not in known and row["record_id"] not in sample.late]
    in_order = [usage_to_json(UsageRecord(*event.usage[: len(UsageRecord._fields)])) for event in answered]
    path = write_lines(tmp_path / "usage.jsonl", in_order + set_aside)

    rated = sample.chargeline.json(
        "rate", "--catalogue", sample.files.catalogue, "--accounts", sample.files.accounts, "--usage", path
    )
    assert [event["event_id"] for event in rated] == [event.event_id for event in answered] + [
        row["record_id"] for row in set_aside
    ]
    for online, offline in zip(answered, rated, strict=False):
        shown = json.loads(json.dumps(event_to_json(StoredEvent(online, b"", b""))))
        assert outcome(offline) == outcome(shown), online.event_id
    letters = {
        dict(letter.headers)["ce_id"].decode(): letter.reason for letter in dead_letters(sample.settings, WAIT_S)
    }
    refused = {event["event_id"]: event["reason"] for event in rated[len(answered) :]}
    assert refused == letters
    assert {event["kind"] for event in rated[len(answered) :]} == {REJECTED}
    assert len(answered) > 2_500


# --- charges that explain themselves ---

EXACT = r"(\S+)(?: \(-?[0-9.]+\.\.\.\))?"
"""a sum, with its first decimals where it is a fraction"""
STEP = re.compile(rf"  (-?\d+) x (\S+) \w+ at (\S+) per (\S+) \w+ \(from \S+ \w+ on\) = {EXACT}")
SUMS = re.compile(rf"  (?:sum of this record|on meter .+: sum):? {EXACT} before, {EXACT} after")
ROUNDED = re.compile(r"  rounded to (\d) decimals \((\w+)\): (\S+) - (\S+) = (\S+)")
FEE, CAP = re.compile(r"  connect fee (\S+)"), re.compile(r"  never more than (\S+)")
HEAD = re.compile(r"charge \S+: (\S+) CNY")
BALANCE = re.compile(r"balance (\S+) - (\S+) = (\S+) CNY")


def only(pattern: re.Pattern[str], lines: list[str]) -> tuple[str, ...] | None:
    found = [match for match in map(pattern.fullmatch, lines) if match is not None]
    assert len(found) <= 1
    return found[0].groups() if found else None


def recomputed(text: list[str]) -> Fraction:
    """Follow an explanation with a pencil, each line from its own figures; returns what it comes to."""
    begin = [number for number, line in enumerate(text) if line.startswith("part ")] + [len(text)]
    total = Fraction(0)
    for first, behind in pairwise(begin):
        part = text[first:behind]
        rounding = only(ROUNDED, part)
        if rounding is None:
            assert "  free by this rule: nothing to pay" in part
            continue
        sums, fee, cap = only(SUMS, part), only(FEE, part), only(CAP, part)
        assert sums is not None
        before, after = map(Fraction, sums)
        bought = Fraction(fee[0]) if fee else Fraction(0)
        for step in filter(None, map(STEP.fullmatch, part)):
            increments, increment, price, per, amount = map(Fraction, step.groups())
            assert increments * increment * price / per == amount
            bought += amount
        limit = Fraction(cap[0]) if cap else before + bought
        assert after == max(before, min(before + bought, limit)), part
        decimals, mode, rounded_after, rounded_before, amount = rounding
        assert mode == "half_up"
        assert Fraction(rounded_after) == half_up(after, int(decimals)), part
        assert Fraction(rounded_after) - Fraction(rounded_before) == Fraction(amount)
        total += Fraction(amount)
    return total


def half_up(exact: Fraction, decimals: int) -> Fraction:
    scaled = abs(exact) * 10**decimals
    rounded = Fraction(int(scaled + Fraction(1, 2)), 10**decimals)
    return rounded if exact >= 0 else -rounded


def test_a_charge_explains_itself(sample):
    """From the words of `explain` alone, with pencil and paper, every charge of the sample comes to its amount."""
    charged = [event for event in sample.ledger if event.kind == CHARGED]
    kinds: dict[tuple[object, ...], str] = {}
    partitions = describe_topics(sample.settings)[AUDIT.name].partitions
    for event in charged:
        charge_id = f"{partition_of(event.account, partitions)}-{event.seq}"
        text = explain(charge_id, event)
        amount = Fraction(event.amount_micros, 1_000_000)
        head = only(HEAD, text)
        assert head is not None
        assert recomputed(text) == Fraction(head[0]) == amount, text
        balance = only(BALANCE, text)
        assert balance is not None
        before, taken, after = map(Fraction, balance)
        assert (before - taken, taken) == (after, amount)
        line = event.lines[0]
        kinds.setdefault(
            (line.rule, line.allowance, line.maximum_micros, len(event.lines), line.meter is None), charge_id
        )
    assert len(kinds) > 20, "the sample has many kinds of charge"
    shown = list(kinds.values())[:: len(kinds) // 4]
    by_id = {f"{partition_of(event.account, partitions)}-{event.seq}": event for event in charged}
    for charge_id in shown:
        assert sample.chargeline("explain", charge_id).stdout.splitlines() == explain(charge_id, by_id[charge_id])


# --- the view is the ledger's ---


def test_a_wiped_redis_is_the_same_again(sample):
    """Redis emptied and rebuilt from the ledger holds the same keys, the same bytes, the same expiries."""
    partitions = range(describe_topics(sample.settings)[AUDIT.name].partitions)
    before = [dump_partition(sample.settings, partition) for partition in partitions]
    assert sum(len(dump.hashes) + len(dump.sets) for dump in before) > 100
    client = connect(sample.settings)
    client.flushall()
    client.close()
    rebuilt = sample.chargeline.one("rebuild")
    assert rebuilt == {"partitions": list(partitions), "events": len(sample.ledger)}
    assert [dump_partition(sample.settings, partition) for partition in partitions] == before
    assert sample.chargeline.one("audit", "verify")["ok"]
