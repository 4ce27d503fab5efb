"""The labelled sample: reproducible, hard, honest; and the claims of docs/detectors.md, held small."""

import ast
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli.app import app
from deploy.cli.detect_scores import Label, read_labels, score
from deploy.cli.talk import RefusedError
from deploy.sample.labelled.abnormal import FRAUD
from deploy.sample.labelled.build import build
from pipeline.adapters.formats import Unreadable, read
from pipeline.domain.detectors.finding import Finding

ROOT = Path(__file__).resolve().parents[2]
FALSE_A_1000_A_DAY = 1


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Six days of four hundred lines, at medium strength."""
    folder = tmp_path_factory.mktemp("labelled")
    build(folder, 5, 400, 6, (1.0,), 1)
    return folder


def test_generator_and_detectors_share_nothing():
    """The generator imports nothing of the detectors, nor they of it."""
    for path in (ROOT / "deploy" / "sample" / "labelled").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if "detectors" in name], path.name


def test_the_same_seed_makes_the_same_bytes(made, tmp_path):
    """And another seed, or the other half of the numbers, others."""
    build(tmp_path / "same", 5, 400, 6, (1.0,), 1)
    build(tmp_path / "other", 6, 400, 6, (1.0,), 1)
    texts = [(folder / "usage.jsonl").read_bytes() for folder in (made, tmp_path / "same", tmp_path / "other")]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_records_are_readable_late_twice_and_out_of_order(made):
    """Every line is a record; some come twice, some hours late, and the order is that of arrival."""
    with (made / "usage.jsonl").open("rb") as lines:
        records = list(read("json", lines))
    assert not [one for one in records if isinstance(one, Unreadable)]
    ids = [one.record_id for one in records]
    assert 0.001 < 1 - len(set(ids)) / len(ids) < 0.02
    newest, late, disordered = 0, 0, 0
    for one in records:
        end = one.start_time + one.duration_ms
        late += newest - end > 3_600_000
        disordered += end < newest
        newest = max(newest, end)
    assert late > len(records) / 500
    assert disordered > len(records) / 20


def test_labels_name_records_that_are_there(made):
    """Each fraud detector has a label, and each label its records."""
    ids = {json.loads(line)["record_id"] for line in (made / "usage.jsonl").read_text().splitlines()}
    labels = read_labels(made / "labels.jsonl")
    assert {label.detector for label in labels} == {*FRAUD}
    assert all(label.record_ids and label.record_ids <= ids for label in labels)


def test_medium_strength_is_found_and_little_else(made):
    """`detect eval`: every label of medium strength is met, and false alerts stay below one a thousand lines and day.

    The full figures, on ten thousand lines, are in docs/detectors.md with the command that makes them.
    """
    files = {name: str(made / name) for name in ("usage.jsonl", "labels.jsonl", "cells.csv")}
    ran = CliRunner().invoke(
        app,
        ["detect", "eval", "--json", "--usage", files["usage.jsonl"], "--labels", files["labels.jsonl"], "--cells", files["cells.csv"]],
    )  # fmt: skip
    assert ran.exit_code == 0, ran.output
    scores = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    fraud = [one for one in scores if one["detector"] in FRAUD]
    assert [one["detector"] for one in fraud if one["recall"] != 1] == []
    assert sum(one["false_per_1000_lines_a_day"] for one in scores) <= FALSE_A_1000_A_DAY


def test_replay_prints_alerts_by_the_time_they_opened(made):
    """One JSON object a line, by the contract's names."""
    ran = CliRunner().invoke(
        app, ["detect", "replay", "--json", "--usage", str(made / "usage.jsonl"), "--cells", str(made / "cells.csv")]
    )
    alerts = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    assert alerts
    assert [one["opened_at"] for one in alerts] == sorted(one["opened_at"] for one in alerts)
    names = "alert_id state detector severity object account opened_at window score record_ids charge_ids detail action"
    assert all(list(one) == names.split() for one in alerts)
    assert "events/s" in ran.stderr


# scores


def alert(detector, object_, record_ids, opened_at=50):
    return Finding(detector, "open", "warning", object_, "", opened_at, "w", "1", tuple(record_ids), (), {}, "")


LABELS = [
    Label("irsf", "1.0", 0, 100, ("msisdn-+1",), frozenset({"a", "b"})),
    Label("irsf", "2.0", 0, 100, ("msisdn-+2",), frozenset({"c"})),
    Label("wangiri", "1.0", 0, 100, (), frozenset({"d"})),
]


def test_scores_tell_hits_misses_crossings_and_false_alarms():
    """By evidence or by object and time; an alert about another detector's anomaly is neither hit nor false."""
    found = [
        alert("irsf", "msisdn-+9", ["a"]),
        alert("irsf", "msisdn-+8", ["x"]),
        alert("call_velocity", "msisdn-+2", ["c"]),
        alert("wangiri", "range-+3", ["y"]),
    ]
    scores, wrong = score(found, LABELS, {"a": 20, "b": 10})
    whole = {one.detector: one for one in scores if one.strength is None}
    assert (whole["irsf"].recall, whole["irsf"].precision, whole["irsf"].delays_ms) == (0.5, 0.5, (40,))
    assert (whole["call_velocity"].of_another, whole["call_velocity"].false) == (1, 0)
    assert (whole["wangiri"].recall, whole["wangiri"].precision) == (0, 0)
    assert [one.object_ for one in wrong] == ["msisdn-+8", "range-+3"]
    assert [(one.strength, one.met) for one in scores if one.detector == "irsf"] == [(None, 1), ("1.0", 1), ("2.0", 0)]


def test_an_object_counts_only_in_its_labels_time():
    """The same object a week later is another matter."""
    late = alert("irsf", "msisdn-+1", [], 8 * 86_400_000)
    _, wrong = score([late], LABELS, {})
    assert wrong == [late]


def test_labels_that_say_nothing_are_refused(tmp_path):
    """With file and line."""
    path = tmp_path / "labels.jsonl"
    path.write_text('{"detector":"irsf","objects":["msisdn-+1"]}\n{"detector":"irsf"}\n')
    with pytest.raises(RefusedError, match=r"labels\.jsonl:2"):
        read_labels(path)
