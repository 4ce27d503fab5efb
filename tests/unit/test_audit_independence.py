"""The auditor shares the ledger's encoding with charge, and none of its arithmetic."""

import ast
from pathlib import Path

import pytest

import consumers.audit

FILES = sorted(Path(consumers.audit.__file__).parent.rglob("*.py"))
OF_CHARGE = {
    "pipeline.charge", "pipeline.mediate", "pipeline.domain.charging", "pipeline.domain.rating", "pipeline.domain.meter",
    "pipeline.domain.batch", "pipeline.domain.seal", "pipeline.domain.allowances", "pipeline.domain.discounts",
    "pipeline.domain.fees", "pipeline.domain.money", "pipeline.domain.sessions", "pipeline.domain.account",
    "pipeline.domain.limits", "pipeline.adapters.snapshots", "pipeline.domain.wire_replay",
}  # fmt: skip
OF_THE_FOLD = {"fold", "Writes", "head_fields", "decode_bare_event", "chain_hash"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_auditor_computes_by_itself(path):
    """No file of it imports the fold, the rating core, or anything of charge."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        modules = {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
        if isinstance(node, ast.ImportFrom):
            modules = {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
            assert not {alias.name for alias in node.names} & OF_THE_FOLD
        assert not [m for m in modules if any(m == other or m.startswith(f"{other}.") for other in OF_CHARGE)]
