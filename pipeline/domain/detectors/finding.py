"""What a detector says: one alert in one state, with the event that decided it."""

import hashlib
from typing import Final, NamedTuple

from pipeline.domain.ledger import Event

OPEN: Final = "open"
UPDATE: Final = "update"
CLOSE: Final = "close"
INFO: Final = "info"
WARNING: Final = "warning"
CRITICAL: Final = "critical"
NO_SCORE: Final = "0"
_SCORE_DECIMALS: Final = 4


class Finding(NamedTuple):
    """An alert as one event of the ledger decides it.

    `opened_at` is the event time of that event in ms, `score` a decimal, `detail` plain JSON values (amounts are
    integers of micro-units). The same event always makes the same finding, to the byte.
    """

    detector: str
    state: str
    severity: str
    object_: str
    account: str
    opened_at: int
    window: str
    score: str
    record_ids: tuple[str, ...]
    charge_ids: tuple[str, ...]
    detail: dict[str, object]
    action: str

    @property
    def alert_id(self) -> str:
        """Return the id of the alert that this finding opens or closes."""
        return alert_id(self.detector, self.object_, self.window)


def alert_id(detector: str, object_: str, window: str) -> str:
    """Return 32 hexadecimal digits of the SHA-256 of detector, object and window, a line each.

    The same again is the same alert, whatever its state and however often it is raised.
    """
    return hashlib.sha256(f"{detector}\n{object_}\n{window}".encode()).hexdigest()[:32]


def account_finding(
    event: Event,
    charge_id: str,
    detector: str,
    state: str,
    severity: str,
    window: str,
    score: str,
    figures: dict[str, object],
    action: str,
) -> Finding:
    """Return a finding about the account itself: its object is `account-ID`, whichever identity was used.

    `account_seq` goes with the figures: it is what tells which of two states of one alert is the newer one.
    """
    usage = event.usage
    return Finding(
        detector=detector,
        state=state,
        severity=severity,
        object_=f"account-{event.account}",
        account=event.account,
        opened_at=event_time_ms(event),
        window=window,
        score=score,
        record_ids=() if usage is None else (usage.record_id,),
        charge_ids=(charge_id,),
        detail={"account_seq": event.account_seq, "currency": event.currency, **figures},
        action=action,
    )


def event_time_ms(event: Event) -> int:
    """Return when what the event answers happened: the start of the use, else the time its command names."""
    if event.usage is not None:
        return event.usage.start_time
    assert event.command is not None, "an event that changed an account answers use or a command"
    at = event.command["at"]
    assert isinstance(at, int), "a command names its time in ms"
    return at


def ratio(part: int, whole: int) -> str:
    """Write part / whole as a decimal of four places, cut off; whole > 0."""
    sign = "-" if part < 0 else ""
    units, rest = divmod(abs(part) * 10**_SCORE_DECIMALS // whole, 10**_SCORE_DECIMALS)
    return f"{sign}{units}.{rest:0{_SCORE_DECIMALS}d}"
