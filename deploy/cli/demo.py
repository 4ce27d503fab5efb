# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""`chargeline demo`: the whole path on one machine, told step by step, with the books checked at the end."""

import shutil
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from deploy.cli.context import ended_by_signal, own_settings, with_servers
from deploy.cli.ledger import show_report
from deploy.cli.sample import load_sample
from deploy.cli.statements import bills_of, show_bill
from deploy.cli.talk import RefusedError, data, next_step, progress, say, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from consumers.audit.report import Report
    from deploy.sample.story import Story
    from pipeline.settings import Settings

_DRAIN_S: Final = 60.0
_ALERTS_S: Final = 30.0
_BALANCES_MAX: Final = 12


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Keep the data directory, to look around in it.")] = False,
) -> None:
    """Show everything, on this machine.

    Servers, tariffs, accounts, use, a bill, alerts, the audit: all in a temporary directory that is removed at the
    end. Succeeds only if the books balance.

    \b
    Examples:
      chargeline demo
      chargeline demo --keep
    """
    directory = Path(tempfile.mkdtemp(prefix="chargeline-demo-"))
    say(f"a small operator, on this machine, in {directory}")
    try:
        with ended_by_signal(), _running(directory) as settings:
            told, _ = load_sample(settings)
            _await_drained(settings)
            report = _tell(settings, told)
    finally:
        if keep:
            say(f"kept: {directory}")
        else:
            _remove(directory)
    if keep:
        next_step(f"chargeline up --data-dir {directory}, then chargeline status --data-dir {directory}")
    else:
        next_step(f"chargeline up --sample, then chargeline bill {told.bill_account}")
    if not report.ok:
        raise typer.Exit(1)


def _remove(directory: Path) -> None:
    """Remove the directory; what cannot be removed is said, since nobody else will clean it up."""
    try:
        shutil.rmtree(directory)
    except OSError as error:
        say(f"{directory} could not be removed: {error.strerror}")


@contextmanager
def _running(directory: Path) -> "Iterator[Settings]":
    """Start everything in this directory, and stop it however the work ends."""
    from deploy.local import supervisor

    settings = own_settings(directory)
    if settings.kafka.bootstrap_servers:
        _refuse_used(settings)
    began = time.monotonic()
    try:
        addresses = supervisor.up(settings, progress=say)
        say(f"up after {time.monotonic() - began:.1f} s: broker {addresses.bootstrap_servers}")
        yield with_servers(settings, addresses.bootstrap_servers, addresses.redis_url)
    finally:
        supervisor.down(settings)


def _refuse_used(settings: "Settings") -> None:
    """Refuse a configured broker that has a ledger: the sample does not belong into anybody's books."""
    from pipeline.adapters.kafka.client import BrokerError, end_offsets
    from pipeline.adapters.kafka.topics import describe_topics
    from pipeline.topics import AUDIT

    try:
        facts = describe_topics(settings)
    except BrokerError:
        return  # no topics yet
    audit = [(AUDIT.name, partition) for partition in range(facts[AUDIT.name].partitions)]
    if any(end_offsets(settings, audit, committed_only=False).values()):
        raise RefusedError(
            "the broker that is configured has a ledger already; the demo keeps out of it",
            "next: unset CHARGELINE_KAFKA__BOOTSTRAP_SERVERS and CHARGELINE_REDIS__URL, and servers are embedded",
        )


def _await_drained(settings: "Settings") -> None:
    from contextlib import closing

    from pipeline.adapters.progress import ProgressReader
    from pipeline.adapters.store.redis import RedisStore

    began = time.monotonic()
    with closing(RedisStore(settings)) as store, closing(ProgressReader(settings, store)) as reader:
        while True:
            found = reader.read()
            waited = time.monotonic() - began
            if found.drained and (found.detect_lag == 0 or waited > _ALERTS_S):
                break
            if waited > _DRAIN_S:
                raise RefusedError(f"not drained within {_DRAIN_S:g} s: {found}")
            time.sleep(0.2)
    say("drained" if found.detect_lag == 0 else f"drained; detect is behind ({found.detect_lag}), so alerts may miss")


def _tell(settings: "Settings", told: "Story") -> "Report":
    """Show what came of it, and return the audit of the books."""
    from consumers.audit.verify import verify

    found = _Outcomes(settings)
    _heading("Balances")
    _show_balances(settings, told)
    _heading("One bill")
    bills, catalogues = bills_of(settings, told.bill_account, _DRAIN_S)
    show_bill(bills[max(bills)], catalogues)
    _heading("What the sample shows")
    _show_episodes(told, found)
    _heading("Alerts")
    _show_alerts(settings)
    _heading("Dead letters")
    _show_dead_letters(found)
    _heading("Audit")
    with progress("checking the books") as done:
        report = verify(settings, lambda read, _: done(read))
    show_report(report)
    return report


