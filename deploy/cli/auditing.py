# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""`chargeline audit export`, `key`, `seals`, `totals`, and `chargeline snapshot`: what is taken away, and kept."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.context import DataDir, Json, own_settings, settings_of_servers
from deploy.cli.ledger import audit
from deploy.cli.talk import RefusedError, data, data_json, next_step, progress, say, table

if TYPE_CHECKING:
    from consumers.audit.store import AuditStore, Seal
    from pipeline.settings import Settings

_Partition = Annotated[
    int | None, typer.Option("--partition", metavar="N", min=0, help="One ledger partition. Default: all.")
]


@audit.command("export")
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False)],
    partition: _Partition = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Write the ledger into a file.

    Whoever has it checks it alone, with the one file consumers/audit/offline.py and Python: no server is asked. The
    auditor's signed seals are in it. Gzipped where FILE ends in .gz.

    \b
    Example:
      chargeline audit export ledger.jsonl.gz
    """
    from consumers.audit.export import export as export_ledger

    settings = settings_of_servers(data_dir)
    chosen = _chosen(settings, partition)
    with progress("events exported") as done:
        events = export_ledger(settings, file, chosen, _seals(settings), done)
    if json:
        data_json({"file": str(file), "partitions": chosen, "events": events})
    else:
        data(f"{events} events of {len(chosen)} partitions in {file}")
        next_step(f"python offline.py {file} --key seal_key.pub.pem   (docs/guide-auditor.md)")


@audit.command("key")
def key(data_dir: DataDir = None) -> None:
    """Print the auditor's public key.

    Give it to whoever checks seals, on a way that does not lead through the ledger.

    \b
    Example:
      chargeline audit key > seal_key.pub.pem
    """
    from consumers.audit.auditor import key_file_of
    from consumers.audit.signing import KeyFileError, SealKey

    path = key_file_of(own_settings(data_dir))
    if not path.exists():
        raise RefusedError(f"no auditor has run here: there is no {path}", "next: chargeline up")
    try:
        data(SealKey.of_file(path).public_pem.decode().rstrip())
    except KeyFileError as error:
        raise RefusedError(str(error)) from None


@audit.command("seals")
def seals(json: Json = False, data_dir: DataDir = None) -> None:
    """List the seals that the auditor signed.

    \b
    Example:
      chargeline audit seals --json > seals.jsonl
    """
    from consumers.audit.export import seal_as_json

    with _Store(own_settings(data_dir)) as store:
        found = store.seals()
    if json:
        for seal in found:
            data_json(seal_as_json(seal))
        return
    table(("seal", "hash"), [(f"{seal.partition}-{seal.seq}", seal.hash.hex()) for seal in found], "<<")


@audit.command("totals")
def totals(json: Json = False, data_dir: DataDir = None) -> None:
    """Show the control totals, by source and hour.

    Received = charged + duplicate + review + rejected + dead letters, by distinct raw record.

    \b
    Example:
      chargeline audit totals
    """
    from consumers.audit.totals import HOUR_MS, Total, totals_of

    with _Store(own_settings(data_dir)) as store:
        found = totals_of(store.database)
    hours = [datetime.fromtimestamp(total.hour * HOUR_MS // 1000, UTC).strftime("%Y-%m-%dT%H:00Z") for total in found]
    if json:
        for hour, total in zip(hours, found, strict=True):
            data_json({**total._asdict(), "hour": hour})
        return
    rows = [(total.source, hour, *map(str, total[2:])) for hour, total in zip(hours, found, strict=True)]
    table(Total._fields, rows, "<<>>>>>>")


def snapshot(partition: _Partition = None, json: Json = False, data_dir: DataDir = None) -> None:
    """Write each partition's state into a file.

    Matched to the ledger, so that a rebuild reads only what came since. Nobody is stopped, and Redis is not asked: the
    ledger is folded, from the snapshot before on.

    \b
    Examples:
      chargeline snapshot
      chargeline snapshot --partition 3
    """
    from pipeline.charge.snapshots import snapshot as take_snapshots

    settings = settings_of_servers(data_dir)
    chosen = _chosen(settings, partition)
    with progress("events folded") as done:
        taken = take_snapshots(settings, chosen, lambda _, seq: done(seq))
    for one in taken:
        if json:
            found = {"partition": one.partition, "seq": one.seq, "hash": one.hash.hex(), "file": str(one.path)}
            data_json({**found, "bytes": one.path.stat().st_size})
        else:
            data(f"partition {one.partition} at event {one.seq}: {one.path}")
    if not taken:
        say("the ledger is empty")


def _chosen(settings: "Settings", partition: int | None) -> list[int]:
    from pipeline.adapters.kafka.topics import describe_topics
    from pipeline.topics import AUDIT

    partitions = describe_topics(settings)[AUDIT.name].partitions
    if partition is not None and partition >= partitions:
        raise RefusedError(f"no ledger partition {partition}: there are {partitions}, counted from 0")
    return list(range(partitions)) if partition is None else [partition]


def _seals(settings: "Settings") -> "list[Seal]":
    """Return the signed seals, none where no auditor has run here."""
    from consumers.audit.store import StoreError

    try:
        with _Store(settings) as store:
            return store.seals()
    except (RefusedError, StoreError):
        say("no auditor has run here: the file will hold no signed seals")
        return []


class _Store:
    """The auditor's file, read beside it."""

    def __init__(self, settings: "Settings") -> None:
        from consumers.audit.auditor import folder_of
        from consumers.audit.store import AuditStore, StoreError

        try:
            self._store = AuditStore(folder_of(settings), read_only=True)
        except StoreError as error:
            raise RefusedError(str(error), "next: chargeline up") from None

    def __enter__(self) -> "AuditStore":
        return self._store

    def __exit__(self, *_: object) -> None:
        self._store.close()
