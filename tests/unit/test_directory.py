"""The directory says who had which identity at a moment: the last row of each identity and account counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters.avro import SUBSCRIBER_BINDING
from pipeline.adapters.directory import Directory
from pipeline.adapters.memory_broker import MemoryBroker
from pipeline.adapters.memory_intake import MemoryDirectory
from pipeline.topics import SUBSCRIBER

MSISDN = "msisdn-+8613800000001"


def row(identity, account, *spans):
    value = {"identity": identity, "account": account, "spans": [{"from": a, "to": b} for a, b in spans]}
    return f"{identity}|{account}".encode(), SUBSCRIBER_BINDING.encode(value)


def test_a_span_begins_inclusive_and_ends_exclusive():
    """A number handed over at a moment belongs, at that very moment, to the new account alone."""
    directory = Directory()
    directory.apply(*row(MSISDN, "first", (100, 200)))
    directory.apply(*row(MSISDN, "second", (200, None)))
    assert directory.accounts_at(MSISDN, 99) == ()
    assert directory.accounts_at(MSISDN, 100) == ("first",)
    assert directory.accounts_at(MSISDN, 199) == ("first",)
    assert directory.accounts_at(MSISDN, 200) == ("second",)
    assert directory.accounts_at(MSISDN, 2**62) == ("second",)


def test_a_row_replaces_all_spans_of_its_pair_and_no_others():
    """A row says everything about one identity and one account."""
    directory = Directory()
    directory.apply(*row(MSISDN, "a", (0, 10), (20, 30)))
    directory.apply(*row(MSISDN, "b", (10, 20)))
    directory.apply(*row(MSISDN, "a", (0, 5)))
    assert [directory.accounts_at(MSISDN, at) for at in (4, 5, 15, 25)] == [("a",), (), ("b",), ()]


def test_an_empty_value_or_no_spans_remove():
    """A removed binding leaves nothing behind, whichever way it is said."""
    directory = Directory()
    for account in "ab":
        directory.apply(*row(MSISDN, account, (0, None)))
    directory.apply(f"{MSISDN}|a".encode(), None)
    assert directory.accounts_at(MSISDN, 1) == ("b",)
    directory.apply(*row(MSISDN, "b"))
    assert directory.accounts_at(MSISDN, 1) == ()
    assert len(directory) == 0


def test_two_accounts_at_one_time_are_both_named_once():
    """A fault of bookkeeping is shown, not decided by whoever came first."""
    directory = Directory()
    directory.apply(*row(MSISDN, "a", (0, 50), (40, 90)))
    directory.apply(*row(MSISDN, "b", (45, None)))
    assert directory.accounts_at(MSISDN, 47) == ("a", "b")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, None),
        (b"msisdn-+1|other", row(MSISDN, "a", (0, None))[1]),
        (f"{MSISDN}|a".encode(), b"not a row"),
    ],
)
def test_a_row_that_charge_cannot_have_written_stops(key, value):
    """A directory that cannot be read is not guessed at: subscribers would become strangers."""
    with pytest.raises(ValueError, match=r"row|C3 01"):
        Directory().apply(key, value)


SPANS = st.lists(st.tuples(st.integers(0, 20), st.one_of(st.none(), st.integers(0, 20))), max_size=3)
ROWS = st.lists(
    st.tuples(st.sampled_from(["x", "y"]), st.sampled_from("abc"), st.one_of(st.none(), SPANS)), max_size=12
)


@given(ROWS, st.integers(0, 20))
def test_what_compaction_leaves_says_the_same(rows, moment):
    """The last row of each key alone gives the directory that all rows give, so compaction loses nothing."""
    encoded = [
        row(identity, account, *spans) if spans is not None else (f"{identity}|{account}".encode(), None)
        for identity, account, spans in rows
    ]
    whole, compacted = Directory(), Directory()
    for key, value in encoded:
        whole.apply(key, value)
    for key, value in dict(encoded).items():
        compacted.apply(key, value)
    for identity in "xy":
        assert sorted(whole.accounts_at(identity, moment)) == sorted(compacted.accounts_at(identity, moment))


def test_the_feed_knows_what_was_read_and_no_more():
    """Rows written after the last reading are not there until the next."""
    broker = MemoryBroker()
    broker.append(SUBSCRIBER.name, 0, *row(MSISDN, "a", (0, None)))
    feed = MemoryDirectory(broker)
    assert feed.accounts_at(MSISDN, 1) == ()
    feed.read_to_end()
    broker.append(SUBSCRIBER.name, 0, *row("imsi-460011234567890", "a", (0, None)))
    assert (feed.accounts_at(MSISDN, 1), len(feed)) == (("a",), 1)
    feed.read_to_end()
    assert len(feed) == 2
