"""What an operator can set and watch is written down."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from pipeline.adapters.metrics import DEFINITIONS
from pipeline.settings import Settings

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guide-operator.md").read_text()


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
