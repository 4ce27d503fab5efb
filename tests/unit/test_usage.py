"""What makes a record known again: its digest and its two numbers, the same for ever and in any language."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.usage import (
    DAY_MS,
    RECORD_FIELDS,
    SEEN_BUCKETS,
    AcceptedUsage,
    UsageRecord,
    digest,
    identities,
    is_e164,
    is_imsi,
    is_short_code,
    quantity,
    seen_of,
)

CALL = UsageRecord(
    record_id="msc1-000017", source="msc1", sequence=17, service="VOICE", direction="MO", msisdn="+8613800000001",
    imsi=None, imei=None, other_party="+8613900000002", start_time=1_767_225_600_000, duration_ms=61_500,
    uplink_octets=0, downlink_octets=0, message_count=0, answered=True, visited_plmn=None, cell="460-00-1-2",
    rating_group=None, session_id=None, partial_number=None, cause_for_closing=0, retransmission=False,
)  # fmt: skip
CALL_JSON = (
    '{"cause_for_closing":0,"cell":"460-00-1-2","direction":"MO","duration_ms":61500,"msisdn":"+8613800000001",'
    '"other_party":"+8613900000002","record_id":"msc1-000017","sequence":17,"service":"VOICE","source":"msc1",'
    '"start_time":1767225600000}'
)
"""Written by hand from the documented rule: sorted keys, no spaces, defaults left out."""


def accepted(record: UsageRecord, **fields) -> AcceptedUsage:
    added = {"account": "acme", "received_at": 1_767_225_700_000, "source_topic": "t", "source_partition": 0,
             "source_offset": 1, "on_net": False}  # fmt: skip
    return AcceptedUsage(**record._asdict(), **{**added, **fields})


def test_a_digest_is_that_of_the_documented_text():
    """SHA-256 of JSON with sorted keys, no spaces, defaults left out: anyone can recompute it."""
    assert digest(CALL) == hashlib.sha256(CALL_JSON.encode()).digest()
    assert digest(CALL).hex() == "7a84a14ddb3adaafe12c515943e1ea82d077d95988066a680ad83db261293519"


def test_text_is_utf8_as_it_is():
    """Letters beyond ASCII are hashed as UTF-8, not as escapes."""
    text = CALL_JSON.replace('"source":"msc1"', '"source":"交换机"')
    assert digest(CALL._replace(source="交换机")) == hashlib.sha256(text.encode()).digest()


def test_what_mediate_adds_is_no_content():
    """The same record received twice, by another route, is the same content."""
    once = accepted(CALL)
    again = accepted(CALL, received_at=5, source_partition=3, source_offset=99, on_net=True, source_topic="replay")
    assert digest(once) == digest(again) == digest(CALL)


def test_a_retransmission_is_the_same_content():
    """That a source may have sent it before changes nothing of what it says."""
    assert digest(CALL._replace(retransmission=True)) == digest(CALL)


CHANGES = {
    "record_id": "x", "source": "x", "sequence": 0, "service": "DATA", "direction": "MT", "msisdn": None, "imsi": "460001",
    "imei": "x", "other_party": None, "start_time": 0, "duration_ms": 0, "uplink_octets": 1, "downlink_octets": 1,
    "message_count": 1, "answered": False, "visited_plmn": "20801", "cell": "", "rating_group": 0, "session_id": "",
    "partial_number": 0, "cause_for_closing": None,
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_every_other_field_is_content(name):
    """Any other value of any field is other content, 0, "" and null included where they differ."""
    assert digest(CALL._replace(**{name: CHANGES[name]})) != digest(CALL)


def test_all_fields_were_tried():
    """The list above misses nothing but `retransmission`."""
    assert {*CHANGES, "retransmission"} == set(RECORD_FIELDS)


@pytest.mark.parametrize("name", ["sequence", "rating_group", "partial_number", "cause_for_closing"])
def test_zero_is_not_null(name):
    """Where null is the default, 0 is content."""
    assert digest(CALL._replace(**{name: 0})) != digest(CALL._replace(**{name: None}))


@pytest.mark.parametrize(("service", "default"), [("SMS", 1), ("MMS", 1), ("EVENT", 1), ("VOICE", 0), ("DATA", 0)])
def test_the_default_count(service, default):
    """A message counts one where nothing is said, a call none: the default is left out of the digest."""
    record = CALL._replace(service=service, duration_ms=0, message_count=default)
    text = CALL_JSON.replace('"service":"VOICE"', f'"service":"{service}"').replace('"duration_ms":61500,', "")
    assert digest(record) == hashlib.sha256(text.encode()).digest()
    assert digest(record._replace(message_count=2)) != digest(record)


# --- the two numbers ---


def test_numbers_seen_are_golden():
    """The numbers are in every ledger and view: they never change."""
    seen = seen_of(accepted(CALL), digest(CALL))
    assert tuple(seen) == (20454, 395, 1594827911243752255, 6836239882233994347)
    assert seen.day == CALL.start_time // DAY_MS


def test_numbers_seen_are_those_of_the_documented_hash():
    """h is BLAKE2b of 8 bytes over the parts, each behind its length in 4 bytes."""
    seen = seen_of(accepted(CALL), digest(CALL))
    account = b"\x00\x00\x00\x04acme"
    record = account + b"\x00\x00\x00\x0bmsc1-000017"

    def hashed(parts: bytes) -> bytes:
        return hashlib.blake2b(parts, digest_size=8).digest()

    assert seen.bucket == int.from_bytes(hashed(account), "big") % SEEN_BUCKETS
    assert seen.record == int.from_bytes(hashed(record), "big", signed=True)
    assert seen.content == int.from_bytes(hashed(record + digest(CALL)), "big", signed=True)


@given(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
def test_account_and_record_do_not_run_together(account, record, other_account, other_record):
    """`ab`+`c` is not `a`+`bc`: each part stands behind its length."""
    one = seen_of(accepted(CALL._replace(record_id=record), account=account), bytes(32))
    two = seen_of(accepted(CALL._replace(record_id=other_record), account=other_account), bytes(32))
    assert ((account, record) == (other_account, other_record)) == (one.record == two.record)


@given(st.integers(0, 4_102_444_800_000))
def test_a_late_copy_meets_the_same_bucket(start):
    """Day and bucket are of the use itself, never of its arrival."""
    record = CALL._replace(start_time=start)
    early, late = (seen_of(accepted(record, received_at=at), bytes(32)) for at in (start, start + 30 * DAY_MS))
    assert early == late
    assert early.day == start // DAY_MS
    assert -(2**63) <= early.record < 2**63


# --- what is priced, who is served ---


def test_quantities():
    """Time of a call, octets both ways of data, messages of the others."""
    record = CALL._replace(duration_ms=1, uplink_octets=10, downlink_octets=20, message_count=300)
    found = {
        service: quantity(record._replace(service=service)) for service in ("VOICE", "DATA", "SMS", "MMS", "EVENT")
    }
    assert found == {"VOICE": 1, "DATA": 30, "SMS": 300, "MMS": 300, "EVENT": 300}


def test_identities():
    """The directory's spelling, msisdn first."""
    assert identities(CALL._replace(imsi="460001234567890")) == ("msisdn-+8613800000001", "imsi-460001234567890")
    assert identities(CALL._replace(msisdn=None, imsi="460001234567890")) == ("imsi-460001234567890",)


@pytest.mark.parametrize(
    ("text", "e164", "short", "imsi"),
    [
        ("+1", True, False, False),
        ("+123456789012345", True, False, False),
        ("+1234567890123456", False, False, False),
        ("+0123", False, False, False),
        ("+", False, False, False),
        ("", False, False, False),
        ("8613800000001", False, False, True),
        ("+86 138", False, False, False),
        ("+٣٤", False, False, False),
        ("110", False, True, False),
        ("*100#", False, True, False),
        ("123456789", False, False, True),
        ("123456789012345", False, False, True),
        ("1234567890123456", False, False, False),
        ("12345", False, True, False),
        ("²³", False, False, False),
    ],
)
def test_forms_of_numbers(text, e164, short, imsi):
    """Numbers are checked for form, in ASCII digits only."""
    assert (is_e164(text), is_short_code(text), is_imsi(text)) == (e164, short, imsi)
