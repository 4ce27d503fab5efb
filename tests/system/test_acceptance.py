"""What whoever buys this would try: a switch's own file, one price for one use, charges that explain themselves."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from command_line import CommandLine, running, write_lines

from consumers.statements.explain import explain
from deploy.sample import story
from pipeline.adapters.formats import usage_to_json
from pipeline.adapters.kafka.ledger_lookup import read_partition
from pipeline.adapters.kafka.topics import describe_topics
from pipeline.adapters.ledger_codec import StoredEvent, decode_event
from pipeline.adapters.store.dump import dump_partition
from pipeline.adapters.store.redis import connect
from pipeline.domain.ledger import Event, Line
from pipeline.domain.outcome import CHARGED, DUPLICATE, REJECTED, REVIEW
from pipeline.domain.usage import UsageRecord
from pipeline.settings import Settings
from pipeline.topics import AUDIT

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
        steps: [{from: 0, price: "0.10", per: 60, increment: 1}]
"""


def ledger_of(settings: Settings) -> list[StoredEvent]:
    """Every event of every partition, in the order of its partition."""
    partitions = describe_topics(settings)[AUDIT.name].partitions
    records = [record for p in range(partitions) for record in read_partition(settings, AUDIT.name, p, WAIT_S)]
    return [decode_event(record.value) for record in records if record.value is not None]


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
    events = [stored.event for stored in ledger if stored.event.usage and stored.event.account in accounts.values()]
    assert len(events) == len(rows)

    charged = [event for event in events if event.kind == CHARGED]
    assert sum(line.quantity for event in charged for line in event.lines) == 1000 * sum(r.seconds for r in distinct)
    expected: Counter[tuple[str, int]] = Counter()
    for row in distinct:
        exact = Fraction(row.seconds * 100_000, 60) if row.answered else Fraction(0)
        expected[accounts[row.caller], int(exact / 10_000 + Fraction(1, 2)) * 10_000] += 1
    assert Counter((event.account, event.amount_micros) for event in charged) == expected

    again = switch.chargeline.one(*publish)
    assert again["answers"] == {DUPLICATE: len(rows)}
    report = switch.chargeline.one("audit", "verify")
    assert report["ok"]
    for account, micros in Counter({a: sum(m * n for (b, m), n in expected.items() if b == a) for a, _ in expected}).items():
        shown = switch.chargeline.one("account", "show", account) if len(accounts) < 5 else None
        assert shown is None or shown["balance_micros"] == 100_000_000 - micros
    return events


def test_a_switchs_own_file(switch):
    """Every row of an Asterisk switch's file is one event: copies are duplicates, legs of one call are calls.

    Unanswered rows are recorded at zero, quantities add up to `billsec`, and the file sent again charges nothing.
    """
    events = charge_twice(switch, SMALL)
    assert Counter(event.kind for event in events) == {CHARGED: 10, DUPLICATE: 3}
    free = [event for event in events if event.kind == CHARGED and not event.amount_micros]
    assert len(free) == 4, "two that nobody took, one that failed, one of no seconds"


@pytest.mark.skipif(not REAL.exists(), reason="the real file is not part of the project")
def test_a_real_switchs_file(switch):
    """A file that a real switch wrote, with figures counted by hand."""
    rows = rows_of(REAL)
    assert (len(rows), sum(row.seconds for row in rows)) == (218, 38_947)
    answered = [row for row in rows if row.answered]
    assert (len(answered), sum(row.seconds for row in answered)) == (133, 38_839)
    events = charge_twice(switch, REAL)
    assert Counter(event.kind for event in events) == {CHARGED: 210, DUPLICATE: 8}
    assert sum(event.kind == CHARGED and event.amount_micros == 0 for event in events) == 77
