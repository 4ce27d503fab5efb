"""The sample: it is what it says, at any moment it is told, and the operator's tariffs price all of it."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.sample.days import DAY_MS, MINUTE_MS, MOVED_DAYS
from deploy.sample.story import Story, build, catalogue_dir, write
from pipeline.adapters.avro import USAGE_RECORD, UndecodableError, UnknownSchemaError
from pipeline.adapters.catalogue import compile as compile_catalogue
from pipeline.adapters.catalogue import load_directory
from pipeline.adapters.command_json import command_from_json, parse_time
from pipeline.adapters.formats import detect_format, read, usage_from_json
from pipeline.domain.batch import Binding, CommandInput, Head, State, UsageInput, prepare
from pipeline.domain.catalogue import Catalogues
from pipeline.domain.charging import Batch
from pipeline.domain.ledger import Event, Position, Positions
from pipeline.domain.mediation import DeadLetter, MediationRules, RawRecord, mediate
from pipeline.domain.numbers import NumberRules
from pipeline.domain.outcome import DEAD_LETTER_REASONS
from pipeline.domain.usage import UsageRecord


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1000


ANCHORS = {
    "an ordinary afternoon": ms("2026-11-24T15:12:00+08:00"),
    "just after a month's first midnight": ms("2026-12-01T00:00:30+08:00"),
    "among holidays": ms("2026-10-05T09:00:00+08:00"),
    "a leap year's spring": ms("2028-03-01T08:00:00+08:00"),
    "a Sunday night": ms("2027-01-03T23:59:59+08:00"),
}


@pytest.fixture(scope="module", params=ANCHORS.values(), ids=ANCHORS.keys())
def anchor_ms(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module")
def story(anchor_ms: int) -> Story:
    return build(anchor_ms)


class Directory:
    """Who has which identity, as the opened accounts say."""

    def __init__(self) -> None:
        self.spans: dict[str, list[tuple[str, int, int | None]]] = defaultdict(list)

    def put(self, binding: Binding) -> None:
        self.spans[binding.identity] += [(binding.account, begin, end) for begin, end in binding.spans]

    def accounts_at(self, identity: str, moment_ms: int) -> Sequence[str]:
        return [a for a, begin, end in self.spans[identity] if begin <= moment_ms and (end is None or moment_ms < end)]


class OnePartition(dict[str, int]):
    def __missing__(self, account: str) -> int:
        return 0


class Outcome:
    """What becomes of the sample: its events and dead letters, by the record's id and in order."""

    def __init__(self, story: Story, anchor_ms: int) -> None:
        document = load_directory(story.catalogue_dir).document(effective_from_ms=0)
        start = Position(b"t" * 16, 0)
        head = Head(0, 0, 0, 35, 1, Positions(start, start, start))
        state = State({}, {}, {}, set(), set())
        batch = Batch(head, state, Catalogues([compile_catalogue(document)]), OnePartition(), late=True)
        directory = Directory()
        self.commands: list[Event] = []
        for offset, asked in enumerate(story.commands):
            (prepared,) = prepare([CommandInput(offset, command_from_json(asked), b"", None, anchor_ms)], {})
            decided = batch.decide(prepared)
            self.commands.append(decided.event)
            for binding in decided.bindings:
                directory.put(binding)
        rules = MediationRules(NumberRules("86", "0", "00", 8), 300_000, trust_replayed_received_at=False)
        self.events: list[Event] = []
        self.dead: dict[str, str] = {}
        for offset, sent in enumerate(story.usage):
            record = usage_from_json(sent)
            assert isinstance(record, UsageRecord), record
            found = mediate(RawRecord("raw", 0, offset, anchor_ms, None, b"", ()), record, directory, rules)
            if isinstance(found, DeadLetter):
                self.dead[record.record_id] = found.refusal.reason
                continue
            (prepared,) = prepare([UsageInput(offset, found.usage, b"", b"", None)], {})
            self.events.append(batch.decide(prepared).event)

    def of(self, record_id: str | None) -> list[Event]:
        return [event for event in self.events if event.event_id == record_id]

    def charges(self, account: str) -> list[Event]:
        return [e for e in self.events if e.account == account and e.kind == "CHARGED"]


@pytest.fixture(scope="module")
def outcome(story: Story, anchor_ms: int) -> Outcome:
    return Outcome(story, anchor_ms)


def told(story: Story, title: str) -> str | None:
    (episode,) = [episode for episode in story.episodes if episode.title == title]
    return episode.record_id


def starts(story: Story) -> Iterator[tuple[dict[str, Any], int]]:
    for sent in story.usage:
        start = parse_time(str(sent["start_time"]))
        assert start is not None
        yield sent, start


# --- what the sample is


