"""What happens to the books when months begin and prices turn out to be wrong: real servers, real processes."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from command_line import CommandLine, running, write_lines

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

NOW = datetime.now(ZoneInfo("Asia/Shanghai"))
MONTH = f"{NOW:%Y-%m}"
MONTH_BEFORE = f"{NOW.replace(day=1) - timedelta(days=1):%Y-%m}"
OPENED = "2024-03-01T00:00:00+08:00"
TARIFFS = """\
operator: Example
currency: CNY
timezone: Asia/Shanghai
zones: {{mobile: {{prefixes: ["+8613"]}}}}
plans:
  - id: easy
    fee: [{{amount: "19.00", every: month}}, {{id: line, amount: "6.00", every: month}}]
    allowances: [{{id: talk, service: VOICE, quantity: 1, unit: min, every: month}}]
    prices: [{{id: call, match: {{service: VOICE, direction: MO, to: mobile}}, unit: min, steps: [{{price: "{price}"}}]}}]
  - id: bare
    prices: [{{id: call, match: {{service: VOICE, direction: MO}}, unit: min, steps: [{{price: "0.20"}}]}}]
"""


class Deployed(NamedTuple):
    chargeline: CommandLine
    folder: Path

    def publish_tariff(self, price: str, *options: str) -> None:
        directory = self.folder / f"tariffs-{price}"
        directory.mkdir()
        (directory / "tariffs.yaml").write_text(TARIFFS.format(price=price))
        self.chargeline("catalogue", "publish", directory, *options)

    def open(self, account: str, number: str, plan: str = "easy") -> None:
        command = {
            "type": "open_account", "command_id": f"open-{account}", "account": account, "at": OPENED,
            "actor": "staff-test", "currency": "CNY", "plan": plan, "identities": [f"msisdn-{number}"],
            "opening_balance": "100.00", "plan_from": OPENED,
        }  # fmt: skip
        self.chargeline("account", "apply", write_lines(self.folder / f"{account}.jsonl", [command]))

    def call(self, number: str, record_id: str, minutes: int, ago_s: int = 120) -> None:
        record = {
            "record_id": record_id, "source": "msc", "service": "VOICE", "direction": "MO", "msisdn": number,
            "other_party": "+8613900000000", "start_time": _iso(time.time() - ago_s), "duration_ms": minutes * 60_000,
        }  # fmt: skip
        path = write_lines(self.folder / f"{record_id}.jsonl", [record])
        sent = self.chargeline.one("publish", path, "--wait")
        assert sent["answers"] == {"CHARGED": 1}, sent

    def balance(self, account: str) -> int:
        micros: int = self.chargeline.one("account", "show", account)["balance_micros"]
        return micros

    def bill(self, account: str, *options: str) -> Any:
        return self.chargeline.one("bill", account, *options)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, ZoneInfo("UTC")).isoformat()


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("tariffs")
    with running(folder / "data", KAFKA__LEDGER_PARTITIONS="2") as chargeline:
        made = Deployed(chargeline, folder)
        made.publish_tariff("0.30")
        yield made


def test_begin_period_charges_the_fees_and_closes_the_bill(deployed):
    """One CHARGED event with a line for each fee; again it is a DUPLICATE.

    What comes after it is on its bill, what came before on the one before it, though both calls are of one day.
    """
    chargeline = deployed.chargeline
    deployed.open("carol", "+8613800000011")
    begun = chargeline.one("account", "begin-period", "carol", MONTH_BEFORE)
    assert (begun["command_id"], begun["kind"], begun["amount_micros"]) == (
        f"period-carol-{MONTH_BEFORE}", "CHARGED", 25_000_000,
    )  # fmt: skip
    event = chargeline.one("explain", begun["event"])
    assert [(line["rule"], line["amount_micros"]) for line in event["lines"]] == [
        ("fee", 19_000_000),
        ("line", 6_000_000),
    ]
    deployed.call("+8613800000011", "before", 3)  # one minute included, 2 x 0.30
    begun = chargeline.one("account", "begin-period", "carol", MONTH)
    assert (begun["kind"], begun["amount_micros"]) == ("CHARGED", 25_000_000)
    again = chargeline.one("account", "begin-period", "carol", MONTH)
    assert (again["kind"], again["reason"], again["amount_micros"]) == ("DUPLICATE", "duplicate_command", 0)
    deployed.call("+8613800000011", "after", 1)
    assert deployed.balance("carol") == 100_000_000 - 2 * 25_000_000 - 600_000 - 300_000

    bills = {month: deployed.bill("carol", "--month", month) for month in (MONTH_BEFORE, MONTH)}
    assert {month: [line["record_id"] for line in bill["lines"]] for month, bill in bills.items()} == {
        MONTH_BEFORE: [f"period-carol-{MONTH_BEFORE}"] * 2 + ["before"],
        MONTH: [f"period-carol-{MONTH}"] * 2 + ["after"],
    }
    assert [bill["total_micros"] for bill in bills.values()] == [25_600_000, 25_300_000]


def test_begin_periods_begins_the_month_of_whoever_it_is_due_for(deployed):
    """Accounts with fees, once each; run again, or with nothing due, nothing is sent."""
    chargeline = deployed.chargeline
    deployed.open("dave", "+8613800000012")
    deployed.open("erin", "+8613800000013", plan="bare")
    assert "dave" in chargeline("account", "begin-periods", "--dry-run").stdout.split()
    assert deployed.balance("dave") == 100_000_000
    sent = {row["account"]: row for row in chargeline.json("account", "begin-periods")}
    assert (sent["dave"]["kind"], sent["dave"]["amount_micros"]) == ("CHARGED", 25_000_000)
    assert "erin" not in sent
    assert chargeline.json("account", "begin-periods") == []
    assert deployed.balance("dave") == 75_000_000
    later = chargeline("account", "begin-periods", "--month", "2099-01", code=1)
    assert "has not begun" in later.stderr


def test_a_wrong_price_is_made_good(deployed):
    """The dry run shows each difference; then they are posted, linked to their charges; twice changes nothing.

    Three minutes and two at 0.30, one of the bundle: 0.60 and 0.60. At 0.20 they come to 0.40 and 0.40.
    """
    chargeline = deployed.chargeline
    deployed.open("frank", "+8613800000014")
    deployed.call("+8613800000014", "long", 3, ago_s=300)
    deployed.call("+8613800000014", "short", 2, ago_s=200)
    assert deployed.balance("frank") == 100_000_000 - 1_200_000
    deployed.publish_tariff("0.20")
    span = ("--from", OPENED, "--to", _iso(time.time()), "--reason", "0.30 was 0.20", "--account", "frank")

    shown = chargeline.json("rerate", *span, "--dry-run")
    assert [(row["type"], row["paid_micros"], row["due_micros"], row["amount_micros"]) for row in shown] == [
        ("correction", 600_000, 400_000, 200_000)
    ] * 2
    assert deployed.balance("frank") == 100_000_000 - 1_200_000, "a dry run posts nothing"

    chargeline("rerate", *span)
    assert deployed.balance("frank") == 100_000_000 - 800_000
    charges = {row["charge_id"] for row in shown}
    posted = [payment for payment in deployed.bill("frank")["payments"] if payment["kind"] == "ADJUSTED"]
    assert [payment["amount_micros"] for payment in posted] == [200_000, 200_000]
    events = [chargeline.one("explain", payment["event"]) for payment in posted]
    assert {event["command"]["charge_id"] for event in events} == charges
    assert {event["command"]["reason"] for event in events} == {"0.30 was 0.20"}

    assert "nothing to correct" in chargeline("rerate", *span).stderr
    assert deployed.balance("frank") == 100_000_000 - 800_000


def test_the_books_balance_afterwards(deployed):
    """Fees, periods and corrections pass the audit."""
    assert deployed.chargeline.one("audit", "verify")["ok"]
