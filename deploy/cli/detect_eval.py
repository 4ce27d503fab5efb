# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""What operators may set.

`chargeline detect eval`: alerts against labels.
"""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from deploy.cli.context import Json
from deploy.cli.detecting import (
    Accounts,
    CatalogueDir,
    Cells,
    ParametersFile,
    Totals,
    Usage,
    alert_to_json,
    alerts_of,
)
from deploy.cli.talk import data_json, say, table

_THOUSAND: Final = 1_000
_DAY_MS: Final = 86_400_000


def evaluate(
    usage: Usage,
    labels: Annotated[Path, typer.Option("--labels", metavar="FILE", help="What is abnormal, one JSON object a line.")],
    catalogue: CatalogueDir = None,
    accounts: Accounts = None,
    parameters: ParametersFile = None,
    cells: Cells = None,
    totals: Totals = None,
    false: Annotated[
        Path | None, typer.Option("--false", metavar="FILE", help="Write the false alerts there, to be looked at.")
    ] = None,
    json: Json = False,
) -> None:
    """Hold the alerts of a file against labels.

    Of each detector: precision, recall, the median delay from the first record of what was injected, and false
    alerts for 1,000 lines and day; where labels have strengths, recall and delay by strength.

    \b
    Example:
      chargeline detect eval --usage labelled/usage.jsonl --labels labelled/labels.jsonl --cells labelled/cells.csv
    """
    from deploy.cli.detect_scores import Score, read_labels, score

    known = read_labels(labels)
    alerts = alerts_of(usage, catalogue, accounts, parameters, cells, totals)
    lines, begin, end, starts = _look_through(usage, {record_id for label in known for record_id in label.record_ids})
    days = max((end - begin) / _DAY_MS, 1 / 24)
    scores, wrong = score(alerts, known, starts)
    if false is not None:
        import json as json_

        false.write_text("".join(json_.dumps(alert_to_json(alert)) + "\n" for alert in wrong), "utf-8")

    def rate(count: int) -> float:
        return count * _THOUSAND / max(lines, 1) / days

    def shown(found: Score) -> dict[str, Any]:
        return {
            "detector": found.detector,
            "strength": found.strength,
            "labels": found.labels,
            "recall": found.recall,
            "precision": found.precision if found.strength is None else None,
            "alerts": found.true + found.of_another + found.false,
            "of_another": found.of_another,
            "false": found.false,
            "delay_s": found.delay_s,
            "false_per_1000_lines_a_day": rate(found.false),
        }

    if json:
        for found in scores:
            data_json(shown(found))
    else:
        rows = [
            (
                found.detector if found.strength is None else "",
                found.strength or "all",
                str(found.labels),
                _two(found.recall),
                _two(found.precision) if found.strength is None else "",
                str(found.of_another) if found.strength is None else "",
                str(found.false) if found.strength is None else "",
                "" if found.delay_s is None else f"{found.delay_s // 60}:{found.delay_s % 60:02d}",
                f"{rate(found.false):.4f}" if found.strength is None else "",
            )
            for found in scores
        ]
        head = (
            "detector",
            "strength",
            "labels",
            "recall",
            "precision",
            "of another",
            "false",
            "delay min:s",
            "false/1000/day",
        )
        table(head, rows, "<<>>>>>>>")
    say(f"{lines} lines in {days:.1f} days; false alerts for 1,000 lines a day, all together: {rate(len(wrong)):.3f}")


def _two(share: float | None) -> str:
    return "" if share is None else f"{share:.3f}"


def _look_through(usage: Path, wanted: set[str]) -> tuple[int, int, int, dict[str, int]]:
    """Return how many lines there are, from when to when (but for the outermost thousandths), starts by record id."""
    from deploy.cli.usage_files import open_usage
    from pipeline.domain.usage import UsageRecord

    lines: set[str] = set()
    starts: dict[str, int] = {}
    times = []
    with open_usage(usage, None, "UTC", otherwise="json") as found:
        for _, record in found:
            if isinstance(record, UsageRecord):
                lines.add(record.msisdn or record.imsi or "")
                times.append(record.start_time)
                if record.record_id in wanted:
                    starts[record.record_id] = record.start_time
    times.sort()
    if not times:
        return 0, 0, 0, starts
    cut = len(times) // _THOUSAND
    return len(lines), times[cut], times[-1 - cut], starts