def test_the_same_moment_tells_the_same_story(story: Story, anchor_ms: int) -> None:
    """Nothing but the anchor decides: two readers of one moment see the same bytes, another moment other ones."""
    assert build(anchor_ms) == story
    assert build(anchor_ms + DAY_MS).usage != story.usage


def test_nothing_happens_in_the_future_or_long_ago(story: Story, anchor_ms: int) -> None:
    """All use ended more than ten minutes ago and began some ten days ago at most, but for what comes late."""
    for sent, start in starts(story):
        assert start + sent.get("duration_ms", 0) < anchor_ms - 10 * MINUTE_MS
        if sent["record_id"] in story.late_record_ids:
            assert anchor_ms - start > 55 * DAY_MS
        else:
            assert anchor_ms - start < 20 * DAY_MS
    assert all((parse_time(str(asked["at"])) or anchor_ms) < anchor_ms for asked in story.commands)


def test_there_is_enough_of_everything(story: Story) -> None:
    """A few thousand records of all kinds: calls both ways, not answered, abroad; data in parts; messages."""
    assert 2_500 <= len(story.usage) <= 3_500
    kinds = Counter((sent["service"], sent["direction"]) for sent in story.usage)
    assert min(kinds.values()) >= 30
    assert set(kinds) == {("VOICE", "MO"), ("VOICE", "MT"), ("DATA", "MO"), ("SMS", "MO"), ("SMS", "MT"), ("MMS", "MO")}
    assert sum(1 for sent in story.usage if sent.get("answered") is False) > 50
    assert sum(1 for sent in story.usage if sent.get("partial_number", 1) > 1) > 100
    assert {sent.get("visited_plmn") for sent in story.usage} == {None, "20801", "45400"}
    assert len({asked["account"] for asked in story.commands}) == 40


def test_each_source_counts_its_records_without_a_gap_but_the_told_one(story: Story) -> None:
    """Sequence numbers run per source; the one gap and the copies are the episodes about them."""
    gap_before = told(story, "A record that never came")
    for source in ("MSC-1", "SMSC-1", "PGW-1"):
        firsts = {sent["record_id"]: sent for sent in story.usage if sent["source"] == source and "sequence" in sent}
        numbered = sorted(firsts.values(), key=lambda sent: sent["sequence"])
        jumps = [b["record_id"] for a, b in pairwise(numbered) if b["sequence"] != a["sequence"] + 1]
        assert jumps == ([gap_before] if source == "MSC-1" else [])


def test_nobody_is_in_two_calls_at_once_but_the_thief(story: Story) -> None:
    """Everyday traffic raises no alarm: calls of one line do not overlap, except in the episode about that."""
    seen = set()
    calls = defaultdict(list)
    for sent, start in starts(story):
        if sent["service"] == "VOICE" and sent["record_id"] not in seen:
            seen.add(sent["record_id"])
            calls[sent["msisdn"]].append((start, start + sent.get("duration_ms", 0)))
    overlapping = {
        msisdn
        for msisdn, spans in calls.items()
        if any(later[0] < earlier[1] for earlier, later in pairwise(sorted(spans)))
    }
    thief = told(story, "A stolen SIM at night")
    assert overlapping == {sent["msisdn"] for sent in story.usage if sent["record_id"] == thief}


def test_the_broken_bytes_are_broken(story: Story) -> None:
    """What is published as garbage is refused for the reasons that the story names."""
    reasons = []
    for value in story.raw:
        with pytest.raises((UndecodableError, UnknownSchemaError)) as refused:
            USAGE_RECORD.decode(value)
        reasons.append(refused.type)
    assert reasons == [UndecodableError, UndecodableError, UnknownSchemaError]


def test_the_calendar_of_the_story_is_the_catalogues() -> None:
    """The days that no weekday episode is told on are those that the published calendar moves."""
    calendar = yaml.safe_load((catalogue_dir() / "calendar.yaml").read_text())["calendars"]["cn"]
    assert sorted(calendar["holidays"] + calendar["workdays"]) == list(MOVED_DAYS)


def test_written_files_say_the_same_as_the_story(tmp_path: Path, anchor_ms: int, story: Story) -> None:
    """`write` gives a catalogue, accounts and usage that are read back as the story's own; twice gives the same."""
    write(tmp_path, anchor_ms)
    files = write(tmp_path, anchor_ms)
    assert load_directory(files.catalogue).document(0) == load_directory(story.catalogue_dir).document(0)
    assert [json.loads(text) for text in files.accounts.read_text().splitlines()] == story.commands
    lines = files.usage.read_bytes().splitlines(keepends=True)
    assert detect_format(files.usage.suffix, lines[0]) == "json"
    assert list(read("json", lines)) == [usage_from_json(sent) for sent in story.usage]


# --- what becomes of it


