"""What an operator can set and watch is written down."""

import re
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel

from deploy.cli.app import app
from pipeline.adapters.metrics import DEFINITIONS
from pipeline.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "guide-operator.md").read_text()
GUARANTEES = (ROOT / "docs" / "guarantees.md").read_text()


def settings_of(model, prefix="CHARGELINE_"):
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings_of(field.annotation, f"{prefix}{name.upper()}__")
        else:
            yield prefix + name.upper(), field.description


@pytest.mark.parametrize(("name", "meaning"), list(settings_of(Settings)))
def test_every_setting_is_in_the_guide(name, meaning):
    """A setting that is not documented does not exist for who runs it."""
    assert f"| `{name}` |" in GUIDE
    assert meaning in GUIDE


@pytest.mark.parametrize("definition", [d for definitions in DEFINITIONS.values() for d in definitions])
def test_every_metric_is_in_the_guide(definition):
    """A metric is documented with the sentence that it exports."""
    assert f"| `{definition.name}` | {definition.kind} | {', '.join(definition.labels)} | {definition.help} |" in GUIDE


def commands(group, words=()):
    """Yield every command of the command line as its words."""
    for name, found in group.commands.items():
        yield (*words, name)
        if hasattr(found, "commands"):
            yield from commands(found, (*words, name))


def test_every_proof_that_is_named_exists():
    """A promise names a command or a test, and there is such a one: a renamed test would leave an empty promise."""
    tests = re.findall(r"`((?:tests/\w+/)?test_[\w*]+\.py)`", GUARANTEES)
    targets = re.findall(r"`make (\w+)", GUARANTEES)
    asked = re.findall(r"`chargeline ([a-z][a-z ]*[a-z])", GUARANTEES)
    assert len(tests) > 15
    assert targets
    assert asked
    for name in tests:
        assert list(ROOT.glob(name) if "/" in name else ROOT.glob(f"tests/*/{name}")), name
    makefile = (ROOT / "Makefile").read_text()
    assert [target for target in targets if f"\n{target}:" not in makefile] == []
    known = {" ".join(words) for words in commands(typer.main.get_command(app))}
    assert [command for command in asked if command not in known] == []


def test_every_promise_names_its_proof():
    """No line of the promises is without something to run."""
    promises = GUARANTEES.partition("## ")[0].splitlines()
    rows = [line for line in promises if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) > 10
    assert [row[:60] for row in rows if "`" not in row.split("|")[3]] == []
