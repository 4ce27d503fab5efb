"""What detectors see of one usage record: the record, whose it is, what became of it, and what every detector asks.

Made once for all detectors. Times are ms since 1970 UTC.
"""

from typing import Final, NamedTuple

from pipeline.domain.detectors.ranges import Prefixes, country
from pipeline.domain.usage import AcceptedUsage, UsageRecord

NOT_PRICED: Final = ""
"""`kind` of a record that nobody priced.

Read from a file, without accounts.
"""


class Use(NamedTuple):
    """One usage record. `kind` is that of the ledger's event, NOT_PRICED where there is none.

    `line` is the served party as an alert's object names it: its msisdn, else its imsi. `other` is the other party,
    "" where there is none; `foreign` says that it is of another country than the line, `hot` that it is in a range
    known as dear or abused. `away`: served by a network that is not home. `since` is the start of the first record of
    the line. `clock` is the time that all records so far have brought, see `Clock`.
    """

    usage: UsageRecord | AcceptedUsage
    line: str
    account: str
    start: int
    end: int
    clock: int
    other: str
    foreign: bool
    hot: bool
    away: bool
    since: int
    kind: str = NOT_PRICED
    charge_id: str = ""
    amount_micros: int = 0
    free_octets: int = 0
    received_at: int | None = None


class Reference(NamedTuple):
    """What an operator knows and a record does not say.

    `home_country` is the country code with its `+` of a line that shows none; `home_networks` the codes that are home
    besides a record that names no network; `hot` the dear and abused ranges; `positions` the place of a cell: metres
    from the middle of the Earth along three axes.
    """

    home_country: str
    home_networks: frozenset[str]
    hot: Prefixes
    positions: dict[str, tuple[int, int, int]]


def line_of(usage: UsageRecord | AcceptedUsage) -> str:
    """Return the served party as an alert's object names it: its msisdn, else its imsi."""
    return f"msisdn-{usage.msisdn}" if usage.msisdn is not None else f"imsi-{usage.imsi}"


def use_of(
    usage: UsageRecord | AcceptedUsage,
    account: str | None,
    clock: int,
    reference: Reference,
    since: int = 0,
    kind: str = NOT_PRICED,
    charge_id: str = "",
    amount_micros: int = 0,
    free_octets: int = 0,
    received_at: int | None = None,
) -> Use:
    """Return what detectors see of this record of a line first seen at `since`; without an account it is its own."""
    msisdn, other = usage.msisdn, usage.other_party or ""
    line = line_of(usage)
    foreign = hot = False
    if other[:1] == "+":
        own = reference.home_country if msisdn is None else country(msisdn)
        foreign = country(other) != own
        hot = (foreign or not other.startswith(reference.home_country)) and other in reference.hot
    visited = usage.visited_plmn
    start = usage.start_time
    return Use(
        usage,
        line,
        account or line,
        start,
        start + usage.duration_ms,
        clock,
        other,
        foreign,
        hot,
        visited is not None and visited not in reference.home_networks,
        since,
        kind,
        charge_id,
        amount_micros,
        free_octets,
        received_at,
    )