def test_every_account_is_opened_and_changed_as_asked(outcome: Outcome) -> None:
    """No command of the sample is refused."""
    assert Counter(event.kind for event in outcome.commands) == {"ACCOUNT_CHANGED": 45, "TOPPED_UP": 3, "ADJUSTED": 1}


def test_each_episode_ends_as_it_is_told(story: Story, outcome: Outcome) -> None:
    """The outcome named in each episode is what becomes of its record, and nothing else is refused or held."""
    expected: Counter[str] = Counter()
    for episode in story.episodes:
        kind, _, reason = episode.outcome.removeprefix("dead letter ").partition(" ")
        if episode.record_id is None:
            assert kind in DEAD_LETTER_REASONS
        elif episode.outcome.startswith("dead letter"):
            assert outcome.dead[episode.record_id] == kind
        else:
            answers = [(e.kind, e.reason) for e in outcome.of(episode.record_id)]
            assert (kind, reason or ("duplicate" if kind == "DUPLICATE" else None)) in answers, episode.title
            expected[kind] += kind != "CHARGED"
    assert Counter(e.kind for e in outcome.events if e.kind != "CHARGED") == +expected
    assert len(outcome.dead) == 2


@pytest.mark.parametrize(
    ("title", "rules", "amount"),
    [
        ("A call from the day into the evening", ["call-mobile", "call-mobile-late"], 4_710_000),
        ("A call over midnight into the weekend", ["call-mobile-late", "call-mobile-weekend"], 4_800_000),
        ("A family shares 120 minutes", ["call"], 1_800_000),
        ("A budget is used up", ["call-world"], 4_000_000),
        ("A balance runs low", ["call-world"], 4_700_000),
        ("Allowance, pack, then money", ["data"], 44_000_000),
        ("A plan change", ["call"], 570_000),
        ("A day abroad is capped", ["roam-data"], 1_000_000),
        ("Called while abroad", ["roam-call-in"], 2_370_000),
        ("A short code with a price", ["call-hotline"], 7_500_000),
    ],
)
def test_an_episode_costs_what_its_note_says(
    story: Story, outcome: Outcome, title: str, rules: list[str], amount: int
) -> None:
    """The rules that price the record that is shown, and the sum, worked out by hand from the catalogue."""
    (event,) = outcome.of(told(story, title))
    assert [line.rule for line in event.lines] == rules
    assert event.amount_micros == amount


def test_caps_hold_over_the_parts_of_a_session_and_over_a_day(outcome: Outcome) -> None:
    """Parts of a session in any order come to its cap; a day abroad comes to the day's."""
    assert sum(event.amount_micros for event in outcome.charges("stream-ma")) == 8_000_000
    abroad = [e for e in outcome.charges("trip-eva") if e.usage and e.usage.service == "DATA"]
    assert [event.amount_micros for event in abroad] == [12_000_000, 12_000_000, 1_000_000]
    blocks = [e for e in outcome.charges("trip-hong") if e.usage and e.usage.service == "DATA"]
    assert [event.amount_micros for event in blocks] == [10_000_000, 5_000_000, 5_000_000, 5_000_000, 0]


def test_the_budget_is_crossed_at_each_threshold_once(outcome: Outcome) -> None:
    """Six calls at 4.00 cross 50, 80 and 100 % of 20.00 by the third, fourth and fifth."""
    reached = [
        next((value for name, value in e.effects.account.items() if name.startswith("reached:")), None)
        for e in outcome.charges("budget-zhou")
    ]
    assert reached == [None, None, "50@20000000", "80@20000000", "100@20000000", None]


def test_everyday_customers_do_not_run_out_of_money(story: Story, outcome: Outcome) -> None:
    """Only the accounts whose episode it is fall below 10.00, so the alerts shown are the ones told."""
    low = {event.account for event in outcome.events if event.balance_after_micros < 10_000_000}
    assert low == {"low-wu", "debt-sun", "stolen-qian"}
    assert any(event.amount_micros for event in outcome.charges(story.bill_account))


def test_most_rules_of_the_catalogue_are_used(outcome: Outcome) -> None:
    """The sample shows what the catalogue has: each plan, and nearly each of its rules, prices something."""
    document = load_directory(catalogue_dir()).document(0)
    used = {(e.account, line.rule) for e in outcome.events for line in e.lines}
    rules = {rule["id"] for plan in document["plans"] for rule in plan["prices"]}
    unused = rules - {rule for _, rule in used}
    assert unused <= {"call-emergency", "mms-in", "sms-helpdesk", "sms-world", "roam-call-in", "call-mobile-early"}


def test_anchors_are_in_the_zone_they_say() -> None:
    """The moments these tests are told at are what their names say: local time, eight hours east."""
    assert datetime.fromtimestamp(ANCHORS["among holidays"] / 1000, UTC).isoformat() == "2026-10-05T01:00:00+00:00"
