"""Alerts in their last state, from findings: what an operator looks at, offline and in a list."""

from collections.abc import Iterable

from pipeline.domain.detectors.finding import CLOSE, OPEN, Finding

_SEVERITIES = ("info", "warning", "critical")


class Alerts:
    """The alerts that findings make, by id: what opened each, all its evidence, its last state."""

    def __init__(self) -> None:
        self._alerts: dict[str, Finding] = {}

    def take(self, findings: Iterable[Finding]) -> None:
        """Take findings in their order. A close of what never opened says nothing."""
        for finding in findings:
            alert_id = finding.alert_id
            known = self._alerts.get(alert_id)
            if known is None:
                if finding.state != CLOSE:
                    self._alerts[alert_id] = finding
            elif finding.state == CLOSE:
                self._alerts[alert_id] = known._replace(
                    state=CLOSE, detail={**known.detail, **_ended(finding)}, action=known.action
                )
            else:
                ids = tuple({**dict.fromkeys(known.record_ids), **dict.fromkeys(finding.record_ids)})
                worst = max(known.severity, finding.severity, key=_SEVERITIES.index)
                state = finding.state if finding.state != OPEN else known.state
                self._alerts[alert_id] = finding._replace(
                    state=OPEN if known.state == CLOSE else state,
                    severity=worst,
                    opened_at=known.opened_at,
                    record_ids=ids,
                )

    def by_opening(self) -> list[Finding]:
        """Return the alerts by the time of the record that opened them."""
        return sorted(self._alerts.values(), key=lambda alert: (alert.opened_at, alert.detector, alert.object_))


def _ended(finding: Finding) -> dict[str, object]:
    return {key: finding.detail[key] for key in ("last_at", "closed_at") if key in finding.detail}
