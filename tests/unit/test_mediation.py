"""What becomes of a raw record: an account, or one reason of the closed list; decided from what is passed in alone."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters.avro import ACCEPTED_USAGE, USAGE_RECORD
from pipeline.adapters.directory import Directory
from pipeline.adapters.usage_codec import UsageDecoder, encode_accepted
from pipeline.domain.mediation import (
    HEADERS_BYTES_MAX,
    Accepted,
    DeadLetter,
    MediationRules,
    RawRecord,
    accepted_headers,
    dead_letter_headers,
    mediate,
    normalise,
)
from pipeline.domain.numbers import NumberRules
from pipeline.domain.outcome import DEAD_LETTER_REASONS, Refusal
from pipeline.domain.usage import (
    DURATION_MS_MAX,
    INT_MAX,
    LONG_MAX,
    OCTETS_MAX,
    START_TIME_MAX,
    AcceptedUsage,
    UsageRecord,
)

NOW = 1_790_000_000_000
RULES = MediationRules(NumberRules("86", "0", "00", 8), 300_000, trust_replayed_received_at=False)
TRUSTING = RULES._replace(trust_replayed_received_at=True)
CALL = UsageRecord(
    record_id="r-1", source="msc-1", sequence=7, service="VOICE", direction="MO", msisdn="+8613800000001",
    imsi="460010000000001", imei=None, other_party="+8613800000002", start_time=NOW - 60_000, duration_ms=30_000,
    uplink_octets=0, downlink_octets=0, message_count=0, answered=True, visited_plmn=None, cell=None,
    rating_group=None, session_id=None, partial_number=None, cause_for_closing=0, retransmission=False,
)  # fmt: skip
SMS = CALL._replace(service="SMS", duration_ms=0, message_count=1)
DATA = CALL._replace(service="DATA", other_party=None, uplink_octets=10, downlink_octets=20)


def directory(*rows):
    made = Directory()
    for identity, account, *spans in rows:
        made.bind(identity, account, spans or [(0, None)])
    return made


OURS = directory(
    ("msisdn-+8613800000001", "alice"), ("imsi-460010000000001", "alice"), ("msisdn-+8613800000002", "bob")
)


def raw(usage, headers=(), at=NOW):
    value = USAGE_RECORD.encode(usage._asdict()) if isinstance(usage, UsageRecord) else usage
    return RawRecord("charging.usage.received.v1", 3, 41, at, b"key", value, headers)


def outcome(usage, known=OURS, rules=RULES, headers=(), at=NOW):
    if isinstance(usage, Refusal):
        return mediate(raw(b"unread", headers, at), usage, known, rules)
    record = raw(usage, headers, at)
    return mediate(record, UsageDecoder().decode(record.value), known, rules)


def reason(*args, **kwargs):
    found = outcome(*args, **kwargs)
    assert isinstance(found, DeadLetter)
    return found.refusal.reason


def test_an_accepted_record_is_the_record_and_where_it_came_from():
    """Nothing of the probe's own fields is lost, and what is added is the broker's word and the directory's."""
    found = outcome(CALL)
    assert isinstance(found, Accepted)
    assert found.usage == AcceptedUsage(*CALL, "alice", NOW, "charging.usage.received.v1", 3, 41, on_net=True)


WHY = {
    "quarantined": [Refusal("quarantined", {})],  # decided before the bytes are read
    "undecodable": [b"", b"\xc3\x01", b"junk", None, USAGE_RECORD.encode(CALL._asdict()) + b"\0"],
    "unknown_schema": [b"\xc3\x01" + bytes(8) + b"\0", ACCEPTED_USAGE.encode(outcome(CALL).usage._asdict())],
    "out_of_bounds": [CALL._replace(record_id="")],
    "bad_number": [
        CALL._replace(msisdn="anonymous"),
        CALL._replace(msisdn=""),
        CALL._replace(imsi="46001"),
        CALL._replace(imsi="46001x00000001"),
        CALL._replace(other_party="VODAFONE"),
        CALL._replace(other_party="+"),
    ],
    "no_identity": [CALL._replace(msisdn=None, imsi=None)],
    "starts_in_future": [CALL._replace(start_time=NOW + 300_001)],
    "ambiguous": [CALL._replace(imsi="460010000000009")],
    "unknown_subscriber": [CALL._replace(msisdn="+8613899999999", imsi=None)],
}


@pytest.mark.parametrize(("why", "value"), [(why, value) for why, values in WHY.items() for value in values])
def test_every_reason(why, value):
    """Each reason of the closed list has its records."""
    known = directory(("msisdn-+8613800000001", "alice"), ("imsi-460010000000009", "carol"))
    assert reason(value, known) == why


