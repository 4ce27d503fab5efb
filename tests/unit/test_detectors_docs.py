"""docs/detectors.md says every detector and every parameter with the default that holds."""

from pathlib import Path

import pytest

from pipeline.domain.detectors import DETECTORS
from pipeline.domain.detectors.engine import make_parts
from pipeline.domain.detectors.parameters import DetectorParameters
from pipeline.domain.detectors.ranges import HOT, Prefixes
from pipeline.domain.detectors.use import Reference

DOC = (Path(__file__).resolve().parents[2] / "docs" / "detectors.md").read_text("utf-8")
REFERENCE = Reference("+86", frozenset(), Prefixes(HOT), {})
NAMES = sorted(
    {part.name for part in make_parts(DetectorParameters(), REFERENCE, priced=True, totals=True)} | {*DETECTORS}
)


def test_there_are_twenty_four_detectors():
    """As many as alerts may be of."""
    assert len(NAMES) == 24


@pytest.mark.parametrize("name", NAMES)
def test_every_detector_has_its_section(name):
    """A heading names it."""
    headings = [line for line in DOC.splitlines() if line.startswith("### ")]
    assert any(f"`{name}`" in line for line in headings)


@pytest.mark.parametrize("group", DetectorParameters._fields)
def test_every_parameter_is_there_with_its_default(group):
    """In the order in which the detector has them, so that none is of another detector."""
    values = getattr(DetectorParameters(), group)._asdict()
    table = "| parameter | default |\n|---|---|\n" + "".join(
        f"| `{name}` | {value} |\n" for name, value in values.items()
    )
    assert table in DOC
