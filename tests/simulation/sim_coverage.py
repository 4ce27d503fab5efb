"""Which rows of the crash tables the runs met: those of design and owner, of mediate, and what lies behind them."""

from collections import Counter

CRASH_ROWS = (
    # of the owner
    "before the ledger transaction commits",
    "commit outcome unknown: it did not happen",
    "commit outcome unknown: it happened",
    "after the commit, before the view",
    "a take-over replays the ledger's tail into the view",
    "the view's reply is lost",
    "the view's script stops half way",
    "the view lost its tail",
    "the view was wiped by its server",
    "an old copy of the view was promoted",
    "the view is wiped and rebuilt",
    "a zombie is fenced by the broker",
    "a writer meets the view's gate at another seq",
    "a record ends the process",
    "one record at a time after two deaths",
    "a take-over breaks off",
    # of transactions
    "a late end meets its own transaction",
    "a late end tears another transaction",
    "a late end of a transaction is refused",
    "a decided transaction waits for its markers",
    "an open transaction times out",
    "a read waits for an open transaction",
    # of mediate
    "mediate: before flush returns",
    "mediate: a delivery fails",
    "mediate: after flush, before commit",
    "mediate: commit refused",
    "mediate: the commit's reply is lost",
    "mediate: the registry is silent",
    "mediate: the directory's end is not reached",
    # of the world
    "a process is killed",
    "a process sleeps",
    "the clock is set back",
    "the clock leaps ahead",
    "a catalogue is published",
)
HALT_ROWS = (
    "halts: the ledger lost its tail",
    "halts: an input was made anew",
    "halts: an input lost records",
    "the view is of another ledger",
)
ANSWERS = (
    "CHARGED", "duplicate", "conflicting_copy", "late", "quarantined", "fault", "undecodable", "wrong_partition",
    "unknown_account", "not_bound", "opened", "topped_up", "adjusted", "duplicate_command", "conflicting_command",
    "duplicate_reference", "conflicting_reference", "unknown_charge", "exceeds_charge", "unknown_review",
    "already_charged", "already_settled", "discarded", "identity_added", "identity_removed", "identity_bound",
    "identity_not_bound", "settings_changed",
)  # fmt: skip
DEAD_LETTERS = ("undecodable", "unknown_subscriber", "ambiguous", "starts_in_future")


def wanted() -> tuple[str, ...]:
    """Return every row that a suite has to meet, in the order in which it is shown."""
    answers = tuple(f"answer: {name}" for name in ANSWERS)
    letters = tuple(f"dead letter: {name}" for name in DEAD_LETTERS)
    return (*CRASH_ROWS, *HALT_ROWS, *answers, *letters)


def table(rows: Counter[str], seeds: int) -> str:
    """Show how often each row was met; what nobody asked for comes last."""
    names = [*wanted(), *sorted(rows.keys() - set(wanted()))]
    return "\n".join(f"{rows[name]:9}  {name}" for name in names) + f"\n{seeds:9}  seeds"
