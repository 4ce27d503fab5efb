# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""What operators may set.

`chargeline detect`: all detectors over a file, and how well they do.
"""

import gc
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from deploy.cli.context import Json, own_settings
from deploy.cli.talk import RefusedError, data, data_json, progress, say, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.domain.detectors.engine import Engine
    from pipeline.domain.detectors.finding import Finding
    from pipeline.domain.detectors.parameters import DetectorParameters
    from pipeline.domain.detectors.use import Reference

app = typer.Typer(
    name="detect", help="Fraud, spending and lost records, found in a file of usage.", no_args_is_help=True
)

Usage = Annotated[Path, typer.Option("--usage", metavar="FILE", help="Usage records, as a probe writes them.")]
CatalogueDir = Annotated[
    Path | None, typer.Option("--catalogue", metavar="DIR", help="Tariffs: prices, home networks, dear prefixes.")
]
Accounts = Annotated[
    Path | None, typer.Option("--accounts", metavar="FILE", help="Commands that open accounts, one JSON object a line.")
]
ParametersFile = Annotated[
    Path | None, typer.Option("--parameters", metavar="FILE", help="TOML: a table a detector, other values.")
]
Cells = Annotated[
    Path | None, typer.Option("--cells", metavar="FILE", help="CSV cell,latitude,longitude: places of cells.")
]
Totals = Annotated[
    Path | None, typer.Option("--totals", metavar="FILE", help="What sources say they sent, one JSON object a line.")
]
Format = Annotated[
    str | None, typer.Option("--format", help="json or asterisk. Guessed from the first line where absent.")
]
Timezone = Annotated[str, typer.Option("--timezone", metavar="ZONE", help="Of local times in the file (asterisk).")]

_MEASURED_STATES: Final = 20_000


@app.command("replay")
def replay(
    usage: Usage,
    catalogue: CatalogueDir = None,
    accounts: Accounts = None,
    parameters: ParametersFile = None,
    cells: Cells = None,
    totals: Totals = None,
    format_: Format = None,
    timezone: Timezone = "UTC",
    json: Json = False,
) -> None:
    """Run all detectors over a file of usage.

    One line an alert, in its last state, by the time it opened. Without accounts each identity is its own account and
    nothing is priced: the detectors of money say nothing.

    \b
    Examples:
      chargeline detect replay --usage usage.jsonl
      chargeline detect replay --usage usage.jsonl --cells cells.csv --json | jq .detector
      chargeline detect replay --usage usage.jsonl --catalogue tariffs/ --accounts accounts.jsonl
    """
    alerts = alerts_of(usage, catalogue, accounts, parameters, cells, totals, format_, timezone)
    if json:
        for alert in alerts:
            data_json(alert_to_json(alert))
        return
    from pipeline.adapters.ledger_codec import iso_time

    rows = [
        (iso_time(a.opened_at), a.detector, a.severity, a.state, a.object_, a.score, str(len(a.record_ids)))
        for a in alerts
    ]
    if rows:
        table(("opened", "detector", "severity", "state", "object", "score", "records"), rows, "<<<<<>>")
    say(f"{len(rows)} alerts")


@app.command("parameters")
def show_parameters(parameters: ParametersFile = None) -> None:
    """Show every parameter of every detector.

    As a file for `--parameters` has them: a table a detector.

    \b
    Example:
      chargeline detect parameters > detectors.toml
    """
    for name, group in _parameters(parameters)._asdict().items():
        data(f"[{name}]")
        for key, value in group._asdict().items():
            data(f"{key} = {value}")
        data()


def alerts_of(
    usage: Path,
    catalogue: Path | None = None,
    accounts: Path | None = None,
    parameters: Path | None = None,
    cells: Path | None = None,
    totals: Path | None = None,
    format_: str | None = None,
    timezone: str = "UTC",
) -> "list[Finding]":
    """Return the alerts of a file by the time they opened; says on standard error how fast that was.

    Raises RefusedError where a file is refused; a line that is no record is counted and passed over.
    """
    from deploy.cli.rating import load_catalogue
    from pipeline.adapters.catalogue import FOR_ALL_TIME
    from pipeline.adapters.detector_reference import ReferenceFileError, read_cells, read_totals, reference
    from pipeline.domain.detectors.alerts import Alerts
    from pipeline.domain.detectors.engine import Engine, make_parts

    if accounts is not None and catalogue is None:
        raise RefusedError("accounts are priced by a catalogue", "add --catalogue DIR")
    document = None if catalogue is None else load_catalogue(catalogue).document(FOR_ALL_TIME)
    try:
        known = reference(own_settings().mediate.country_code, read_cells(cells), document)
        declared = read_totals(totals)
    except ReferenceFileError as error:
        raise RefusedError(str(error)) from None
    parts = make_parts(_parameters(parameters), known, priced=accounts is not None, totals=totals is not None)
    engine, alerts = Engine(parts), Alerts()
    began, records = time.process_time(), 0
    stream = (
        _recorded(engine, known, usage, format_, timezone)
        if accounts is None or catalogue is None
        else _priced(engine, known, usage, format_, timezone, catalogue, accounts)
    )
    with progress("records") as done, _no_collector():
        for records, findings in enumerate(stream, 1):
            if findings:
                alerts.take(findings)
            if not records % 10_000:
                done(records)
    for one in declared:
        alerts.take(engine.declare(one))
    _say_speed(engine, records, time.process_time() - began)
    return alerts.by_opening()


@contextmanager
def _no_collector() -> "Iterator[None]":
    """Leave the collector of cycles out: states are tuples without any, and it would look through all of them."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def alert_to_json(alert: "Finding") -> dict[str, Any]:
    """Return an alert by the names of its contract; times ISO 8601."""
    from pipeline.adapters.ledger_codec import iso_time

    return {
        "alert_id": alert.alert_id,
        "state": alert.state,
        "detector": alert.detector,
        "severity": alert.severity,
        "object": alert.object_,
        "account": alert.account or None,
        "opened_at": iso_time(alert.opened_at),
        "window": alert.window,
        "score": alert.score,
        "record_ids": list(alert.record_ids),
        "charge_ids": list(alert.charge_ids),
        "detail": alert.detail,
        "action": alert.action,
    }


