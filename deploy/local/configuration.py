"""The settings of one process, handed to the processes that it starts: a document, a file, an environment."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.settings import Settings


def as_document(settings: Settings) -> dict[str, Any]:
    """Return every setting that has a value, as JSON has it; paths are absolute, they are read in another directory."""
    document: dict[str, Any] = settings.model_dump(exclude_none=True)
    return {key: _plain(value) for key, value in document.items()}


def of_document(document: Mapping[str, Any]) -> Settings:
    """Return the settings that a document was made of; what it leaves out is the environment's, so start without."""
    return Settings(**document)


def as_toml(document: Mapping[str, Any]) -> str:
    """Return a document as the file that CHARGELINE_CONFIG names. Its strings are JSON's, which TOML reads the same."""
    lines = [f"{key} = {_toml(value)}" for key, value in document.items() if not isinstance(value, dict)]
    for section, values in document.items():
        if isinstance(values, dict):
            lines += ["", f"[{section}]", *(f"{key} = {_toml(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment less everything that configures chargeline, but for the namespace: that is no setting."""
    kept = "CHARGELINE_NAMESPACE"
    return {name: value for name, value in environment.items() if not name.startswith("CHARGELINE_") or name == kept}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return str(value.absolute()) if isinstance(value, Path) else value


def _toml(value: Any) -> str:
    assert isinstance(value, str | int | float | list), "a setting is text, a number, yes or no, or a list of them"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
