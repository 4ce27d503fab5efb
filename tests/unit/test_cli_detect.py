"""`chargeline detect` over files: priced and not, with other parameters, cells and totals; what is wrong is refused."""

import json

import pytest
from detector_world import DAY, HOUR, MINUTE, MONDAY, SECOND, call, mobile, ordinary_days
from typer.testing import CliRunner

from deploy.cli.app import app
from deploy.cli.talk import RefusedError
from deploy.sample import story
from pipeline.adapters.formats import usage_to_json


def run(*args):
    return CliRunner().invoke(app, ["detect", *map(str, args)])


def lines(ran):
    assert ran.exit_code == 0, ran.output + repr(ran.exception)
    return [json.loads(line) for line in ran.stdout.splitlines()]


@pytest.fixture
def usage(tmp_path):
    """Two quiet days, then ten calls in half a minute."""
    records = ordinary_days(2) + [call(MONDAY + 2 * DAY + 3 * HOUR + n * 3 * SECOND, mobile(n), 2) for n in range(10)]
    path = tmp_path / "usage.jsonl"
    path.write_text("".join(json.dumps(usage_to_json(one)) + "\n" for one in records))
    return path


def test_replay_says_what_is_in_a_file(usage):
    """As JSON for programs, as a table for people; the speed and the size of the states on standard error."""
    (alert,) = lines(run("replay", "--json", "--usage", usage))
    assert (alert["detector"], alert["account"]) == ("call_velocity", alert["object"])
    shown = run("replay", "--usage", usage)
    assert "call_velocity" in shown.stdout
    assert "events/s" in shown.stderr


def test_replay_takes_other_parameters(usage, tmp_path):
    """A table a detector; one that does not exist is refused by name."""
    strict = tmp_path / "strict.toml"
    strict.write_text("[call_velocity]\ncalls_a_minute = 100\n")
    assert lines(run("replay", "--json", "--usage", usage, "--parameters", strict)) == []
    strict.write_text("[call_velocity]\ncalls_a_month = 100\n")
    refused = run("replay", "--json", "--usage", usage, "--parameters", strict)
    assert isinstance(refused.exception, RefusedError)
    assert "calls_a_month" in str(refused.exception)


def test_parameters_shown_are_parameters_read(tmp_path, usage):
    """What `detect parameters` prints is a file for `--parameters`, and changes nothing."""
    path = tmp_path / "all.toml"
    path.write_text(run("parameters").stdout)
    assert run("parameters", "--parameters", path).stdout == path.read_text()
    assert lines(run("replay", "--json", "--usage", usage, "--parameters", path)) == lines(
        run("replay", "--json", "--usage", usage)
    )


def test_replay_prices_with_catalogue_and_accounts(tmp_path):
    """On the sample: the detectors of money speak, and fraud is seen beside them, under the account."""
    told = story.build(1_793_600_000_000)
    accounts, usage = tmp_path / "accounts.jsonl", tmp_path / "usage.jsonl"
    accounts.write_text("".join(json.dumps(one) + "\n" for one in told.commands))
    usage.write_text("".join(json.dumps(one) + "\n" for one in told.usage))
    found = lines(run("replay", "--json", "--catalogue", told.catalogue_dir, "--accounts", accounts, "--usage", usage))
    detectors = {one["detector"] for one in found}
    assert {"spend_budget", "low_balance", "credit_limit", "allowance_low"} <= detectors
    assert all(one["charge_ids"] for one in found if one["detector"] == "spend_budget")


def test_accounts_without_a_catalogue_are_refused(usage):
    """There is nothing to price by."""
    assert isinstance(run("replay", "--usage", usage, "--accounts", usage).exception, RefusedError)


def test_totals_are_held_against_what_came(usage, tmp_path):
    """What agrees says nothing; a record too few is an alert; a time that is not on the hour is refused."""
    totals = tmp_path / "totals.jsonl"
    row = {"source": "msc", "from": "2026-11-04T03:00:00Z", "to": "2026-11-04T04:00:00Z", "records": 10}
    row |= {"duration_ms": 20_000, "octets": 0, "messages": 0}
    totals.write_text(json.dumps(row) + "\n")
    assert [one["detector"] for one in lines(run("replay", "--json", "--usage", usage, "--totals", totals))] == [
        "call_velocity"
    ]
    totals.write_text(json.dumps(row | {"records": 11}) + "\n")
    found = lines(run("replay", "--json", "--usage", usage, "--totals", totals))
    assert {one["detector"] for one in found} == {"call_velocity", "control_total"}
    totals.write_text(json.dumps(row | {"from": "2026-11-04T03:30:00Z"}) + "\n")
    assert "hour" in str(run("replay", "--json", "--usage", usage, "--totals", totals).exception)


def test_cells_are_read_by_place(usage, tmp_path):
    """Two cities within minutes; a latitude that is none is refused with its line."""
    cells, two = tmp_path / "cells.csv", tmp_path / "two.jsonl"
    cells.write_text("cell,latitude,longitude\na,39.9,116.4\nb,31.2,121.5\n")
    records = [call(MONDAY, cell="a"), call(MONDAY + 5 * MINUTE, cell="b")]
    two.write_text("".join(json.dumps(usage_to_json(one)) + "\n" for one in records))
    (alert,) = lines(run("replay", "--json", "--usage", two, "--cells", cells))
    assert alert["detector"] == "impossible_travel"
    cells.write_text("cell,latitude,longitude\na,99,116.4\n")
    assert "cells.csv:2" in str(run("replay", "--json", "--usage", two, "--cells", cells).exception)


def test_lines_that_are_no_records_are_counted_and_passed_over(usage):
    """They are said, not hidden."""
    usage.write_text("nonsense\n" + usage.read_text())
    ran = run("replay", "--json", "--usage", usage, "--format", "json")
    assert len(lines(ran)) == 1
    assert "1 lines are no records" in ran.stderr