def test_the_list_of_reasons_is_closed():
    """No reason is without a record above, and none is given that is not on the list."""
    assert list(WHY) == list(DEAD_LETTER_REASONS)


def test_the_first_reason_in_order_is_given():
    """A record that is wrong in several ways is set aside for the first of them: the same bytes, the same reason."""
    wrong = CALL._replace(
        record_id="", msisdn="x", imsi=None, start_time=NOW + 10_000_000, other_party=None
    )  # nobody has it, either
    assert reason(wrong) == "out_of_bounds"
    assert reason(wrong._replace(record_id="r")) == "bad_number"
    assert reason(wrong._replace(record_id="r", msisdn=None)) == "no_identity"
    assert reason(wrong._replace(record_id="r", msisdn="+8613899999999")) == "starts_in_future"


BOUNDS = [
    # base, field, the last value within, the first one outside
    (CALL, "record_id", "r" * 256, "r" * 257),
    (CALL, "record_id", "中" * 85, "中" * 86),
    (CALL, "source", "", "s" * 257),
    (CALL, "session_id", "s", ""),
    (CALL, "cell", "", "c" * 257),
    (CALL, "start_time", 0, -1),
    (CALL, "duration_ms", 0, -1),
    (CALL, "duration_ms", DURATION_MS_MAX, DURATION_MS_MAX + 1),
    (CALL, "uplink_octets", 0, 1),
    (CALL, "downlink_octets", 0, 1),
    (CALL, "message_count", 0, 1),
    (CALL, "sequence", -LONG_MAX - 1, None),
    (DATA, "uplink_octets", 0, -1),
    (DATA, "downlink_octets", 0, -1),
    (DATA, "message_count", 0, 1),
    (SMS, "message_count", 1, 0),
    (SMS, "message_count", INT_MAX, INT_MAX + 1),
    (SMS._replace(service="MMS"), "message_count", 1, 0),
    (SMS._replace(service="EVENT"), "message_count", 1, -1),
    (SMS, "duration_ms", 0, 1),
    (SMS, "uplink_octets", 0, 1),
    (DATA, "partial_number", 1, 0),
    (DATA, "partial_number", None, INT_MAX + 1),
    (DATA, "rating_group", INT_MAX, INT_MAX + 1),
    (DATA, "rating_group", -INT_MAX - 1, -INT_MAX - 2),
    (CALL, "cause_for_closing", INT_MAX, INT_MAX + 1),
]


@pytest.mark.parametrize(("base", "field", "within", "outside"), BOUNDS)
def test_bounds(base, field, within, outside):
    """The last value inside is taken, the first one outside is not, and the letter names the field."""
    kept = normalise(base._replace(**{field: within}), 1_000, RULES.numbers)
    assert getattr(kept, field) == within
    if outside is not None:
        refused = normalise(base._replace(**{field: outside}), 1_000, RULES.numbers)
        assert isinstance(refused, Refusal)
        assert (refused.reason, refused.detail["field"]) == ("out_of_bounds", field)


def test_octets_are_bounded_together():
    """Their sum is the quantity, so it is the sum that must fit."""
    most = DATA._replace(uplink_octets=OCTETS_MAX - 5, downlink_octets=5)
    assert normalise(most, 200, RULES.numbers) == most
    assert isinstance(normalise(most._replace(downlink_octets=6), 200, RULES.numbers), Refusal)


def test_a_start_beyond_the_century_is_out_of_bounds_whatever_the_time():
    """A clock at the end of time does not make a start at the end of time believable."""
    assert reason(CALL._replace(start_time=START_TIME_MAX + 1), at=START_TIME_MAX + 1) == "out_of_bounds"


def test_a_record_is_no_longer_than_16_kib():
    """The bound is that of the bytes as sent."""
    assert normalise(CALL, 16 * 1024, RULES.numbers) == CALL
    assert isinstance(normalise(CALL, 16 * 1024 + 1, RULES.numbers), Refusal)


def test_in_a_short_record_no_string_is_looked_at():
    """The short cut is sound: a string of 257 bytes makes the record longer than 256."""
    long = CALL._replace(cell="c" * 257)
    assert len(USAGE_RECORD.encode(long._asdict())) > 256
    assert reason(long) == "out_of_bounds"


def test_the_future_begins_after_the_tolerance_by_the_brokers_time():
    """The record's own broker time decides, on the millisecond, and no clock of this machine."""
    edge = CALL._replace(start_time=NOW + 300_000)
    assert isinstance(outcome(edge), Accepted)
    assert reason(edge, at=NOW - 1) == "starts_in_future"


