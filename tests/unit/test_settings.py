"""Settings come from the environment, then a file, then defaults; what is not known is refused."""

from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from pipeline.settings import Settings


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """No variable of the machine reaches these tests."""
    import os

    for name in list(os.environ):
        if name.startswith("CHARGELINE"):
            monkeypatch.delenv(name)


@pytest.fixture
def config(tmp_path, monkeypatch):
    def write(text: str) -> Path:
        path = tmp_path / "chargeline.toml"
        path.write_text(text)
        monkeypatch.setenv("CHARGELINE_CONFIG", str(path))
        return path

    return write


def test_defaults():
    """Nothing set: the embedded servers, and the limits of the documentation."""
    settings = Settings()
    assert settings.kafka.bootstrap_servers is None
    assert settings.redis.url is None
    assert settings.kafka.ledger_partitions == 8
    assert settings.charge.late_window_days == 35


def test_the_environment_nests_by_two_underscores(monkeypatch):
    """CHARGELINE_<SECTION>__<NAME> sets a section's value; top-level names have no section."""
    monkeypatch.setenv("CHARGELINE_KAFKA__BOOTSTRAP_SERVERS", "broker:9092")
    monkeypatch.setenv("CHARGELINE_REDIS__URL", "redis://view:6379/0")
    monkeypatch.setenv("CHARGELINE_CHARGE__LATE_WINDOW_DAYS", "40")
    monkeypatch.setenv("CHARGELINE_DATA_DIR", "/var/lib/chargeline")
    settings = Settings()
    assert settings.kafka.bootstrap_servers == "broker:9092"
    assert settings.redis.url == "redis://view:6379/0"
    assert settings.charge.late_window_days == 40
    assert settings.data_dir == Path("/var/lib/chargeline")


def test_the_environment_stands_over_the_file(monkeypatch, config):
    """A value in both is the environment's; others of the same section stay the file's."""
    config('log_level = "debug"\n[kafka]\nbootstrap_servers = "file:1"\nreplication_factor = 3\n')
    monkeypatch.setenv("CHARGELINE_KAFKA__BOOTSTRAP_SERVERS", "env:1")
    settings = Settings()
    assert settings.kafka.bootstrap_servers == "env:1"
    assert settings.kafka.replication_factor == 3
    assert settings.kafka.min_insync_replicas == 1
    assert settings.log_level == "debug"


def test_an_empty_variable_is_no_value(monkeypatch):
    """An empty variable leaves the default, as in compose files with unset values."""
    monkeypatch.setenv("CHARGELINE_KAFKA__BOOTSTRAP_SERVERS", "")
    assert Settings().kafka.bootstrap_servers is None


@pytest.mark.parametrize("text", ["typo = 1\n", "[kafka]\ntypo = 1\n", "[typo]\nx = 1\n"])
def test_an_unknown_key_of_the_file_is_refused(config, text):
    """A misspelt key would otherwise leave a default in force, unseen."""
    config(text)
    with pytest.raises(ValidationError, match="typo"):
        Settings()


@pytest.mark.parametrize("name", ["CHARGELINE_KAFKA__TYPO", "CHARGELINE_CHARGE__LATE_WINDOW"])
def test_an_unknown_variable_of_a_section_is_refused(monkeypatch, name):
    """The same for a section's variable."""
    monkeypatch.setenv(name, "1")
    with pytest.raises(ValidationError):
        Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CHARGE__LATE_WINDOW_DAYS", "0"),
        ("CHARGE__BATCH_RECORDS", "2001"),
        ("KAFKA__LEDGER_PARTITIONS", "-1"),
        ("HTTP__CHARGE_PORT", "65536"),
        ("MEDIATE__COUNTRY_CODE", "+86"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_a_value_out_of_bounds_is_refused(monkeypatch, name, value):
    """Every limit has bounds of its own."""
    monkeypatch.setenv(f"CHARGELINE_{name}", value)
    with pytest.raises(ValidationError):
        Settings()


def test_settings_are_frozen():
    """A process runs with what it began with."""
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.log_level = "debug"
    with pytest.raises(ValidationError):
        settings.kafka.bootstrap_servers = "x"


def test_every_setting_says_what_it_is():
    """Each setting has a description, and each number its unit in its name or what it counts."""
    for name, section in Settings.model_fields.items():
        kind = section.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            undescribed = [f"{name}.{key}" for key, field in kind.model_fields.items() if not field.description]
            assert not undescribed
        else:
            assert section.description, name
