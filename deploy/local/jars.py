"""The broker's jars: a folder that was given, or fetched once for all instances of this user, each held to its hash."""

import csv
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Final, NamedTuple

from deploy.local.folder import locked
from deploy.local.process import LocalServerError
from pipeline.settings import Settings

KAFKA: Final = "4.3.1"
FETCHES_AT_ONCE: Final = 8
FETCH_ATTEMPTS: Final = 3
HELP: Final = (
    "Give a folder with the jars (`libs` of a Kafka distribution) as CHARGELINE_LOCAL__KAFKA_JARS, another repository "
    "as CHARGELINE_LOCAL__MAVEN_REPOSITORY, or use a broker of your own: CHARGELINE_KAFKA__BOOTSTRAP_SERVERS"
)


class Jar(NamedTuple):
    """One jar: where repositories keep it, and the SHA-256 of its bytes (hex)."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def jars_needed() -> tuple[Jar, ...]:
    """Return the broker and all it needs: exactly these bytes are run, wherever they come from."""
    text = files("deploy.local").joinpath("kafka_jars.csv").read_text()
    return tuple(Jar(**row) for row in csv.DictReader(text.splitlines()))


def find_jars(settings: Settings, progress: Callable[[str], None]) -> Path:
    """Return a folder of the broker's jars, fetching them if need be; raises LocalServerError.

    A fetch that was cut short leaves nothing that a later start would take for whole; a second process waits for the
    first one's fetch and uses it.
    """
    given = settings.local.kafka_jars
    if given is not None:
        if not any(given.glob("kafka_2*.jar")):
            raise LocalServerError(f"CHARGELINE_LOCAL__KAFKA_JARS ({given}) holds no kafka_2….jar. {HELP}.")
        return given.absolute()
    jars = jars_needed()
    cache = cache_home() / "chargeline"
    folder = cache / f"kafka-{KAFKA}-{_fingerprint(jars)}"
    try:
        if _is_whole(folder, jars):
            return folder
        with locked(folder.with_name(f"{folder.name}.lock"), wait=True):
            if not _is_whole(folder, jars):
                _fill(folder, jars, settings.local.maven_repository, progress)
    except OSError as error:
        raise LocalServerError(f"the broker's jars cannot be kept in {cache}: {error.strerror}. {HELP}.") from error
    return folder


def cache_home() -> Path:
    """Return the user's cache home (XDG)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _fingerprint(jars: Sequence[Jar]) -> str:
    return hashlib.sha256("".join(jar.sha256 for jar in jars).encode()).hexdigest()[:12]


def _is_whole(folder: Path, jars: Sequence[Jar]) -> bool:
    return all(_is_good(folder / jar.file_name, jar) for jar in jars)


def _is_good(path: Path, jar: Jar) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256
    except FileNotFoundError:
        return False


def _fill(folder: Path, jars: Sequence[Jar], repository: str | None, progress: Callable[[str], None]) -> None:
    """Fetch into a folder beside, then put it in place as a whole. The caller holds the lock."""
    for left_over in folder.parent.glob(f"{folder.name}.part-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    progress(f"fetching Apache Kafka {KAFKA}, once: {len(jars)} files, 45 MB")
    staging = Path(tempfile.mkdtemp(prefix=f"{folder.name}.part-", dir=folder.parent))
    try:
        _fetch(staging, jars, repository)
        if folder.exists():  # damaged since: its good parts were not worth asking for
            shutil.rmtree(folder)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _fetch(staging: Path, jars: Sequence[Jar], repository: str | None) -> None:
    try:
        from jgo.maven import MavenContext
    except ImportError:
        raise LocalServerError(
            f"no jars for the embedded broker: jgo, which fetches them, is not installed. {HELP}."
        ) from None

    remote = {"configured": repository.rstrip("/")} if repository else None
    with tempfile.TemporaryDirectory(dir=staging) as repository_copy:
        context = MavenContext(repo_cache=Path(repository_copy), remote_repos=remote)

        def fetch(jar: Jar) -> str | None:
            artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact(packaging="jar")
            wrong = None
            for _ in range(FETCH_ATTEMPTS):
                try:
                    fetched = Path(artifact.resolve())
                except (OSError, RuntimeError) as error:  # of the network and its library, of the repository
                    wrong = f"{jar.file_name}: {error}"
                    if artifact.cached_path is not None:
                        artifact.cached_path.unlink(missing_ok=True)
                    continue
                if _is_good(fetched, jar):
                    fetched.rename(staging / jar.file_name)
                    return None
                wrong = f"{jar.file_name}: what was fetched is not what was published (SHA-256)"
                fetched.unlink()
            return wrong

        with ThreadPoolExecutor(FETCHES_AT_ONCE) as pool:
            failed = [wrong for wrong in pool.map(fetch, jars) if wrong is not None]
    if failed:
        raise LocalServerError(
            f"{len(failed)} of the broker's {len(jars)} jars could not be fetched; the first: {failed[0]}. {HELP}."
        )
