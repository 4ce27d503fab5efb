"""The queue of webhooks: one row for each change and subscription, written with the change, so a kill loses none.

| status | means |
|---|---|
| `waiting` | due at `due_ms`; attempts are counted before they are made |
| `held` | silenced: due when the silence ends, if it is still the alert's last word then |
| `delivered` | the receiver said 2xx |
| `dropped` | silenced, and no longer true when the silence ended |
| `failed` | given up after the last attempt; `alerts replay` makes it wait again |

Of one alert a subscription gets one change after the other. What ended in `delivered` may have been delivered before
that too: a kill between the answer and the row repeats it, under the same id.
"""

import json
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from consumers.alerts.change import Change, Rule, rule_of
from consumers.alerts.life import OPEN, Life, silenced_until
from consumers.alerts.reminder import reminder
from consumers.alerts.store import AlertStore
from pipeline.domain.detectors.finding import CLOSE

WAITING: Final = "waiting"
HELD: Final = "held"
DELIVERED: Final = "delivered"
DROPPED: Final = "dropped"
FAILED: Final = "failed"
ACTIVE: Final = "active"
GONE: Final = "gone"
"""The receiver said that it is gone for good (410)."""


class Subscription(NamedTuple):
    """Who is told of what. `secret_file` holds a secret a line: each of them signs, so that they can be rotated."""

    name: str
    url: str
    secret_file: str
    rule: Rule
    status: str = ACTIVE
    failures: int = 0
    last_error: str | None = None
    language: str | None = None
    """set: reminders in this language instead of alerts, and nothing of what has no words for a customer"""


class Due(NamedTuple):
    """A webhook to be delivered now. `attempt` counts this one."""

    id: int
    subscription: Subscription
    change_id: str
    state: str
    taken_ms: int
    alert: dict[str, Any]
    attempt: int


