"""Log lines are JSON objects for machines; none of them says where this machine keeps its files."""

import json
import logging

import pytest

from pipeline.adapters import logs


@pytest.fixture(autouse=True)
def root_as_before():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(capsys):
    captured = capsys.readouterr()
    assert captured.out == "", "standard output is for data"
    return [json.loads(line) for line in captured.err.splitlines()]


def test_a_line_has_time_level_logger_and_event(capsys):
    """UTC, ISO 8601, and what was said."""
    logger = logs.logger("mediate")
    logs.configure("info")
    logger.info("batch_settled", records=3)
    (line,) = lines(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"level": "info", "logger": "mediate", "event": "batch_settled", "records": 3}


def test_the_level_is_the_least_that_is_said(capsys):
    """And it may be set again."""
    logger = logs.logger("x")
    logs.configure("warning")
    logger.info("not_said")
    logger.warning("said")
    logs.configure("debug")
    logger.debug("said_too")
    assert [line["event"] for line in lines(capsys)] == ["said", "said_too"]


def test_an_exception_is_data_without_paths(capsys):
    """Types, messages and places by module, the cause after it; no file name, no local value."""
    logs.configure("info")
    try:
        try:
            secret = "hunter2"
            {}["inner"]
        except KeyError as error:
            raise ValueError("outer") from error
    except ValueError:
        logs.logger("x").exception("went_wrong")
    (line,) = lines(capsys)
    assert [(e["type"], e["message"]) for e in line["error"]] == [("ValueError", "outer"), ("KeyError", "'inner'")]
    assert line["error"][0]["at"][0].startswith("test_logs.test_an_exception")
    assert "/" not in json.dumps(line)
    assert secret not in json.dumps(line)


def test_a_librarys_warning_is_a_line_too(capsys):
    """Its sentence is the message; what it says below a warning is not passed on."""
    logs.configure("info")
    logging.getLogger("aiokafka.consumer").info("chatter")
    logging.getLogger("aiokafka.consumer").warning("offset %d is gone", 7)
    (line,) = lines(capsys)
    assert (line["event"], line["message"], line["logger"], line["level"]) == (
        "library_message",
        "offset 7 is gone",
        "aiokafka.consumer",
        "warning",
    )


def test_configuring_again_says_nothing_twice(capsys):
    """One line an event, however often a process configures."""
    for _ in range(3):
        logs.configure("info")
    logging.getLogger("lib").error("once")
    logs.logger("x").info("once_too")
    assert len(lines(capsys)) == 2
