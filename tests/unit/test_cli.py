import json
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
import typer

from deploy.cli import main
from deploy.cli.app import app
from deploy.cli.operate import without_password
from deploy.cli.talk import table
from deploy.sample import story

SETTINGS = ("CHARGELINE_", "XDG_DATA_HOME")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path):
    """Each test begins without configuration, in a data directory that nothing ever ran in."""
    for name in list(os.environ):
        if name.startswith(SETTINGS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CHARGELINE_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def run(capsys):
    """Run one command line; returns (exit code, data, talk)."""

    def ran(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return ran


@pytest.fixture
def sample(tmp_path):
    return story.write(tmp_path, time.time_ns() // 1_000_000)


def lines_of(out):
    return [json.loads(line) for line in out.splitlines()]


def commands_of(group, path=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands_of(command, (*path, name))
        else:
            yield (*path, name), command


ALL = list(commands_of(typer.main.get_command(app)))


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) for path, _ in ALL])
def test_every_command_helps_by_example(run, path, command):
    """Each command's help has a first sentence short enough for the list, and an example that begins with its name."""
    code, out, _ = run(*path, "--help")
    assert code == 0
    assert f"chargeline {' '.join(path)}" in out.partition("Example")[2]
    assert not command.get_short_help_str(45).endswith("...")


def test_help_loads_no_client():
    """Help is fast: no broker's, Redis' or Avro library is loaded to show it."""
    code = (
        "import sys; from deploy.cli import main; main(['account', 'top-up', '--help']);"
        "loaded = {'confluent_kafka', 'redis', 'fastavro', 'pydantic_settings', 'yaml', 'faust'} & set(sys.modules);"
        "sys.exit(f'loaded: {loaded}' if loaded else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nonsense",),
        ("account",),
        ("account", "top-up", "alice"),
        ("account", "apply", "no-such-file.jsonl"),
        ("bill",),
        ("bill", "alice", "--month", "October"),
        ("explain", "seventeen"),
        ("run", "bingo"),
        ("rebuild", "--partition", "-1"),
        ("ledger", "accept-loss", "0"),
        ("dlq", "show", "first"),
        ("status", "--timeout", "1"),
    ],
)
def test_misuse_is_exit_code_2(run, arguments):
    """What was typed wrong is told on standard error with exit code 2, and nothing is on standard output."""
    code, out, err = run(*arguments)
    assert code == 2
    assert out == "" or not arguments or arguments == ("account",)
    assert out or err


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "--json"),
        ("account", "show", "alice"),
        ("account", "top-up", "alice", "5"),
        ("bill", "alice"),
        ("explain", "0-1"),
        ("audit", "verify"),
        ("rebuild",),
        ("dlq", "list"),
        ("topics", "create"),
        ("run", "charge"),
    ],
)
def test_without_servers_one_says_what_to_do(run, arguments):
    """With nothing configured and nothing up, a command says so and what to type next, with exit code 1."""
    code, out, err = run(*arguments)
    assert (code, out) == (1, "")
    assert "no servers" in err
    assert "next: `chargeline up`" in err
    assert "Traceback" not in err


def test_a_command_that_is_none_is_not_sent(run):
    """An amount that is no amount is refused before any server is asked, in words."""
    code, _, err = run("account", "top-up", "alice", "5,00")
    assert code == 1
    assert "not sent: amount: not a decimal amount" in err


def test_a_file_with_a_bad_line_is_refused_whole(run, tmp_path):
    """Of a file of commands either all lines are commands or none is sent; every bad line is named with its number."""
    path = tmp_path / "commands.jsonl"
    path.write_text('{"type": "top_up"}\n\nnonsense\n')
    code, _, err = run("account", "apply", path)
    assert code == 1
    assert f"{path}:1: missing: command_id, account, at, actor, amount, reference" in err
    assert f"{path}:3: json:" in err


