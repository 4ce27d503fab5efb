"""The wheel is whole: installed on its own, somewhere else, it runs the demo."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from command_line import clean_environment

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("consumers", "deploy", "pipeline", "schemas")
DATA = {".avsc", ".lua", ".yaml", ".csv", ".jsonl", ".conf", ".typed"}
BUILT_FROM = ("pyproject.toml", "setup.py", "README.md", *PACKAGES)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it of a copy of the sources, without compiling the core, and without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(ROOT / name, folder / name)
    run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", folder],
        folder,
        {**clean_environment(), "CHARGELINE_COMPILE": "never"},
    )
    (built,) = (folder / "dist").glob("*.whl")
    return built


def run(command: list[object], cwd: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


def test_the_data_is_inside(wheel):
    """Each schema, script, tariff and table that lies in a package is in the wheel, and nothing but packages is."""
    names = set(zipfile.ZipFile(wheel).namelist())
    data = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in DATA or path.name == "py.typed"
    }
    assert {Path(name).suffix for name in data} >= {".avsc", ".lua", ".yaml", ".csv"}
    assert data <= names
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)


@pytest.mark.faults
def test_the_wheel_runs_the_demo(wheel, tmp_path):
    """In an empty environment, from a directory that is not the checkout, the demo ends with balanced books."""
    home = tmp_path / "home"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    environment = {**clean_environment(), "TMPDIR": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
    environment.pop("PYTHONPATH", None)
    environment.pop("VIRTUAL_ENV", None)
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "--no-index", "--no-deps", wheel], tmp_path, environment)
    lend_libraries(home)

    where = "import consumers, deploy, pipeline, schemas; print(deploy.__file__, schemas.__file__)"
    for path in run([python, "-c", where], tmp_path, environment).stdout.split():
        assert Path(path).is_relative_to(home), "the packages are those of the wheel"
    done = run([home / "bin" / "chargeline", "demo"], tmp_path, environment)
    assert [line for line in done.stdout.splitlines() if line.startswith("books balance: ")]
    assert not list(tmp_path.glob("chargeline-demo-*"))


def lend_libraries(home: Path) -> None:
    """Put the libraries of this environment behind those of the other one: nothing is downloaded.

    Lent are paths alone, so an editable install of this checkout, which is a hook, does not come along.
    """
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (theirs,) = home.glob("lib/python*/site-packages")
    (theirs / "lent.pth").write_text(os.linesep.join(ours))
