"""From an alert to money given back: what its charges took, what they should have, as adjustments for approval.

Two ways to say what should be: priced anew under a corrected catalogue (with the ids of `rerate`: the same charge is
never corrected twice, whichever command did it), or nothing at all (the charge is waived). Nothing is sent before
somebody approves what was prepared; it is kept with who prepared and who approved.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from consumers.alerts.store import AlertStore
from consumers.statements.rerate import Correction
from pipeline.domain.ledger import Event
from pipeline.domain.money import format_micros
from pipeline.domain.outcome import ADJUSTED, CHARGED

_ID_DIGITS = 16


class Charge(NamedTuple):
    """One charge of the evidence, in micro-units. `returned_micros`: what adjustments gave back on it so far."""

    charge_id: str
    start_ms: int
    currency: str
    charged_micros: int
    returned_micros: int


class Prepared(NamedTuple):
    """Adjustments that wait for approval, or have it."""

    commands: list[dict[str, Any]]
    prepared_by: str
    approved_by: str | None


def charges_of(partition: int, events: Iterable[Event], charge_ids: frozenset[str]) -> list[Charge]:
    """Return those charges among an account's events that are evidence, with what was returned on each."""
    charges: dict[str, Charge] = {}
    for event in events:
        name = f"{partition}-{event.seq}"
        if event.kind == CHARGED and event.usage is not None and name in charge_ids:
            charges[name] = Charge(name, event.usage.start_time, event.currency or "", event.amount_micros, 0)
        linked = event.command["charge_id"] if event.kind == ADJUSTED and event.command is not None else None
        if linked in charges:
            known = charges[linked]
            charges[linked] = known._replace(returned_micros=known.returned_micros + event.amount_micros)
    return list(charges.values())


def waived(charges: Iterable[Charge]) -> Iterator[Correction]:
    """Yield the correction of each charge that should have been nothing; none where nothing is left to return."""
    for charge in charges:
        left = charge.charged_micros - charge.returned_micros
        if left > 0:
            yield Correction(
                "", charge.charge_id, charge.start_ms, charge.currency, charge.charged_micros, left, 0, 0,
                charge.returned_micros,
            )  # fmt: skip


def by_hand(charge: Charge, correction: Correction) -> bool:
    """Tell whether somebody returned money on the charge that a rerate knows nothing of: it would return it again."""
    return charge.returned_micros != charge.charged_micros - correction.paid_micros


def commands(alert: dict[str, Any], corrections: Iterable[Correction], catalogue: str | None) -> list[dict[str, Any]]:
    """Return the adjust commands, less `at` and `actor`; `catalogue` is the hash that priced them, None: waived.

    The same again has the same ids, so it is carried out once.
    """
    reason = f"alert {alert['alert_id'][:_ID_DIGITS]} ({alert['detector']}): {'priced anew' if catalogue else 'waived'}"
    made = []
    for item in corrections:
        waiver = [(f"waive-{alert['alert_id'][:_ID_DIGITS]}-{item.charge_id}", item.amount_micros, item.charge_id)]
        for command_id, micros, charge_id in waiver if catalogue is None else item.adjustments(catalogue):
            made.append(
                {
                    "type": "adjust", "command_id": command_id, "account": alert["account"],
                    "amount": format_micros(micros), "reason": reason, "charge_id": charge_id,
                }
            )  # fmt: skip
    return made


def prepare(store: AlertStore, alert_id: str, made: list[dict[str, Any]], actor: str, now_ms: int) -> None:
    """Keep adjustments for approval, in place of those that were prepared before."""
    with store.transaction() as database:
        database.execute(
            "INSERT OR REPLACE INTO corrections (alert_id, commands, prepared_by, prepared_ms) VALUES (?, ?, ?, ?)",
            (alert_id, json.dumps(made, ensure_ascii=False), actor, now_ms),
        )


def prepared(store: AlertStore, alert_id: str) -> Prepared | None:
    """Return what was prepared from an alert."""
    row = store.database.execute(
        "SELECT commands, prepared_by, approved_by FROM corrections WHERE alert_id = ?", (alert_id,)
    ).fetchone()
    return None if row is None else Prepared(json.loads(row[0]), row[1], row[2])


def approve(store: AlertStore, alert_id: str, actor: str, now_ms: int) -> None:
    """Remember who approved, once the ledger has the adjustments."""
    with store.transaction() as database:
        database.execute(
            "UPDATE corrections SET approved_by = ?, approved_ms = ? WHERE alert_id = ?", (actor, now_ms, alert_id)
        )
