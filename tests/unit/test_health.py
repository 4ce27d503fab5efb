"""What a process says over HTTP: it lives, it is ready or why not, and its metrics."""

import json
import urllib.error
import urllib.request
from contextlib import closing

import pytest

from pipeline.adapters import health, logs
from pipeline.adapters.metrics import Metrics


def get(server, path, method="GET"):
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture
def checks():
    return {"broker": None, "directory": None}


@pytest.fixture
def server(checks):
    with closing(health.serve("127.0.0.1", 0, lambda: checks, Metrics("mediate"))) as server:
        yield server


def test_ready_when_every_check_passes(server):
    """200 and one word; `?verbose` names the checks."""
    assert get(server, "/readyz") == (200, "ok\n")
    assert get(server, "/readyz?verbose") == (200, "[+]broker ok\n[+]directory ok\nok\n")


def test_not_ready_names_what_fails(server, checks):
    """503 with the failing checks alone; all of them when asked."""
    checks["directory"] = "not read yet"
    assert get(server, "/readyz") == (503, "[-]directory failed: not read yet\nnot ready\n")
    assert get(server, "/readyz?verbose")[1].startswith("[+]broker ok\n[-]directory failed")


def test_a_draining_process_is_alive_and_not_ready(server):
    """No new work is sent to it, and nobody kills it for finishing the old."""
    server.drain()
    assert get(server, "/readyz")[0] == 503
    assert get(server, "/livez") == (200, "ok\n")


def test_liveness_asks_no_check(server, checks):
    """A process is not restarted because something else is down."""
    checks["broker"] = "gone"
    assert get(server, "/livez") == (200, "ok\n")


def test_metrics_are_what_the_process_counts(server):
    """In the text format, with the type a scraper expects."""
    status, text = get(server, "/metrics")
    assert (status, "chargeline_mediate_records_total 0.0" in text) == (200, True)


def test_other_paths_are_not_there(server):
    """404, and no file of this machine."""
    assert get(server, "/../../etc/passwd")[0] == 404
    assert get(server, "/")[0] == 404


def test_head_has_no_body(server):
    """Probes that ask for the head alone get it."""
    assert get(server, "/readyz", "HEAD") == (200, "")


def test_a_check_that_raises_is_no_readiness(capsys):
    """The request fails, the log says why, and the server goes on."""

    def broken():
        raise LookupError("broken check")

    logs.configure("info")
    with closing(health.serve("127.0.0.1", 0, broken, Metrics("mediate"))) as server:
        with pytest.raises(OSError, match="closed"):
            get(server, "/readyz")
        assert get(server, "/livez")[0] == 200
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["error"][0]["message"]) == ("health_request_failed", "broken check")


def test_a_taken_port_is_an_error():
    """Two processes on one port are told so at the start."""
    with (
        closing(health.serve("127.0.0.1", 0, dict, Metrics("mediate"))) as server,
        pytest.raises(OSError, match="in use"),
    ):
        health.serve("127.0.0.1", server.port, dict, Metrics("mediate"))
