"""irsf: international revenue share fraud, a burst of calls to a range whose owner shares in what they cost.

Definition: answered calls to another country, or to a dear or abused range, that pile up on one range. Seen from two
sides: one account calls one range much within an hour; and many accounts call one range within an hour, which none of
them shows by itself. Both are held against what the account, and the range, usually see. Source: destination spikes of
Oracle's Fraud Monitor; lists of abused ranges; the dear prefixes of the operator's own rate deck.
"""

from typing import Final, NamedTuple

from pipeline.domain.detectors.event_time import (
    HOUR_MS,
    MINUTE_MS,
    Entry,
    Episode,
    Log,
    Usual,
    is_known,
    learned,
    logged,
    usual_peak,
)
from pipeline.domain.detectors.finding import CRITICAL, WARNING
from pipeline.domain.detectors.part import ACCOUNT, NOTHING, RANGE, Hit, Step, speak
from pipeline.domain.detectors.ranges import BLOCK_DIGITS, common_prefix, range_of
from pipeline.domain.detectors.use import Use
from pipeline.domain.usage import VOICE

IRSF: Final = "irsf"
_ACCOUNT_KEPT: Final = 64
_RANGE_KEPT: Final = 128
_RANGES_KNOWN: Final = 8
_BLOCKS: Final = 3


class Parameters(NamedTuple):
    """One account, one range, one hour.

    `hot_calls` and `hot_ms` for a dear or abused range, `calls` and `talk_ms` for any other abroad; `times_usual`:
    and so many times what the account usually calls there.

    Many accounts, one range, one hour: `hot_accounts`; `block_accounts` where it is one block of ten thousand
    numbers, and `wider_accounts` more for each digit that the block is wider by, up to a million, and
    `times_one_number` as many where all call one number, as hotlines are called; `range_accounts` where it is spread
    over the range, once the range is known for `grace_ms`; `range_times_usual`: and so many times the range's usual.
    """

    hot_calls: int = 4
    hot_ms: int = 6 * MINUTE_MS
    calls: int = 9
    talk_ms: int = 15 * MINUTE_MS
    times_usual: int = 3
    hot_accounts: int = 6
    block_accounts: int = 10
    wider_accounts: int = 5
    times_one_number: int = 2
    range_accounts: int = 30
    range_times_usual: int = 3
    grace_ms: int = 24 * HOUR_MS


class KnownRange(NamedTuple):
    """A range that the account calls: how many calls an hour it usually peaks at."""

    range_: str
    usual: Usual


class AccountState(NamedTuple):
    """The account's calls abroad in the last hour, and the ranges it knows."""

    seen: int
    episode: Episode | None
    log: Log
    known: tuple[KnownRange, ...]


class OneAccount:
    """A burst from one account to one range."""

    name = IRSF
    view = ACCOUNT
    kept_ms = 14 * 24 * HOUR_MS
    quiet_ms = 6 * HOUR_MS

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def key(self, use: Use) -> str | None:
        """Return the account that calls abroad."""
        return use.account if _is_watched(use) else None

    def step(self, state: AccountState | None, use: Use) -> Step:
        """Add the call to its range."""
        if state is None:
            state = AccountState(0, None, (), ())
        start, range_ = use.start, range_of(use.other)
        log = logged(state.log, Entry(start, use.end, use.other, use.usage.record_id), HOUR_MS, _ACCOUNT_KEPT)
        there = [entry for entry in log if entry[2].startswith(range_)]
        calls = len(there)
        usual = next((known.usual for known in state.known if known.range_ == range_), None)
        rules = self._parameters
        episode, found = state.episode, NOTHING
        if calls >= (rules.hot_calls if use.hot else rules.calls):
            talk_ms = sum(entry[1] - entry[0] for entry in there)
            limit = max(rules.hot_calls if use.hot else rules.calls, rules.times_usual * usual_peak(usual))
            limit_ms = rules.hot_ms if use.hot else rules.talk_ms
            if calls >= limit and talk_ms >= limit_ms:
                numbers = tuple({entry[2]: None for entry in there})
                hit = Hit(
                    use.line,
                    use.account,
                    CRITICAL,
                    1_000 * calls // limit,
                    tuple(entry[3] for entry in there),
                    {
                        "range": common_prefix(numbers),
                        "dear_or_abused": use.hot,
                        "calls_in_60_min": calls,
                        "limit": limit,
                        "talk_ms": talk_ms,
                        "numbers": len(numbers),
                        "away": use.away,
                    },
                    "Bar international calls of the account, then ask the customer; dispute the range's settlement.",
                )
                episode, found = speak(IRSF, episode, hit, use, HOUR_MS)
        others = [known for known in state.known if known.range_ != range_]
        known = (*others, KnownRange(range_, learned(usual, start, calls)))[-_RANGES_KNOWN:]
        return AccountState(use.clock, episode, log, known), found


