"""The life of alerts: each change is taken in once, and makes the alert what it is; people acknowledge and silence.

| change | what becomes of the alert |
|---|---|
| one whose id is known | nothing: it was raised, or read, again |
| one older than the alert's last, by the account's running number | nothing |
| `open`, `update` | open. One that was closed opens again, and is no longer acknowledged |
| `close` | closed; one that was never open is remembered as closed |
| none for `open_days` | expired: some detectors never close, their next window is another alert |

Every change is queued for every subscription in the same transaction (`queue`).
"""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from consumers.alerts.change import EVERY, Change, Rule, rule_of
from consumers.alerts.store import AlertStore
from pipeline.adapters.ledger_codec import iso_time
from pipeline.domain.detectors.finding import CLOSE

OPEN: Final = "open"
CLOSED: Final = "closed"
EXPIRED: Final = "expired"
DAY_MS: Final = 86_400_000
_COLUMNS: Final = "opened_at, status, grouped, changes, changed_ms, body, acked_by, acked_ms, acked_note"


class Silence(NamedTuple):
    """A rule that holds until a moment (ms)."""

    id: int
    rule: Rule
    until_ms: int
    reason: str
    actor: str


class Life:
    """Reads and writes alerts; times are given, in ms."""

    def __init__(self, store: AlertStore) -> None:
        self._store = store
        self._database = store.database

    def take(self, change: Change, now_ms: int) -> bool:
        """Take in a change, within a transaction of the store's; tells whether it was news."""
        known = self._database.execute(
            "SELECT status, ordered, opened_at, changes, acked_by, acked_ms, acked_note FROM alerts WHERE alert_id = ?",
            (change.alert_id,),
        ).fetchone()
        if known is not None and change.order is not None and known[1] is not None and change.order < known[1]:
            return False
        added = self._database.execute(
            "INSERT OR IGNORE INTO changes (change_id, alert_id, state, taken_ms, body) VALUES (?, ?, ?, ?, ?)",
            (change.change_id, change.alert_id, change.state, now_ms, _text(change.body)),
        )
        if not added.rowcount:
            return False
        status = CLOSED if change.state == CLOSE else OPEN
        opened_at, changes, acked = change.opened_at, 1, (None, None, None)
        if known is not None:
            changes = known[3] + 1
            if known[0] == OPEN or status == CLOSED:  # the same stay: it began when it began
                opened_at, acked = known[2], known[4:]
        self._database.execute(
            "INSERT OR REPLACE INTO alerts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                change.alert_id, status, change.detector, change.severity, change.group, opened_at, change.order,
                changes, now_ms, _text(change.body), *acked,
            ),
        )  # fmt: skip
        return True

    def alerts(self, rule: Rule = EVERY, statuses: Iterable[str] = (OPEN,)) -> list[dict[str, Any]]:
        """Return alerts as JSON has them, newest change last."""
        wanted = tuple(statuses)
        rows = self._database.execute(
            f"SELECT {_COLUMNS} FROM alerts WHERE status IN ({','.join('?' * len(wanted))}) "  # noqa: S608 - only marks
            "ORDER BY changed_ms, opened_at, alert_id",
            wanted,
        ).fetchall()
        return [alert for row in rows if rule.matches(alert := _alert(row))]

    def alert(self, alert_id: str) -> dict[str, Any] | None:
        """Return one alert by its id or an unambiguous beginning of it; None where there is none, or are several."""
        rows = self._database.execute(
            f"SELECT {_COLUMNS} FROM alerts WHERE substr(alert_id, 1, ?) = ? LIMIT 2",  # noqa: S608 - names of columns
            (len(alert_id), alert_id),
        ).fetchall()
        return _alert(rows[0]) if len(rows) == 1 and alert_id else None

    def changes(self, alert_id: str) -> list[dict[str, Any]]:
        """Return every change of an alert in the order taken in."""
        rows = self._database.execute(
            "SELECT number, change_id, state, taken_ms, body FROM changes WHERE alert_id = ? ORDER BY number",
            (alert_id,),
        )
        return [_change(*row) for row in rows.fetchall()]

    def changes_after(self, number: int, limit: int) -> list[dict[str, Any]]:
        """Return what was taken in after the change of this number, at most so many."""
        rows = self._database.execute(
            "SELECT number, change_id, state, taken_ms, body FROM changes WHERE number > ? ORDER BY number LIMIT ?",
            (number, limit),
        )
        return [_change(*row) for row in rows.fetchall()]

    def last_number(self) -> int:
        """Return the number of the newest change, 0 where there is none."""
        return int(self._database.execute("SELECT coalesce(max(number), 0) FROM changes").fetchone()[0])

    def acknowledge(self, alert_id: str, actor: str, note: str, now_ms: int) -> None:
        """Say that somebody looks after an alert; again: the last one stands."""
        with self._store.transaction() as database:
            database.execute(
                "UPDATE alerts SET acked_by = ?, acked_ms = ?, acked_note = ? WHERE alert_id = ?",
                (actor, now_ms, note, alert_id),
            )

    def silence(self, rule: Rule, until_ms: int, reason: str, actor: str, now_ms: int) -> int:
        """Deliver nothing of what the rule means until then; returns the silence's id."""
        with self._store.transaction() as database:
            made = database.execute(
                "INSERT INTO silences (rule, until_ms, reason, actor, made_ms) VALUES (?, ?, ?, ?, ?)",
                (_text(rule.as_json()), until_ms, reason, actor, now_ms),
            )
        assert made.lastrowid is not None
        return made.lastrowid

    def end_silence(self, silence_id: int, now_ms: int) -> bool:
        """End a silence now; tells whether it was one that holds."""
        with self._store.transaction() as database:
            ended = database.execute(
                "UPDATE silences SET until_ms = ? WHERE id = ? AND until_ms > ?", (now_ms, silence_id, now_ms)
            )
        return bool(ended.rowcount)

    def silences(self, now_ms: int) -> list[Silence]:
        """Return the silences that hold."""
        rows = self._database.execute(
            "SELECT id, rule, until_ms, reason, actor FROM silences WHERE until_ms > ? ORDER BY id", (now_ms,)
        )
        return [Silence(row[0], rule_of(json.loads(row[1])), *row[2:]) for row in rows.fetchall()]

    def open_by_severity(self) -> Counter[str]:
        """Return how many alerts are open, by severity."""
        rows = self._database.execute("SELECT severity, count(*) FROM alerts WHERE status = ? GROUP BY 1", (OPEN,))
        return Counter(dict(rows.fetchall()))

    def expire(self, open_ms: int, keep_ms: int, now_ms: int) -> None:
        """Let open alerts without news expire, and forget what ended long ago, within a transaction.

        A change is kept at least as long as the topic keeps its record: it would be taken for news if read again.
        """
        execute = self._database.execute
        execute(
            "UPDATE alerts SET status = ?, changed_ms = ? WHERE status = ? AND changed_ms < ?",
            (EXPIRED, now_ms, OPEN, now_ms - open_ms),
        )
        execute("DELETE FROM alerts WHERE status != ? AND changed_ms < ?", (OPEN, now_ms - keep_ms))
        execute(
            "DELETE FROM changes WHERE taken_ms < ? AND alert_id NOT IN (SELECT alert_id FROM alerts) "
            "AND change_id NOT IN (SELECT change_id FROM deliveries WHERE status IN ('waiting', 'held'))",
            (now_ms - keep_ms,),
        )
        execute("DELETE FROM deliveries WHERE settled_ms < ?", (now_ms - keep_ms,))
        execute("DELETE FROM silences WHERE until_ms < ?", (now_ms - keep_ms,))


def silenced_until(alert: dict[str, Any], silences: Iterable[Silence]) -> int | None:
    """Return until when an alert is silenced, None where it is not."""
    return max((silence.until_ms for silence in silences if silence.rule.matches(alert)), default=None)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))  # in ASCII: half a character can be stored, too


def _alert(row: tuple[Any, ...]) -> dict[str, Any]:
    opened_at, status, group, changes, changed_ms, body, acked_by, acked_ms, note = row
    acked = None if acked_by is None else {"by": acked_by, "at": iso_time(acked_ms), "note": note}
    return {
        **json.loads(body),
        "opened_at": iso_time(opened_at),
        "status": status,
        "group": group,
        "changes": changes,
        "changed_at": iso_time(changed_ms),
        "acknowledged": acked,
    }


def _change(number: int, change_id: str, state: str, taken_ms: int, body: str) -> dict[str, Any]:
    return {"number": number, "change_id": change_id, "state": state, "taken_ms": taken_ms, "alert": json.loads(body)}
