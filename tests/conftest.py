"""What tests share: real servers, started here, and how hard property tests try."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from real_servers import own_servers

from pipeline.settings import Settings

hypothesis.settings.register_profile("default", deadline=None, print_blob=True)
hypothesis.settings.register_profile(
    "soak", parent=hypothesis.settings.get_profile("default"), max_examples=int(os.environ.get("SEEDS", "20000"))
)
hypothesis.settings.load_profile("default")


@pytest.fixture(autouse=True)
def _own_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test is configured by the shell it is run from."""
    for name in [name for name in os.environ if name.startswith("CHARGELINE_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a broker and a Redis that all tests share: bring topics and keys of your own, flush nothing."""
    with own_servers(Settings(data_dir=tmp_path_factory.mktemp("servers"))) as settings:
        yield settings


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Settings]:
    """Settings of a fresh broker and a fresh Redis, without topics, for this test alone (some seconds)."""
    with own_servers(Settings(data_dir=tmp_path / "servers")) as settings:
        yield settings