def _heading(text: str) -> None:
    data()
    data(f"== {text}")


class _Outcomes:
    """What became of each record: events by record id, and dead letters."""

    def __init__(self, settings: "Settings") -> None:
        from pipeline.adapters.kafka.dead_letters import dead_letters
        from pipeline.adapters.kafka.ledger_lookup import read_partition
        from pipeline.adapters.kafka.topics import describe_topics
        from pipeline.adapters.ledger_codec import decode_event
        from pipeline.topics import AUDIT

        self.by_record: dict[str, list[str]] = {}
        for partition in range(describe_topics(settings)[AUDIT.name].partitions):
            for record in read_partition(settings, AUDIT.name, partition, _DRAIN_S):
                assert record.value is not None
                event = decode_event(record.value).event
                if event.usage is not None:
                    outcome = event.kind if event.reason in (None, "duplicate") else f"{event.kind} {event.reason}"
                    self.by_record.setdefault(event.event_id, []).append(outcome)
        self.letters = list(dead_letters(settings, _DRAIN_S))
        self.reasons = Counter(letter.reason for letter in self.letters)
        for letter in self.letters:
            said = dict(letter.headers).get("ce_id")
            if said is not None:
                self.by_record.setdefault(said.decode(), []).append(f"dead letter {letter.reason}")

    def has(self, record_id: str | None, outcome: str) -> bool:
        """Tell whether this became of the record; without an id, whether any record ended so."""
        if record_id is None:
            return outcome.removeprefix("dead letter ") in self.reasons
        return outcome in self.by_record.get(record_id, [])


def _show_balances(settings: "Settings", told: "Story") -> None:
    from contextlib import closing

    from pipeline.adapters.kafka.topics import describe_topics
    from pipeline.adapters.store.redis import RedisStore
    from pipeline.domain.money import format_micros
    from pipeline.topics import AUDIT, partition_of

    partitions = describe_topics(settings)[AUDIT.name].partitions
    names = sorted(str(command["account"]) for command in told.commands if command["type"] == "open_account")
    # those with a story come first
    names.sort(key=lambda name: name.startswith("cust-"))
    rows = []
    with closing(RedisStore(settings)) as store:
        for name in names[:_BALANCES_MAX]:
            fields = store.account(partition_of(name, partitions), name)
            plan = fields["plans"].split()[-1].partition("@")[0]
            rows.append((name, plan, format_micros(int(fields["balance"])), fields["currency"], fields["status"]))
    table(("account", "plan", "balance", "", "status"), rows, "<<><<")
    data(f"... and {len(names) - len(rows)} more accounts")


def _show_episodes(told: "Story", found: _Outcomes) -> None:
    for episode in told.episodes:
        seen = "" if found.has(episode.record_id, episode.outcome) else "  (NOT SEEN)"
        data(f"{episode.title}: {episode.outcome}{seen}")
        data(f"    {episode.note}" + ("" if episode.record_id is None else f" [{episode.record_id}]"))


def _show_alerts(settings: "Settings") -> None:
    from pipeline.adapters.avro import ALERT
    from pipeline.adapters.kafka.ledger_lookup import read_partition
    from pipeline.topics import ALERT_RAISED

    newest: dict[str, dict[str, Any]] = {}
    for record in read_partition(settings, ALERT_RAISED.name, 0, _DRAIN_S):
        assert record.value is not None
        alert = ALERT.decode(record.value)
        newest[alert["alert_id"]] = alert
    alerts = sorted(newest.values(), key=lambda alert: alert["opened_at"])
    rows = [(a["detector"], a["severity"], a["object"], a["state"], a["score"], a["action"]) for a in alerts]
    if rows:
        table(("detector", "severity", "object", "state", "score", "what to do"), rows, "<<<<><")
    data(f"{len(rows)} alerts")


def _show_dead_letters(found: _Outcomes) -> None:
    from pipeline.domain.outcome import DEAD_LETTER_REASONS

    table(
        ("id", "reason", "what it means"),
        [(letter.id, letter.reason, DEAD_LETTER_REASONS.get(letter.reason, "")) for letter in found.letters],
    )
    data(f"{len(found.letters)} dead letters, kept as they came")