class Queue:
    """Subscriptions and what is owed to them; times are given, in ms."""

    def __init__(self, store: AlertStore) -> None:
        self._store = store
        self._database = store.database

    def subscribe(self, subscription: Subscription) -> None:
        """Add a subscription, or change the one of this name: it begins anew, with the next change."""
        with self._store.transaction() as database:
            database.execute(
                "INSERT OR REPLACE INTO subscriptions (name, url, secret_file, rule, status, language) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (*subscription[:3], json.dumps(subscription.rule.as_json()), ACTIVE, subscription.language),
            )

    def unsubscribe(self, name: str) -> bool:
        """Remove a subscription and what it is owed; tells whether there was one."""
        with self._store.transaction() as database:
            database.execute("DELETE FROM deliveries WHERE subscription = ?", (name,))
            return bool(database.execute("DELETE FROM subscriptions WHERE name = ?", (name,)).rowcount)

    def subscriptions(self) -> list[Subscription]:
        """Return every subscription."""
        rows = self._database.execute(
            "SELECT name, url, secret_file, rule, status, failures, last_error, language "
            "FROM subscriptions ORDER BY name"
        )
        return [_subscription(*row) for row in rows.fetchall()]

    def enqueue(self, change: Change, now_ms: int) -> None:
        """Queue a change for whoever wants it, within the transaction that took it in; again: nothing.

        A close is not silenced where its open was not: somebody was told, and is waiting for it.
        """
        silenced = silenced_until(change.body, Life(self._store).silences(now_ms)) is not None
        for subscription in self.subscriptions():
            if subscription.status != ACTIVE or not subscription.rule.matches(change.body):
                continue
            if subscription.language is not None and reminder(change.body, subscription.language) is None:
                continue
            told = change.state == CLOSE and self._told(subscription.name, change.alert_id)
            self._add(subscription.name, change, HELD if silenced and not told else WAITING, now_ms)

    def _told(self, subscription: str, alert_id: str) -> bool:
        found = self._database.execute(
            "SELECT 1 FROM deliveries WHERE subscription = ? AND alert_id = ? AND status IN (?, ?) LIMIT 1",
            (subscription, alert_id, DELIVERED, WAITING),
        )
        return found.fetchone() is not None

    def _add(self, subscription: str, change: Change, status: str, now_ms: int) -> None:
        self._database.execute(
            "INSERT OR IGNORE INTO deliveries (subscription, change_id, alert_id, state, status, due_ms) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (subscription, change.change_id, change.alert_id, change.state, status, now_ms),
        )

    def release(self, now_ms: int) -> None:
        """Decide on what was held by silences that have ended."""
        life = Life(self._store)
        with self._store.transaction() as database:
            held = database.execute(
                "SELECT d.id, d.alert_id, d.change_id FROM deliveries d WHERE d.status = ?", (HELD,)
            ).fetchall()
            silences = life.silences(now_ms)
            for delivery, alert_id, change_id in held:
                alert = life.alert(alert_id)
                if alert is not None and silenced_until(alert, silences) is not None:
                    continue
                last = life.changes(alert_id)[-1:]
                still = alert is not None and alert["status"] == OPEN and last[0]["change_id"] == change_id
                status, settled = (WAITING, None) if still else (DROPPED, now_ms)
                database.execute(
                    "UPDATE deliveries SET status = ?, due_ms = ?, settled_ms = ? WHERE id = ?",
                    (status, now_ms, settled, delivery),
                )

    def due(self, now_ms: int, limit: int) -> list[Due]:
        """Return what is due, oldest first: of each alert and subscription the first that waits, of paused ones none.

        A subscription whose last attempt failed is asked with one webhook until it answers.
        """
        rows = self._database.execute(
            "SELECT d.id, d.change_id, c.state, c.taken_ms, c.body, d.attempts + 1, s.name, s.url, "
            "s.secret_file, s.rule, s.status, s.failures, s.last_error, s.language "
            "FROM deliveries d JOIN subscriptions s ON s.name = d.subscription "
            "JOIN changes c ON c.change_id = d.change_id "
            "WHERE d.status = ? AND d.due_ms <= ? AND s.status = ? AND s.paused_ms <= ? AND NOT EXISTS "
            "(SELECT 1 FROM deliveries e WHERE e.alert_id = d.alert_id AND e.subscription = d.subscription "
            "AND e.status = d.status AND e.id < d.id) ORDER BY d.id LIMIT ?",
            (WAITING, now_ms, ACTIVE, now_ms, limit),
        ).fetchall()
        found = []
        probed: set[str] = set()
        for delivery, change_id, state, taken_ms, body, attempt, *owner in rows:
            subscription = _subscription(*owner)
            if subscription.failures:
                if subscription.name in probed:
                    continue
                probed.add(subscription.name)
            found.append(Due(delivery, subscription, change_id, state, taken_ms, json.loads(body), attempt))
        return found

    def delivered(self, due: Due, now_ms: int) -> None:
        """Remember that the receiver has it: it answers again, so what waits for it is due."""
        with self._store.transaction() as database:
            database.execute(
                "UPDATE deliveries SET status = ?, attempts = ?, settled_ms = ?, last_error = NULL WHERE id = ?",
                (DELIVERED, due.attempt, now_ms, due.id),
            )
            name = due.subscription.name
            database.execute(
                "UPDATE subscriptions SET failures = 0, paused_ms = 0, last_error = NULL WHERE name = ?", (name,)
            )

    def failed(self, due: Due, error: str, again_ms: int | None, paused_ms: int, now_ms: int) -> None:
        """Remember that an attempt failed: it is made again at `again_ms`, or never (None).

        The subscription is left alone until `paused_ms`.
        """
        status, settled = (WAITING, None) if again_ms is not None else (FAILED, now_ms)
        with self._store.transaction() as database:
            database.execute(
                "UPDATE deliveries SET status = ?, attempts = ?, due_ms = ?, settled_ms = ?, last_error = ? "
                "WHERE id = ?",
                (status, due.attempt, again_ms or now_ms, settled, error, due.id),
            )
            database.execute(
                "UPDATE subscriptions SET failures = failures + 1, paused_ms = ?, last_error = ? WHERE name = ?",
                (paused_ms, error, due.subscription.name),
            )

    def gone(self, name: str, error: str) -> None:
        """Send nothing more to a receiver that is gone; `subscribe` begins anew."""
        with self._store.transaction() as database:
            database.execute("UPDATE subscriptions SET status = ?, last_error = ? WHERE name = ?", (GONE, error, name))

    def replay(self, names: Iterable[str], since_ms: int, *, failed_only: bool, now_ms: int) -> int:
        """Deliver again, under the same ids: what failed, or all that was queued since then; returns how many."""
        count = 0
        with self._store.transaction() as database:
            for name in names:
                count += database.execute(
                    "UPDATE deliveries SET status = ?, attempts = 0, due_ms = ?, settled_ms = NULL "
                    "WHERE subscription = ? AND status IN (?, ?) AND change_id IN "
                    "(SELECT change_id FROM changes WHERE taken_ms >= ?)",
                    (WAITING, now_ms, name, FAILED, FAILED if failed_only else DELIVERED, since_ms),
                ).rowcount
        return count

    def counts(self) -> dict[tuple[str, str], int]:
        """Return how many deliveries of each subscription are in each status."""
        rows = self._database.execute("SELECT subscription, status, count(*) FROM deliveries GROUP BY 1, 2")
        return {(name, status): count for name, status, count in rows.fetchall()}

    def deliveries(self, alert_id: str) -> list[dict[str, Any]]:
        """Return what became of an alert's webhooks."""
        rows = self._database.execute(
            "SELECT subscription, change_id, state, status, attempts, last_error FROM deliveries WHERE alert_id = ? "
            "ORDER BY id",
            (alert_id,),
        )
        names = ("subscription", "change_id", "state", "status", "attempts", "last_error")
        return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]


def _subscription(name: str, url: str, secret_file: str, rule: str, *rest: Any) -> Subscription:
    return Subscription(name, url, secret_file, rule_of(json.loads(rule)), *rest)
