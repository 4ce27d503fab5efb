"""One record of the alert topic: what changed about one alert, as it is remembered, shown and delivered. Pure.

Two ids: `alert_id` is the alert's, the same in each of its states; `change_id` is this change's, the same however often
it is raised, read or delivered. It is made of the record's `ce_id`, so a subscriber knows a repeat by it.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pipeline.adapters.avro import ALERT
from pipeline.adapters.kafka.client import Fetched
from pipeline.adapters.ledger_codec import iso_time
from pipeline.domain.detectors.finding import CLOSE, CRITICAL, INFO, OPEN, UPDATE, WARNING

SEVERITIES: Final = (INFO, WARNING, CRITICAL)
"""In rising order."""
STATES: Final = (OPEN, UPDATE, CLOSE)
_ID_DIGITS: Final = 32
_ORDER_MAX: Final = 2**63 - 1


class Change(NamedTuple):
    """A change, and the alert as it is by it. `body` is the alert as JSON has it; `order` the account's running number.

    Of two changes of one alert the one with the greater order is the newer; without one, the later in the topic.
    """

    change_id: str
    alert_id: str
    state: str
    detector: str
    severity: str
    object_: str
    account: str | None
    opened_at: int
    order: int | None
    body: dict[str, Any]

    @property
    def group(self) -> str:
        """What alerts are grouped by: the account they are about, else their object."""
        return self.object_ if self.account is None else f"account-{self.account}"


def change_of(record: Fetched) -> Change:
    """Read a record of the topic; raises UndecodableError or UnknownSchemaError."""
    value = record.value or b""
    alert = ALERT.decode(value)
    said = dict(record.headers).get("ce_id")
    name = hashlib.sha256(value if said is None else said).hexdigest()[:_ID_DIGITS]
    try:
        detail = json.loads(alert["detail"])
    except (ValueError, RecursionError):  # another writer's words are shown as they are
        detail = {"text": alert["detail"]}
    order = detail.get("account_seq") if isinstance(detail, dict) else None
    ordered = isinstance(order, int) and 0 <= order <= _ORDER_MAX
    return Change(
        change_id=name,
        alert_id=alert["alert_id"],
        state=alert["state"],
        detector=alert["detector"],
        severity=alert["severity"],
        object_=alert["object"],
        account=alert["account"],
        opened_at=alert["opened_at"],
        order=order if ordered else None,
        body={**alert, "opened_at": iso_time(alert["opened_at"]), "detail": detail},
    )


class Rule(NamedTuple):
    """Which alerts are meant: those that have one of the values of each field that names any. `severity` is the least.

    No field named: every alert.
    """

    detectors: tuple[str, ...] = ()
    severity: str | None = None
    accounts: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    alert_ids: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(self[:])

    def matches(self, alert: Mapping[str, Any]) -> bool:
        """Tell whether an alert, as JSON has it, is meant."""
        if self.severity is not None and SEVERITIES.index(alert["severity"]) < SEVERITIES.index(self.severity):
            return False
        named = (
            (self.detectors, alert["detector"]),
            (self.accounts, alert["account"]),
            (self.objects, alert["object"]),
            (self.alert_ids, alert["alert_id"]),
        )
        return all(not values or value in values for values, value in named)

    def as_json(self) -> dict[str, Any]:
        """Return the fields that name anything."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in self._asdict().items() if v}


EVERY: Final = Rule()
"""Means every alert."""


def rule_of(document: Mapping[str, Any]) -> Rule:
    """Return the rule that `as_json` wrote."""
    named = {name: tuple(values) for name, values in document.items() if name != "severity"}
    return Rule(severity=document.get("severity"), **named)