def _recorded(
    engine: "Engine", known: "Reference", usage: Path, format_: str | None, timezone: str
) -> "Iterator[list[Finding]]":
    from deploy.cli.usage_files import open_usage
    from pipeline.adapters.formats import Unreadable
    from pipeline.domain.detectors.stream import RecordStream

    stream, unreadable = RecordStream(engine, known), 0
    with open_usage(usage, format_, timezone, otherwise="json") as lines:
        for _, found in lines:
            if isinstance(found, Unreadable) or (found.msisdn is None and found.imsi is None):
                unreadable += 1
                continue
            yield stream.take(found)
    if unreadable:
        say(f"{unreadable} lines are no records and were passed over")


def _priced(
    engine: "Engine",
    known: "Reference",
    usage: Path,
    format_: str | None,
    timezone: str,
    catalogue: Path,
    accounts: Path,
) -> "Iterator[list[Finding]]":
    from deploy.cli.rating import compiled, offline_ledger
    from deploy.cli.sending import read_command_files
    from deploy.cli.usage_files import open_usage
    from pipeline.domain.detectors import Parameters, findings
    from pipeline.domain.detectors.stream import EventStream
    from pipeline.domain.outcome import REJECTED

    stream = EventStream(engine, known, arrivals=False)
    money = Parameters(own_settings().detect.low_balance_micros)
    ledger = offline_ledger(compiled(catalogue))
    for stored in ledger.commands(read_command_files([accounts])):
        if stored.event.kind == REJECTED:
            say(f"{stored.event.event_id} of {stored.event.account}: REJECTED {stored.event.reason}")
    with open_usage(usage, format_, timezone, otherwise="json") as lines:
        for stored in ledger.records(found for _, found in lines):
            charge_id = f"0-{stored.event.seq}"
            yield [*findings(stored.event, charge_id, money), *stream.take(stored.event, charge_id)]


def _parameters(path: Path | None) -> "DetectorParameters":
    from pipeline.adapters.detector_reference import ReferenceFileError, read_parameters

    try:
        return read_parameters(path or own_settings().detect.parameters_file)
    except ReferenceFileError as error:
        raise RefusedError(str(error)) from None


def _say_speed(engine: "Engine", records: int, cpu_s: float) -> None:
    """Say how many events a second of CPU, and how large the states are, as JSON."""
    import json

    octets = states = 0
    lines = set()
    for part, key, state in engine.states():
        if part.view == "line":
            lines.add(key.partition(" ")[0])
        states += 1
        if states <= _MEASURED_STATES:
            octets += len(json.dumps(state))
    each = octets // max(min(states, _MEASURED_STATES), 1)
    a_line = each * states // max(len(lines), 1)
    rate = records / cpu_s if cpu_s else 0
    say(
        f"{records} records in {cpu_s:.1f} s of CPU: {rate:.0f} events/s; "
        f"{states} states of {each} bytes, {a_line} bytes a line of {len(lines)}"
    )
    sys.stderr.flush()