def test_rate_gives_each_line_its_event(run, sample, tmp_path):
    """Offline rating answers every line in its order: charged, repeated, and what could never be accepted."""
    usage = tmp_path / "some.jsonl"
    lines = sample.usage.read_text().splitlines()[:40]
    usage.write_text("\n".join([*lines, "garbage", lines[0], '{"record_id": "x"}']) + "\n")
    code, out, err = run(
        "rate", "--catalogue", sample.catalogue, "--accounts", sample.accounts, "--usage", usage, "--json"
    )
    events = lines_of(out)
    assert (code, err) == (0, "")
    assert [event["event_id"] for event in events[:40]] == [json.loads(line)["record_id"] for line in lines]
    assert {event["kind"] for event in events[:40]} == {"CHARGED"}
    assert [event["kind"] for event in events[40:]] == ["REJECTED", "DUPLICATE", "REJECTED"]
    assert [event["seq"] for event in events] == list(range(events[0]["seq"], events[0]["seq"] + 43))
    assert all(b["previous_hash"] == a["hash"] for a, b in pairwise(events))
    assert events[40]["reason"] == "undecodable"
    assert events[40]["detail"]["line"] == 41


def test_rate_receives_each_record_at_its_own_start(run, sample, tmp_path):
    """Nothing is late offline: a record two months old is charged, and its `received_at` is its start."""
    code, out, _ = run(
        "rate", "--catalogue", sample.catalogue, "--accounts", sample.accounts, "--usage", sample.usage, "--json"
    )
    events = lines_of(out)
    assert code == 0
    assert len(events) == len(sample.usage.read_text().splitlines())
    assert all(e["usage"]["received_at"] == e["usage"]["start_time"] for e in events)
    kinds = {(event["kind"], event["reason"]) for event in events}
    assert kinds == {
        ("CHARGED", None),
        ("DUPLICATE", "duplicate"),
        ("REVIEW", "conflicting_copy"),
        ("REJECTED", "unknown_subscriber"),
        ("REJECTED", "ambiguous"),
        ("REJECTED", "no_tariff"),
    }


def test_rate_as_a_table_sums_up(run, sample):
    """Without --json the events are rows, and the sum is on standard error: it is no row."""
    code, out, err = run(
        "rate", "--catalogue", sample.catalogue, "--accounts", sample.accounts, "--usage", sample.usage
    )
    rows = out.splitlines()
    assert code == 0
    assert rows[0].split()[:2] == ["record", "account"]
    assert len(rows) - 1 == len(sample.usage.read_text().splitlines())
    assert "CNY" in err


def test_rate_refuses_what_it_cannot_read(run, sample, tmp_path):
    """A catalogue, a file of commands or a file of usage that is refused is exit code 1, with no event written."""
    good = {"--catalogue": sample.catalogue, "--accounts": sample.accounts, "--usage": sample.usage}
    for option, bad in (
        ("--catalogue", tmp_path / "none"),
        ("--accounts", sample.usage),
        ("--usage", tmp_path / "none"),
    ):
        code, out, err = run("rate", *[part for pair in {**good, option: bad}.items() for part in pair], "--json")
        assert (code, out) == (1, ""), option
        assert "Traceback" not in err


def quote(run, sample, plan, usage, *more):
    return run("quote", "--catalogue", sample.catalogue, "--plan", plan, "--usage", usage, *more)


def test_quote_says_price_and_why(run, sample):
    """One record's price for a new account, in words and as an event."""
    usage = '{"service": "VOICE", "other_party": "+8613512345678", "duration_ms": 61000, "start_time": "%s"}'
    usage %= "2026-10-08T03:00:00Z"
    code, out, _ = quote(run, sample, "payg", usage)
    assert code == 0
    assert out.startswith("charge quote: 0.41 CNY\n")
    code, out, _ = quote(run, sample, "payg", usage, "--json")
    (event,) = lines_of(out)
    assert (code, event["amount_micros"], event["currency"], event["lines"][0]["rule"]) == (
        0,
        410_000,
        "CNY",
        "call-mobile",
    )


def test_quote_without_a_price_says_what_was_tried(run, sample):
    """A record that no rule prices is exit code 1, and the explanation names prefixes and rules."""
    usage = '{"service": "VOICE", "other_party": "77777777", "start_time": "2026-10-08T03:00:00Z"}'
    code, out, _ = quote(run, sample, "payg", usage)
    assert code == 1
    assert "REJECTED no_tariff" in out
    assert "77777777" in out


