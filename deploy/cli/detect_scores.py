"""How well alerts meet labels: precision, recall, delay, false alerts.

An alert meets a label where the detector is the same and either its evidence is of the label's records, or its object
is the label's and it opened in the label's time. An alert that meets no label of its own detector but, in the same
way, one of another's, is told apart: it is no false alarm, and no hit either. All others are false.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from deploy.cli.talk import RefusedError
from pipeline.adapters.command_json import parse_time
from pipeline.domain.detectors.finding import Finding

SLACK_MS: Final = 24 * 3_600_000
"""So long after what was injected an alert may still be about it: some things show only by the day."""


class Label(NamedTuple):
    """What was injected."""

    detector: str
    strength: str
    begin: int
    end: int
    objects: tuple[str, ...]
    record_ids: frozenset[str]


class Score(NamedTuple):
    """One detector (and strength, or None for all): labels, those met, alerts by what they are; delays in ms."""

    detector: str
    strength: str | None
    labels: int
    met: int
    true: int
    of_another: int
    false: int
    delays_ms: tuple[int, ...]

    @property
    def recall(self) -> float | None:
        """Return the part of the labels that were met."""
        return self.met / self.labels if self.labels else None

    @property
    def precision(self) -> float | None:
        """Return the part of true and false alerts that are true."""
        return self.true / (self.true + self.false) if self.true + self.false else None

    @property
    def delay_s(self) -> int | None:
        """Return the median time from the first injected record to the one that opened the alert."""
        return sorted(self.delays_ms)[len(self.delays_ms) // 2] // 1_000 if self.delays_ms else None


def read_labels(path: Path) -> list[Label]:
    """Return the labels of a file, a JSON object a line: `detector`, `from`, `to`, `objects`, `record_ids`, `strength`.

    All but `detector` and one of `objects` and `record_ids` may be left out. Raises RefusedError with the line.
    """
    found = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row: dict[str, Any] = json.loads(line)
            begin, end = (parse_time(row[name]) if name in row else None for name in ("from", "to"))
            label = Label(
                row["detector"],
                str(row.get("strength", "")),
                begin or 0,
                2**62 if end is None else end,
                tuple(row.get("objects", ())),
                frozenset(row.get("record_ids", ())),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RefusedError(f"{path}:{number}: no label: {type(error).__name__} {error}") from None
        if not label.objects and not label.record_ids:
            raise RefusedError(f"{path}:{number}: a label has objects or record_ids")
        found.append(label)
    return found


def score(
    alerts: Iterable[Finding], labels: Sequence[Label], starts: dict[str, int]
) -> tuple[list[Score], list[Finding]]:
    """Return a score for each detector, all strengths together and each by itself, and the false alerts.

    `starts` has the start of records by id, where delays count from the label's first record; else from its `from`.
    """
    by_record: dict[str, set[int]] = defaultdict(set)
    by_object: dict[str, list[int]] = defaultdict(list)
    for n, label in enumerate(labels):
        for record_id in label.record_ids:
            by_record[record_id].add(n)
        for object_ in label.objects:
            by_object[object_].append(n)
    met: dict[int, int] = {}
    true, another, false = Counter[str](), Counter[str](), Counter[str]()
    wrong = []
    for alert in alerts:
        about = {n for record_id in alert.record_ids for n in by_record.get(record_id, ())}
        for n in by_object.get(alert.object_, ()):
            if labels[n].begin <= alert.opened_at <= labels[n].end + SLACK_MS:
                about.add(n)
        own = {n for n in about if labels[n].detector == alert.detector}
        for n in own:
            met[n] = min(met.get(n, alert.opened_at), alert.opened_at)
        if own:
            true[alert.detector] += 1
        elif about:
            another[alert.detector] += 1
        else:
            false[alert.detector] += 1
            wrong.append(alert)
    scores = []
    for detector in sorted({label.detector for label in labels} | {*true, *another, *false}):
        mine = [n for n, label in enumerate(labels) if label.detector == detector]
        strengths = sorted({labels[n].strength for n in mine})
        for strength in (None, *(strengths if len(strengths) > 1 else ())):
            these = [n for n in mine if strength in (None, labels[n].strength)]
            delays = tuple(
                max(met[n] - min((starts[r] for r in labels[n].record_ids if r in starts), default=labels[n].begin), 0)
                for n in these
                if n in met
            )
            everything = (true[detector], another[detector], false[detector]) if strength is None else (0, 0, 0)
            scores.append(Score(detector, strength, len(these), len(delays), *everything, delays))
    return scores, wrong