class RangeState(NamedTuple):
    """The calls to a range in the last hour (party: the calling line), and how many lines usually call it."""

    seen: int
    episode: Episode | None
    log: Log
    usual: Usual | None
    block_usual: Usual | None


class ManyAccounts:
    """A burst from many accounts to one range."""

    name = IRSF
    view = RANGE
    kept_ms = 14 * 24 * HOUR_MS
    quiet_ms = 6 * HOUR_MS

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def key(self, use: Use) -> str | None:
        """Return the range that is called."""
        return range_of(use.other) if _is_watched(use) else None

    def step(self, state: RangeState | None, use: Use) -> Step:
        """Count the accounts that called the range, and its busiest block."""
        if state is None:
            state = RangeState(0, None, (), None, None)
        start, rules = use.start, self._parameters
        called = f"{use.other} {use.account}"
        log = logged(state.log, Entry(start, use.end, called, use.usage.record_id), HOUR_MS, _RANGE_KEPT)
        accounts = len({entry[2].partition(" ")[2] for entry in log})
        episode, found = state.episode, NOTHING
        here, in_block, block_limit = self._narrowest(log, use, usual_peak(state.block_usual))
        limit = max(
            rules.hot_accounts if use.hot else rules.range_accounts, rules.range_times_usual * usual_peak(state.usual)
        )
        wide = accounts >= limit and (
            use.hot or (state.usual is not None and is_known(state.usual.since, start, rules.grace_ms))
        )
        if in_block >= block_limit or wide:
            there = log if wide else here
            numbers = tuple({entry[2].partition(" ")[0]: None for entry in there})
            hit = Hit(
                f"range-{common_prefix(numbers)}",
                "",
                CRITICAL if use.hot else WARNING,
                1_000 * accounts // limit if wide else 1_000 * in_block // block_limit,
                tuple(entry[3] for entry in there),
                {
                    "accounts_in_60_min": accounts if wide else in_block,
                    "limit": limit if wide else block_limit,
                    "usual_peak": usual_peak(state.usual if wide else state.block_usual),
                    "calls": len(there),
                    "talk_ms": sum(entry[1] - entry[0] for entry in there),
                    "numbers": len(numbers),
                    "dear_or_abused": use.hot,
                },
                "Bar the range for all customers until it is known whose it is; look for what makes them call it.",
            )
            episode, found = speak(IRSF, episode, hit, use, HOUR_MS)
        usual, block_usual = learned(state.usual, start, accounts), learned(state.block_usual, start, in_block)
        return RangeState(use.clock, episode, log, usual, block_usual), found

    def _narrowest(self, log: Log, use: Use, usual: int) -> tuple[Log, int, int]:
        """Return the calls to the narrowest block that is over its limit, its accounts, and the limit.

        Blocks are of ten thousand numbers, a hundred thousand, a million; where none is over it, the first of them.
        """
        rules, first = self._parameters, None
        for wider in range(_BLOCKS):
            prefix = use.other[: -BLOCK_DIGITS - wider]
            if len(prefix) < len(range_of(use.other)):
                break
            here = tuple(entry for entry in log if entry[2].startswith(prefix))
            accounts = len({entry[2].partition(" ")[2] for entry in here})
            least = rules.hot_accounts if use.hot else rules.block_accounts + wider * rules.wider_accounts
            if not use.hot and len({entry[2].partition(" ")[0] for entry in here}) == 1:
                least *= rules.times_one_number
            limit = max(least, rules.range_times_usual * usual)
            if accounts >= limit:
                return here, accounts, limit
            first = first or (here, accounts, limit)
            if len(log) < least:
                break
        return first or (log[-1:], 1, rules.block_accounts)


def _is_watched(use: Use) -> bool:
    usage = use.usage
    return (use.foreign or use.hot) and usage.service == VOICE and usage.direction == "MO" and usage.answered