ALICE, IMSI = "msisdn-+8613800000001", "imsi-460010000000001"
RESOLUTIONS = [
    ("both lead to one account", [(ALICE, "a"), (IMSI, "a")], "a"),
    ("one is known, the other to nobody", [(ALICE, "a")], "a"),
    ("the other way round", [(IMSI, "a")], "a"),
    ("two accounts by two identities", [(ALICE, "a"), (IMSI, "b")], "ambiguous"),
    ("two accounts by one identity", [(ALICE, "a"), (ALICE, "b")], "ambiguous"),
    ("the other identity does not settle it", [(ALICE, "a"), (ALICE, "b"), (IMSI, "a")], "ambiguous"),
    ("nobody", [], "unknown_subscriber"),
    ("not any more", [(ALICE, "a", (0, NOW - 60_000))], "unknown_subscriber"),
    ("not yet", [(ALICE, "a", (NOW - 59_999, None))], "unknown_subscriber"),
    ("at that moment", [(ALICE, "a", (NOW - 60_000, NOW - 59_999))], "a"),
    ("ported since", [(ALICE, "a", (0, NOW - 50_000)), (ALICE, "b", (NOW - 50_000, None))], "a"),
    ("ported before", [(ALICE, "a", (0, NOW - 70_000)), (ALICE, "b", (NOW - 70_000, None))], "b"),
]


@pytest.mark.parametrize(("rows", "becomes"), [case[1:] for case in RESOLUTIONS], ids=[case[0] for case in RESOLUTIONS])
def test_the_account_is_the_one_of_the_records_own_start(rows, becomes):
    """Identities are resolved at `start_time`; what leads to more than one account is nobody's guess."""
    found = outcome(CALL, directory(*rows))
    assert (found.usage.account if isinstance(found, Accepted) else found.refusal.reason) == becomes


@pytest.mark.parametrize(
    ("other", "on_net"),
    [("+8613800000002", True), ("013800000002", True), ("+8613800000003", False), ("10086", False), (None, False)],
)
def test_on_net_is_whether_the_other_party_is_ours(other, on_net):
    """By its normalised number; a short code or nobody is not ours."""
    assert outcome(CALL._replace(other_party=other)).usage.on_net is on_net


def test_on_net_is_asked_at_the_start_too():
    """Someone who became ours after the call was not ours in it."""
    later = directory((ALICE, "alice"), ("msisdn-+8613800000002", "bob", (NOW, None)))
    assert outcome(CALL, later).usage.on_net is False


def test_numbers_are_normalised_before_anyone_is_looked_up():
    """The account, the tariff and the digest see one spelling."""
    found = outcome(CALL._replace(msisdn="0138-0000-0001", imsi=None, other_party="(0138) 0000 0002"))
    assert (found.usage.msisdn, found.usage.other_party) == ("+8613800000001", "+8613800000002")
    assert (found.usage.account, found.usage.on_net, found.as_sent) == ("alice", True, False)


def test_a_dead_letter_is_the_raw_record_and_six_headers():
    """Key, value and headers are untouched; ours come after them, as text."""
    headers = (("traceparent", b"00-1"), ("empty", None), ("traceparent", b"00-2"))
    letter = outcome(b"junk", headers=headers)
    assert letter.raw == raw(b"junk", headers)
    written = dead_letter_headers(letter)
    assert written[:3] == headers
    ours = dict(written[3:])
    assert json.loads(ours.pop("detail")) == letter.refusal.detail
    assert ours == {
        "reason": b"undecodable",
        "source_topic": b"charging.usage.received.v1",
        "source_partition": b"3",
        "source_offset": b"41",
        "received_at": str(NOW).encode(),
    }


def test_a_dead_letter_of_a_replay_says_each_thing_once():
    """What the first letter said is replaced: readers never have to choose between two reasons."""
    first = dead_letter_headers(outcome(b"junk", headers=(("probe", b"7"),)))
    second = dead_letter_headers(outcome(b"junk", headers=first, at=NOW + 5))
    assert [name for name, _ in second] == [name for name, _ in first]
    assert dict(second)["received_at"] == str(NOW + 5).encode()


def test_no_number_stands_in_a_letters_headers():
    """Operators share reasons and details; who called is in the value alone."""
    for usage in (CALL._replace(msisdn="+8613877777777x"), CALL._replace(msisdn="+8613877777777", imsi=None)):
        assert b"13877777777" not in b"".join(value for _, value in dead_letter_headers(outcome(usage)))


REPLAYED = (("received_at", str(NOW - 999_999).encode()),)


