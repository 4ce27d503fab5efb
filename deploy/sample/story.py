"""The sample: a small operator, its customers, and the records of their last ten days.

Everything is dated back from a given moment, so that it is never in the future and always recent enough to be charged.
"""

import json
from importlib import resources
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from deploy.sample.days import Calendar
from deploy.sample.drafts import MSC, PGW, SMSC, Draft
from deploy.sample.episodes import AFTER_GAP, Scene, scenes
from deploy.sample.people import People, commands
from deploy.sample.traffic import Traffic
from pipeline.adapters.avro import HEADER_BYTES, MARKER, USAGE_RECORD
from pipeline.adapters.formats import usage_from_json
from pipeline.adapters.ledger_codec import iso_time
from pipeline.domain.usage import RECORD_FIELDS, UsageRecord

SEED: Final = 46099
BILL_ACCOUNT: Final = "family-lin"
"""Whose bill is worth showing: four numbers, shared minutes, and something to pay."""
LATE: Final = "late"


class Episode(NamedTuple):
    """Something to tell: the record that shows it (None: bytes that are no record), what becomes of it, and why."""

    title: str
    record_id: str | None
    outcome: str
    note: str


class Story(NamedTuple):
    """The sample's content. `usage` is in the order in which it was sent, in the text form of usage records."""

    catalogue_dir: Path
    commands: list[dict[str, object]]
    usage: list[dict[str, object]]
    raw: tuple[bytes, ...]
    late_record_ids: tuple[str, ...]
    episodes: tuple[Episode, ...]
    bill_account: str


class Files(NamedTuple):
    """Where a written sample is."""

    catalogue: Path
    accounts: Path
    usage: Path


class _Numbered(NamedTuple):
    """A record as it is sent, and its label if an episode is about it."""

    sent_ms: int
    fields: dict[str, object]
    label: str | None


def build(anchor_ms: int) -> Story:
    """Return the sample as told at this moment (ms since 1970 UTC): the same moment gives the same sample."""
    calendar, people = Calendar(anchor_ms), People()
    told = scenes(people, calendar)
    random = Random(SEED)  # noqa: S311 - a made-up story, the same each time
    episodic = [draft for scene in told for draft in scene.drafts]
    originals = _numbered(episodic + Traffic(people, calendar, random, episodic).drafts())
    sent = sorted(originals + _copies(told, originals), key=lambda numbered: numbered.sent_ms)
    ids = {numbered.label: str(numbered.fields["record_id"]) for numbered in sent if numbered.label is not None}
    usage = [numbered.fields for numbered in sent]
    return Story(
        catalogue_dir=catalogue_dir(),
        commands=commands(people, calendar),
        usage=usage,
        raw=_broken(usage[0]),
        late_record_ids=(ids[LATE],),
        episodes=tuple(
            Episode(e.title, None if e.label is None else ids[e.label], e.outcome, e.note)
            for scene in told
            for e in scene.told
        ),
        bill_account=BILL_ACCOUNT,
    )


def catalogue_dir() -> Path:
    """Return the operator's tariffs: a directory of YAML files within the installed package."""
    found = resources.files(__package__) / "catalogue"
    assert isinstance(found, Path), "the package is installed as files"
    return found


def write(directory: Path, anchor_ms: int) -> Files:
    """Write the sample as files that `chargeline rate` reads; what is there under their names is replaced.

    The catalogue is copied as it is; accounts and usage are JSON, one object a line. The broken bytes are not among
    them: they are for a topic.
    """
    story = build(anchor_ms)
    files = Files(directory / "catalogue", directory / "accounts.jsonl", directory / "usage.jsonl")
    for source in sorted(story.catalogue_dir.rglob("*")):
        if source.suffix in {".yaml", ".csv"}:
            target = files.catalogue / source.relative_to(story.catalogue_dir)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    _write_lines(files.accounts, story.commands)
    _write_lines(files.usage, story.usage)
    return files


def _write_lines(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _numbered(drafts: list[Draft]) -> list[_Numbered]:
    """Give each record its id and its source's next number, in the order in which they were sent."""
    sequences = dict.fromkeys((MSC, SMSC, PGW), 0)
    numbered = []
    for number, draft in enumerate(sorted(drafts, key=lambda draft: (draft.sent_ms, draft.start_ms)), 1):
        fields = draft.fields | {
            "record_id": f"sample-{number:06d}",
            "source": draft.source,
            "start_time": iso_time(draft.start_ms),
        }
        if draft.label != LATE:  # a source that was away for two months has long counted on
            sequences[draft.source] += 2 if draft.label == AFTER_GAP else 1
            fields["sequence"] = sequences[draft.source]
        numbered.append(_Numbered(draft.sent_ms, _in_order(fields), draft.label))
    return numbered


def _copies(told: list[Scene], originals: list[_Numbered]) -> list[_Numbered]:
    by_label = {numbered.label: numbered for numbered in originals}
    return [
        _Numbered(copy.sent_ms, _in_order(by_label[copy.of].fields | copy.changes), copy.label)
        for scene in told
        for copy in scene.copies
    ]


def _in_order(fields: dict[str, object]) -> dict[str, object]:
    return {name: fields[name] for name in RECORD_FIELDS if name in fields}


def _broken(whole: dict[str, object]) -> tuple[bytes, ...]:
    """Return what is no record: bytes of something else, a record cut off, and one of a schema nobody published."""
    record = usage_from_json(whole)
    assert isinstance(record, UsageRecord)
    encoded = USAGE_RECORD.encode(record._asdict())
    cut_off = encoded[: len(encoded) - 7]
    foreign = MARKER + bytes(8) + encoded[HEADER_BYTES:]
    return b"\x00\x01garbage\xff", cut_off, foreign
