"""Avro contracts of every topic: one .avsc a contract and version; every version ever published stays."""

import json
from importlib.resources import files
from typing import Any


def names() -> tuple[str, ...]:
    """Return every published schema as `contract.vN`, sorted."""
    return tuple(sorted(p.name.removesuffix(".avsc") for p in files(__name__).iterdir() if p.name.endswith(".avsc")))


def read(name: str) -> dict[str, Any]:
    """Return one schema (`usage_record.v1`) as JSON; FileNotFoundError for one never published."""
    document: dict[str, Any] = json.loads(files(__name__).joinpath(f"{name}.avsc").read_text("utf-8"))
    return document
