"""The metrics are a table: named alike, of known units, with closed labels."""

import re

import pytest

from pipeline.adapters.metrics import COUNTER, DEFINITIONS, GAUGE, HISTOGRAM, Metrics
from pipeline.domain.outcome import DEAD_LETTER_REASONS

ALL = [(process, definition) for process, table in DEFINITIONS.items() for definition in table]


@pytest.mark.parametrize(("process", "definition"), ALL, ids=[d.name for _, d in ALL])
def test_names_say_process_and_unit(process, definition):
    """`chargeline_<process>_…`, counters end in `_total`, histograms have bounds, help is a sentence."""
    assert re.fullmatch(rf"chargeline_{process}_[a-z0-9_]+", definition.name)
    assert definition.kind in {COUNTER, GAUGE, HISTOGRAM}
    assert (definition.kind == COUNTER) == definition.name.endswith("_total")
    assert (definition.kind == HISTOGRAM) == bool(definition.buckets)
    assert definition.help[0].isupper()
    assert definition.help.endswith(".")
    assert not re.search(r"_(ms|millis|minutes|kb)(_|$)", definition.name), "base units only"


@pytest.mark.parametrize(("process", "definition"), ALL, ids=[d.name for _, d in ALL])
def test_no_label_can_name_a_person(process, definition):
    """A subscriber in a label is a leak, and a series each."""
    assert not {"account", "msisdn", "imsi", "imei", "identity", "number", "record_id"} & set(definition.labels)


def test_names_are_unique():
    """One word, one meaning."""
    names = [definition.name for _, definition in ALL]
    assert len(names) == len(set(names))


def test_a_bound_child_counts():
    """A child is bound once and shows from then on, at 0."""
    metrics = Metrics("mediate")
    children = {
        reason: metrics.counter("chargeline_mediate_dead_letters_total", reason=reason)
        for reason in DEAD_LETTER_REASONS
    }
    children["undecodable"].inc(3)
    text = metrics.exposition().decode()
    assert 'chargeline_mediate_dead_letters_total{reason="undecodable"} 3.0' in text
    assert 'chargeline_mediate_dead_letters_total{reason="ambiguous"} 0.0' in text
    assert "_created" not in text


def test_each_process_has_its_own():
    """Two registries in one process do not mix: tests and simulations run many."""
    first, second = Metrics("mediate"), Metrics("mediate")
    first.counter("chargeline_mediate_records_total").inc()
    assert "chargeline_mediate_records_total 0.0" in second.exposition().decode()


def test_an_unknown_metric_or_label_is_a_bug():
    """The table is the only place where metrics come from."""
    metrics = Metrics("mediate")
    with pytest.raises(KeyError):
        metrics.counter("chargeline_mediate_typos_total")
    with pytest.raises(AssertionError):
        metrics.gauge("chargeline_mediate_records_total")
    with pytest.raises(AssertionError):
        metrics.counter("chargeline_mediate_dead_letters_total", why="x")