@pytest.mark.parametrize("usage", ["", "[]", "{}", '{"service": "VOICE", "colour": "red"}', '{"service": "TELEX"}'])
def test_quote_refuses_what_is_no_record(run, sample, usage):
    """What cannot be a record is refused in words."""
    code, out, err = quote(run, sample, "payg", usage)
    assert (code, out) == (1, "")
    assert "error: --usage" in err


def test_catalogue_check_names_every_problem(run, sample):
    """A good catalogue is exit code 0; a bad one names each problem with its file and line, and is exit code 1."""
    assert run("catalogue", "check", sample.catalogue)[0] == 0
    code, out, _ = run("catalogue", "check", sample.catalogue, "--json")
    assert (code, lines_of(out)[0]["ok"]) == (0, True)
    (sample.catalogue / "extra.yaml").write_text("colour: red\nsound: loud\n")
    code, out, err = run("catalogue", "check", sample.catalogue)
    assert (code, out) == (1, "")
    assert "extra.yaml:1" in err
    assert "extra.yaml:2" in err
    code, out, _ = run("catalogue", "check", sample.catalogue, "--json")
    assert code == 1
    assert len(lines_of(out)[0]["problems"]) == 2


def test_config_show_says_where_each_value_comes_from(run, monkeypatch, tmp_path):
    """Environment stands over file, file over default, and each value names its origin; passwords are not shown."""
    config = tmp_path / "chargeline.toml"
    config.write_text('log_level = "warning"\n[charge]\nlate_window_days = 40\nbatch_records = 100\n')
    monkeypatch.setenv("CHARGELINE_CONFIG", str(config))
    monkeypatch.setenv("CHARGELINE_CHARGE__BATCH_RECORDS", "200")
    monkeypatch.setenv("CHARGELINE_REDIS__URL", "redis://someone:secret@localhost:6379/0")
    code, out, _ = run("config", "show", "--json")
    found = {line["name"]: (line["value"], line["origin"]) for line in lines_of(out)}
    assert code == 0
    assert found["log_level"] == ("warning", "file")
    assert found["charge.late_window_days"] == (40, "file")
    assert found["charge.batch_records"] == (200, "environment CHARGELINE_CHARGE__BATCH_RECORDS")
    assert found["charge.fetch_wait_ms"][1] == "default"
    assert found["redis.url"][0] == "redis://someone:***@localhost:6379/0"
    assert "secret" not in out


def test_a_bad_configuration_is_told_without_its_values(run, monkeypatch):
    """A setting that is not valid is named with what is wrong, and its value, which may be a secret, is not shown."""
    monkeypatch.setenv("CHARGELINE_CHARGE__BATCH_RECORDS", "hunter2")
    code, _, err = run("status")
    assert code == 1
    assert "charge.batch_records" in err
    assert "hunter2" not in err


def test_danger_is_confirmed(run, monkeypatch):
    """Removing a ledger needs a yes; where nobody can be asked, --yes."""
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        code, _, err = run("down", "--wipe")
    assert code == 2
    assert "--yes" in err


def test_tables_align_wide_characters(capsys):
    """Chinese characters take two columns, so what follows them stands in line."""
    table(("name", "amount"), [("基础套餐", "1.00"), ("x", "10.00")], "<>")
    rows = capsys.readouterr().out.splitlines()
    assert rows == ["name      amount", "基础套餐    1.00", "x          10.00"]


def test_shown_addresses_have_no_password():
    """An address with a password is shown without it; one without is shown as it is."""
    assert without_password("redis://u:p@h:1/0") == "redis://u:***@h:1/0"
    assert without_password("redis://h:1/0") == "redis://h:1/0"


def test_ctrl_c_is_exit_code_130(run, monkeypatch):
    """Ctrl-C ends at once with the code that shells expect."""

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("deploy.cli.rating.compiled", interrupted)
    assert run("quote", "--catalogue", ".", "--plan", "x", "--usage", '{"service": "SMS"}')[0] == 130
