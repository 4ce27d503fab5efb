"""The rules of the house: where arrows point, who may import what, and what no file says."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("pipeline", "consumers", "deploy", "schemas")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
DOMAIN = [path for path in SOURCES if path.is_relative_to(ROOT / "pipeline" / "domain")]
TEXTS = sorted(
    path
    for folder in (*PACKAGES, "docs")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".md", ".lua", ".avsc", ".yaml", ".toml", ".conf", ".sh", ".html", ".js", ".css"}
    and "node_modules" not in path.parts
) + [path for path in (ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "Makefile") if path.exists()]
LINES_MAX = 400

CLIENTS = {
    "confluent_kafka": "pipeline/adapters/kafka/client.py",
    "faust": "pipeline/adapters/faust_app.py",
    "redis": "pipeline/adapters/store/redis.py",
    "fastavro": "pipeline/adapters/avro.py",
    "prometheus_client": "pipeline/adapters/metrics.py",
    "structlog": "pipeline/adapters/logs.py",
    "standardwebhooks": "consumers/alerts/webhook.py",
    "yaml": None,
    "phonenumbers": None,
}
"""Each third-party client, and the one file that may import it (None: any one)."""

FLOOR = "deploy/bench/floor.py"
"""Measures what the bare libraries can do, so it is made of them and of nothing of ours."""

NOT_IN_THE_DOMAIN = {
    "asyncio", "datetime", "decimal", "io", "logging", "os", "pathlib", "queue", "random", "secrets", "select", "socket",
    "ssl", "subprocess", "tempfile", "threading", "time", "urllib", "uuid", "zoneinfo",
}  # fmt: skip

PRIVATE_WORDS = re.compile(
    r"/work\b|shared/|\bcontracts\.md|\bdesign\.md|\bstyle\.md|(?i:\b(?:issue|part) #?\d+\b(?!: rule))|(?i:\bthis session\b)"
)
"""Places and papers that readers do not have, and how the work was cut up."""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), name_of(path))


def imported_by(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno} is a relative import"
            found.add(str(node.module))
    return found


def test_there_is_something_to_check():
    """The rules below hold of real files."""
    assert len(SOURCES) > 20
    assert len(DOMAIN) > 5


@pytest.mark.parametrize("path", DOMAIN, ids=name_of)
def test_no_float_in_the_domain(path):
    """Money is integers from end to end: no float is written, made or divided into being."""
    for node in ast.walk(tree_of(path)):
        where = f"{name_of(path)}:{getattr(node, 'lineno', 0)}"
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float | complex)), where
        assert not (isinstance(node, ast.Name) and node.id in {"float", "complex"}), where
        assert not (isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div)), where


@pytest.mark.parametrize("path", DOMAIN, ids=name_of)
def test_the_domain_waits_for_nothing(path):
    """The domain is pure: no clock, chance, file, network, log or thread, and nothing but itself of this project."""
    roots = {module.partition(".")[0] for module in imported_by(path)}
    assert not roots & NOT_IN_THE_DOMAIN
    own = {module for module in imported_by(path) if module.partition(".")[0] in PACKAGES}
    assert all(module == "pipeline.domain" or module.startswith("pipeline.domain.") for module in own)
    for node in ast.walk(tree_of(path)):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await)
        calls = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        assert not (calls and node.func.id in {"open", "print", "input"}), f"{name_of(path)}:{node.lineno}"


@pytest.mark.parametrize("client", CLIENTS)
def test_each_client_is_imported_in_one_file(client):
    """What a library does to us is known in one place."""
    importers = [name_of(path) for path in SOURCES if client in {m.partition(".")[0] for m in imported_by(path)}]
    importers = [name for name in importers if name != FLOOR]
    assert len(importers) <= 1, f"{client} is imported by {importers}"
    assert CLIENTS[client] is None or importers in ([], [CLIENTS[client]])


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_is_read_at_a_sitting(path):
    """No source file is longer than 400 lines."""
    assert len(path.read_text("utf-8").splitlines()) <= LINES_MAX


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_files_speak_of_the_product_alone(path):
    """No file names a place or a paper that its readers do not have."""
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        found = PRIVATE_WORDS.search(line)
        assert found is None, f"{name_of(path)}:{number} says {found.group()!r}"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_exception_is_swallowed(path):
    """A handler of everything ends in an error or a value, never in nothing."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ExceptHandler):
            where = f"{name_of(path)}:{node.lineno}"
            assert node.type is not None, where
            broad = isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}
            assert not (broad and all(isinstance(step, ast.Pass | ast.Continue) for step in node.body)), where


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_module_says_what_it_is(path):
    """Each file begins with a sentence."""
    assert ast.get_docstring(tree_of(path))


def test_every_test_states_its_rule():
    """Each test has a docstring: the rule that it proves."""
    silent = [
        f"{name_of(path)}:{node.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert not silent


def test_every_test_module_has_a_name_of_its_own():
    """The folders of tests are no packages: of two files of one name, the first that is imported hides the other."""
    found = Counter(path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py")
    assert [name for name, times in found.items() if times > 1] == []
