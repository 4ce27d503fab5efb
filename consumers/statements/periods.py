"""Which accounts a month is to be begun for: the scheduler of `begin_period` decides when it is sent, and no more.

What is due, and whether it was taken before, charge decides: the command's id is `period-ACCOUNT-YYYY-MM`, so a repeat
is a DUPLICATE, whoever sends it.
"""

from typing import Any

from pipeline.domain.account import CLOSED, Account
from pipeline.domain.catalogue import Catalogues
from pipeline.domain.fees import PERIOD, begin, parse_month
from pipeline.domain.outcome import Refusal


def month_at(moment_ms: int, catalogues: Catalogues) -> str | None:
    """Return the month (YYYY-MM) of a moment in tariff time; None where nothing was ever published."""
    catalogue = catalogues.at(moment_ms)
    return None if catalogue is None else catalogue.month_of(moment_ms)


def is_after(month: str, other: str) -> bool:
    """Tell whether a month (YYYY-MM) is later than another."""
    later, earlier = parse_month(month), parse_month(other)
    assert later is not None, "no month"
    assert earlier is not None, "no month"
    return later > earlier


def is_due(account: Account, month: str, at_ms: int, catalogues: Catalogues) -> bool:
    """Tell whether a month is to be begun for an account, as it stands.

    It is where fees are due, and for those whose bills are closed by periods already: not for a closed account with
    nothing left to settle, and not twice. What charge would refuse for another reason is sent, so that somebody hears
    of it.
    """
    begun = begin(month, at_ms, account, catalogues)
    if isinstance(begun, Refusal):
        return begun.reason != "period_begun"
    return bool(begun.lines) or (PERIOD in account.fields and account.status != CLOSED)


def period_command(account: str, month: str, at: str, actor: str) -> dict[str, Any]:
    """Return the command that begins a month of an account, as JSON; `at` is ISO 8601."""
    return {
        "type": "begin_period",
        "command_id": period_id(account, month),
        "account": account,
        "at": at,
        "actor": actor,
        "period": month,
    }


def period_id(account: str, month: str) -> str:
    """Return the one id under which a month of an account is begun."""
    return f"period-{account}-{month}"
