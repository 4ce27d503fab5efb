"""Puts the fortnight together: numbers the records, lets some come late, twice or out of order, and writes it down."""

import csv
import heapq
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final, NamedTuple, TextIO

from deploy.sample.labelled.abnormal import FRAUD, SEASON, Fault, Label, Scene, faults
from deploy.sample.labelled.draft import DAY_MS, HOUR_MS, MINUTE_MS, NO_LABEL, SECOND_MS, Draft
from deploy.sample.labelled.normal import LOCAL_MS, Days
from deploy.sample.labelled.world import SOURCES, make
from pipeline.adapters.ledger_codec import iso_time

FIRST_DAY: Final = 20_808
"""2026-12-21, a Monday: New Year's Day is in the fortnight."""
WARM_UP_DAYS: Final = 2
SCORED: Final = 36
SWEPT: Final = 12
MEDIUM: Final = 1.0
SWEEP: Final = (0.5, 1.0, 2.0, 4.0)
DISORDERED, LATE, TWICE = 0.05, 0.008, 0.004


class Made(NamedTuple):
    """What was written: how many records and labels."""

    records: int
    labels: int


def build(out: Path, seed: int, subscribers: int, days: int, strengths: tuple[float, ...], half: int) -> Made:
    """Write usage.jsonl, labels.jsonl and cells.csv into a folder; the same arguments write the same bytes."""
    random = Random(f"{seed}/{half}")  # noqa: S311 - traffic, not secrets
    begin = FIRST_DAY * DAY_MS - LOCAL_MS
    world = make(random, subscribers, half)
    ordinary = Days(random, world, begin, days)
    scene = Scene(random, world, begin, days, WARM_UP_DAYS)
    for strength in strengths:
        count = SCORED if strength == MEDIUM else SWEPT
        for inject in FRAUD.values():
            for _ in range(max(round(count * min(subscribers / 10_000, 1)), 1)):
                inject(scene, strength)
    broken = list(faults(scene, strengths)) if days > 12 else []
    ids: list[list[str]] = [[] for _ in scene.labels]
    out.mkdir(parents=True, exist_ok=True)
    with (out / "usage.jsonl").open("w", encoding="utf-8") as usage:
        records = _write(usage, _in_order(ordinary, scene.drafts, days), _Sources(random, broken), ids)
    with (out / "labels.jsonl").open("w", encoding="utf-8") as labels:
        for label, record_ids in zip(scene.labels, ids, strict=True):
            labels.write(_label_line(label, record_ids))
    with (out / "cells.csv").open("w", encoding="utf-8", newline="") as cells:
        rows = csv.writer(cells)
        rows.writerow(("cell", "latitude", "longitude"))
        rows.writerows((cell, f"{y:.4f}", f"{x:.4f}") for cell, (y, x) in world.cells.items())
    return Made(records, len(scene.labels))


def _label_line(label: Label, record_ids: list[str]) -> str:
    shown = {
        "detector": label.detector,
        "strength": label.strength,
        "from": iso_time(label.begin),
        "to": iso_time(label.end),
        "objects": list(label.objects),
        "record_ids": record_ids,
    }
    return json.dumps(shown, separators=(",", ":")) + "\n"


def _in_order(ordinary: Days, injected: list[Draft], days: int) -> Iterator[Draft]:
    """Yield all records by when their source made them; a day is held at a time."""
    waiting = sorted(injected, reverse=True)
    held: list[Draft] = []
    for number in range(days):
        held += ordinary.day(number)
        until = ordinary.midnight(number + 1) if number + 1 < days else None
        while waiting and (until is None or waiting[-1].start < until):
            held.append(waiting.pop())
        held.sort()
        split = len(held) if until is None else next((n for n, d in enumerate(held) if d.sent >= until), len(held))
        yield from held[:split]
        held = held[split:]


class _Sources:
    """Numbers records as their sources do, and does to them what is wrong with a source for a while."""

    def __init__(self, random: Random, broken: list[Fault]) -> None:
        self._random = random
        self._numbers = dict.fromkeys(SOURCES, 0)
        self._broken: dict[str, list[Fault]] = {}
        for fault in broken:
            self._broken.setdefault(fault.source, []).append(fault)
        self._done: dict[int, int] = {}

    def send(self, draft: Draft) -> tuple[int, int, Draft] | None:
        """Return when the record arrives, its number, and the record; None: it was lost."""
        random, source = self._random, draft.source
        number = self._numbers[source] = self._numbers[source] + 1
        arrives, label = draft.sent, draft.label
        for fault in self._broken.get(source, ()):
            if not fault.begin <= draft.sent < fault.end:
                continue
            done = self._done.get(fault.label, 0)
            if fault.kind == "sequence_gap" and done < round(40 * fault.strength):
                self._done[fault.label] = done + 1
                return None
            if fault.kind == "sequence_repeat" and done < round(8 * fault.strength) and random.random() < 0.3:
                self._done[fault.label] = done + 1
                self._numbers[source] = number - 1
                return arrives, number - random.randrange(1, 200), draft._replace(label=fault.label)
            if fault.kind == "late_share" and random.random() < min(0.35 * fault.strength, 0.9):
                return (
                    arrives + random.randrange(6 * 60, 20 * 60) * MINUTE_MS,
                    number,
                    draft._replace(label=fault.label),
                )
            if fault.kind == "silent_source":
                return fault.end + random.randrange(60) * SECOND_MS, number, draft
            if fault.kind == "implausible" and '"VOICE"' in draft.body and done < round(12 * fault.strength):
                self._done[fault.label] = done + 1
                body = draft.body.replace('"duration_ms":', '"duration_ms":9')
                body = body[: body.index('"duration_ms":') + 14] + "260000000"
                return arrives, number, draft._replace(body=body, label=fault.label)
            if fault.kind == SEASON and random.random() < min(0.75 * fault.strength, 0.95):
                self._numbers[source] = number - 1
                return None
        chance = random.random()
        if chance < LATE:
            arrives += int(random.expovariate(1 / (3 * HOUR_MS)))
        elif chance < LATE + DISORDERED:
            arrives += random.randrange(90) * SECOND_MS
        return arrives, number, draft._replace(label=label)

    def again(self) -> bool:
        """Tell whether a record is sent twice."""
        return self._random.random() < TWICE


def _write(usage: TextIO, drafts: Iterator[Draft], sources: _Sources, ids: list[list[str]]) -> int:
    """Write records by when they arrive."""
    coming: list[tuple[int, int, str]] = []
    count = 0
    for draft in drafts:
        sent = sources.send(draft)
        if sent is None:
            continue
        arrives, number, made = sent
        count += 1
        record_id = f"{made.source}-{count:08d}"
        if made.label != NO_LABEL:
            ids[made.label].append(record_id)
        line = (
            f'{{"record_id":"{record_id}","source":"{made.source}","sequence":{number},'
            f'"start_time":"{iso_time(made.start)}",{made.body}}}\n'
        )
        heapq.heappush(coming, (arrives, count, line))
        if sources.again():
            heapq.heappush(coming, (arrives + 40 * MINUTE_MS, count, line))
        while coming and coming[0][0] <= draft.sent:
            usage.write(heapq.heappop(coming)[2])
    while coming:
        usage.write(heapq.heappop(coming)[2])
    return count