def test_a_replay_keeps_the_first_time_only_where_it_is_believed():
    """A probe could make its use look older, or newer, than it is: without trust, the broker's time counts."""
    assert outcome(CALL, headers=REPLAYED).usage.received_at == NOW
    assert outcome(CALL, headers=REPLAYED, rules=TRUSTING).usage.received_at == NOW - 999_999
    assert outcome(b"junk", headers=REPLAYED, rules=TRUSTING).received_at == NOW - 999_999


@pytest.mark.parametrize("value", [None, b"", b"-5", b"soon", b"9" * 5_000, str(NOW + 1).encode()])
def test_a_first_time_that_cannot_be_is_not_believed(value):
    """Nonsense, and a time after the broker's, are the broker's time, even from a trusted hand."""
    assert outcome(CALL, headers=(("received_at", value),), rules=TRUSTING).usage.received_at == NOW


def test_the_future_is_judged_by_the_replays_own_time():
    """What was too early at first may be replayed once its time has come."""
    early = CALL._replace(start_time=NOW + 400_000)
    assert reason(early, headers=REPLAYED, rules=TRUSTING) == "starts_in_future"
    assert outcome(early, headers=REPLAYED, rules=TRUSTING, at=NOW + 100_000).usage.received_at == NOW - 999_999


def test_the_trace_and_the_event_travel_on():
    """`traceparent` and CloudEvents attributes go with an accepted record, what describes its bytes does not."""
    headers = (("traceparent", b"00-1"), ("ce_id", b"x"), ("content-type", b"avro"), ("reason", b"old"))
    assert accepted_headers(outcome(CALL, headers=headers)) == headers[:2]


@pytest.mark.parametrize(("size", "kept"), [(HEADERS_BYTES_MAX - 4, True), (HEADERS_BYTES_MAX - 3, False)])
def test_headers_too_large_to_travel_stay_behind(size, kept):
    """A probe cannot make an accepted record that the next topic does not take: the record goes on without them."""
    headers = (("ce_x", bytes(size)),)
    assert accepted_headers(outcome(CALL, headers=headers)) == (headers if kept else ())


TEXT = st.one_of(st.none(), st.text(max_size=300), st.from_regex(r"\+?[0-9 ()-]{1,20}", fullmatch=True))
LONGS = st.one_of(st.integers(-2, 2), st.integers(-LONG_MAX - 1, LONG_MAX))
INTS = st.one_of(st.none(), st.integers(-INT_MAX - 1, INT_MAX))
ANY_RECORD = st.builds(
    UsageRecord, record_id=st.text(max_size=300), source=st.text(max_size=10), sequence=st.one_of(st.none(), LONGS),
    service=st.sampled_from(["VOICE", "DATA", "SMS", "MMS", "EVENT"]), direction=st.sampled_from(["MO", "MT"]),
    msisdn=TEXT, imsi=TEXT, imei=TEXT, other_party=TEXT, start_time=LONGS, duration_ms=LONGS, uplink_octets=LONGS,
    downlink_octets=LONGS, message_count=st.integers(-INT_MAX - 1, INT_MAX), answered=st.booleans(), visited_plmn=TEXT,
    cell=TEXT, rating_group=INTS, session_id=TEXT, partial_number=INTS, cause_for_closing=INTS,
    retransmission=st.booleans(),
)  # fmt: skip


@given(ANY_RECORD)
def test_whatever_a_probe_encodes_has_one_outcome(usage):
    """Mediation raises for nothing that the schema can say."""
    assert isinstance(outcome(usage), Accepted | DeadLetter)


@given(st.binary(max_size=300))
def test_whatever_bytes_arrive_are_a_dead_letter(data):
    """Neither noise nor noise behind the right fingerprint raises."""
    for value in (data, USAGE_RECORD.header + data):
        found = outcome(value)
        assert isinstance(found, Accepted) or found.raw.value == value


@given(
    st.text(min_size=1, max_size=40), st.integers(0, LONG_MAX), st.integers(0, INT_MAX), st.integers(0, LONG_MAX),
    st.booleans(),
)  # fmt: skip
def test_the_body_taken_over_is_the_one_the_library_writes(account, received_at, partition, offset, on_net):
    """Copying the probe's body and writing out the added fields gives the library's bytes, to the last one."""
    usage = AcceptedUsage(*CALL, account, received_at, "charging.usage.received.v1", partition, offset, on_net)
    as_sent = USAGE_RECORD.encode(CALL._asdict())
    assert encode_accepted(usage, as_sent) == encode_accepted(usage, None) == ACCEPTED_USAGE.encode(usage._asdict())
