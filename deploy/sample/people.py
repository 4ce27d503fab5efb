"""The operator's customers, and what was asked for their accounts before the story's last ten days."""

from typing import Final, NamedTuple

from deploy.sample.days import DAYS, Calendar
from pipeline.adapters.ledger_codec import iso_time

ACTOR: Final = "service-sample"


class Line(NamedTuple):
    """A number with its SIM and its phone."""

    msisdn: str
    imsi: str
    imei: str
    cell: str


class Customer(NamedTuple):
    """An account: its plan, its money, its lines; `busy` ones have everyday traffic, the others only their episode."""

    account: str
    plan: str
    opening_balance: str
    lines: tuple[Line, ...]
    busy: bool
    credit_limit: str = "0"


class _Kind(NamedTuple):
    account: str
    plan: str
    opening_balance: str
    lines: int
    busy: bool
    credit_limit: str = "0"


_KINDS: Final = (
    *(_Kind(f"cust-{n:03d}", "basic", "80.00", 1, busy=True) for n in range(1, 15)),
    *(_Kind(f"cust-{n:03d}", "surf", "120.00", 1, busy=True) for n in range(15, 22)),
    *(_Kind(f"cust-{n:03d}", "payg", "90.00", 1, busy=True, credit_limit="10.00") for n in range(22, 28)),
    _Kind("family-lin", "family", "150.00", 4, busy=True),
    _Kind("family-chen", "family", "150.00", 3, busy=True),
    _Kind("family-zhao", "family", "150.00", 3, busy=True),
    _Kind("budget-zhou", "basic", "60.00", 1, busy=False),
    _Kind("low-wu", "payg", "12.00", 1, busy=False),
    _Kind("debt-sun", "payg", "5.00", 1, busy=False, credit_limit="2.00"),
    _Kind("switch-he", "basic", "60.00", 1, busy=False),
    _Kind("pack-gao", "basic", "100.00", 1, busy=False),
    _Kind("stream-ma", "payg", "50.00", 1, busy=False),
    _Kind("night-xu", "payg", "50.00", 1, busy=False),
    _Kind("trip-eva", "basic", "120.00", 1, busy=False),
    _Kind("trip-hong", "surf", "100.00", 1, busy=False),
    _Kind("stolen-qian", "basic", "80.00", 1, busy=False, credit_limit="50.00"),
)


class People:
    """Everybody, by account."""

    def __init__(self) -> None:
        self.customers: tuple[Customer, ...] = ()
        number = 101
        for kind in _KINDS:
            lines = tuple(line(number + n) for n in range(kind.lines))
            number += kind.lines
            customer = Customer(
                kind.account, kind.plan, kind.opening_balance, lines, kind.busy, credit_limit=kind.credit_limit
            )
            self.customers += (customer,)
        self.watch = line(number)
        """The number that one family gets in the middle of the story."""
        self._by_account = {customer.account: customer for customer in self.customers}

    def line(self, account: str, index: int = 0) -> Line:
        """Return a customer's line."""
        return self._by_account[account].lines[index]


def line(number: int) -> Line:
    """Return the line of this running number, in ranges of numbers that were made up."""
    return Line(
        f"+86139000{number:05d}",
        f"46099{number:010d}",
        f"35999900{number:06d}0",  # the last digit is spare in a record
        f"46099-{100 + number % 7}-{number % 23:04d}",
    )


def identities(of: Line) -> list[str]:
    """Return a line's two identities as accounts spell them."""
    return [f"msisdn-{of.msisdn}", f"imsi-{of.imsi}"]


def commands(people: People, calendar: Calendar) -> list[dict[str, object]]:
    """Return what was asked for the accounts, by time: opened long ago, the rest as the story needs it."""
    opened = iso_time(calendar.opened_ms)
    asked = [_open(customer, opened) for customer in people.customers]
    begun = calendar.at(DAYS, 0)
    later: tuple[tuple[int, str, str, dict[str, object]], ...] = (
        (calendar.at(40, 10), "top_up", "cust-001", {"amount": "50.00", "reference": "sample-payment-1"}),
        (calendar.at(32, 18), "top_up", "cust-022", {"amount": "30.00", "reference": "sample-payment-2"}),
        (calendar.at(30, 9), "adjust", "cust-003", {"amount": "2.00", "reason": "goodwill after an outage"}),
        (begun, "set_budget", "budget-zhou", {"amount": "20.00", "thresholds": [50, 80, 100]}),
        (begun, "add_identity", "family-zhao", {"identity": identities(people.watch)[0]}),
        (begun, "add_identity", "family-zhao", {"identity": identities(people.watch)[1]}),
        (begun, "add_allowance", "pack-gao", {"allowance": "basic-data-pack", "from": iso_time(begun)}),
        (calendar.at(6, 15), "change_plan", "switch-he", {"plan": "surf", "from": iso_time(calendar.at(5, 0))}),
        (calendar.at(2, 12), "top_up", "low-wu", {"amount": "1.00", "reference": "sample-payment-3"}),
    )
    for number, (at, kind, account, fields) in enumerate(later, 1):
        asked.append(_command(kind, f"sample-{number:03d}-{kind}", account, iso_time(at), fields))
    return asked


def _open(customer: Customer, opened: str) -> dict[str, object]:
    return _command(
        "open_account",
        f"sample-open-{customer.account}",
        customer.account,
        opened,
        {
            "currency": "CNY",
            "plan": customer.plan,
            "identities": [identity for of in customer.lines for identity in identities(of)],
            "opening_balance": customer.opening_balance,
            "credit_limit": customer.credit_limit,
        },
    )


def _command(kind: str, command_id: str, account: str, at: str, fields: dict[str, object]) -> dict[str, object]:
    common = {"type": kind, "command_id": command_id, "account": account, "at": at, "actor": ACTOR}
    return common | fields
