"""Webhooks: signed so that the reference library agrees, and sent nowhere but where they may go."""

import json
import socket
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address

import pytest
import standardwebhooks

from consumers.alerts.address import RefusedAddressError, is_public, networks, parts_of, target
from consumers.alerts.webhook import SecretError, headers, message, new_secret, secrets_of, send

LOOPBACK = networks(["127.0.0.0/8"])


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "2001:db8::1",
        "::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::1", "2002:a00:1::1",
    ],
)  # fmt: skip
def test_no_private_address_is_public(text):
    """Loopback, link-local with the clouds' metadata, carriers' own, multicast; and IPv4 carried within IPv6."""
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", ["93.184.216.34", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_the_open_internet_is_public(text):
    """Also through a network that has IPv6 alone."""
    assert is_public(ip_address(text))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://desk.example/", "file:///etc/passwd", "desk.example", "https://", "https://user:word@desk.example/",
        "https://desk.example:99999/", "https://desk.example/a b", "https://desk.example/\r\nX: y", "https://désk.example/",
    ],
)  # fmt: skip
def test_what_is_no_receiver_is_refused(url):
    """A URL is https (or http), a host, and nothing that hides a password or a header."""
    with pytest.raises(RefusedAddressError):
        parts_of(url)


def addresses(monkeypatch, *texts):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, 443)) for text in texts]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def test_every_address_of_a_name_is_judged(monkeypatch):
    """One private address among public ones refuses the name; a network that is allowed is excepted."""
    addresses(monkeypatch, "93.184.216.34", "10.0.0.7")
    with pytest.raises(RefusedAddressError, match="private address"):
        target("https://desk.example/hook", ())
    assert target("https://desk.example/hook?a=1", networks(["10.0.0.0/24"])).addresses == ("93.184.216.34", "10.0.0.7")
    with pytest.raises(RefusedAddressError, match="without TLS"):
        target("http://desk.example/hook", networks(["10.0.0.0/24"]))


def test_each_secret_signs_for_the_reference_library(tmp_path):
    """While a secret is replaced, receivers with the old one and with the new one both believe."""
    secrets = [new_secret(), new_secret()]
    (tmp_path / "s").write_text("\n".join(secrets) + "\n")
    body = message("alert.open", 0, {"object": "account-王"})
    sent = headers("id-1", body, secrets_of(tmp_path / "s"), datetime.now(UTC))
    for secret in secrets:
        assert standardwebhooks.Webhook(secret).verify(body, sent)["data"] == {"object": "account-王"}
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(new_secret()).verify(body, sent)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(secrets[0]).verify(body + b" ", sent)


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!", "geheim-wörd"])
def test_what_is_no_secret_is_refused_unsaid(tmp_path, text):
    """A short or broken one does not sign, and the error does not repeat it."""
    (tmp_path / "s").write_text(text)
    with pytest.raises(SecretError) as raised:
        secrets_of(tmp_path / "s")
    assert not text or text not in str(raised.value)


@pytest.fixture
def receiver():
    """Answers what it is told to, and counts."""

    class Handler(BaseHTTPRequestHandler):
        answer, extra, seen = 200, {}, []

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            type(self).seen.append(self.path)
            self.send_response(self.answer)
            for name, value in {**self.extra, "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_):
            pass

    Handler.seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    Handler.url = f"http://127.0.0.1:{server.server_port}/hook?x=1"
    yield Handler
    server.shutdown()
    server.server_close()


@pytest.fixture
def secret(tmp_path):
    (tmp_path / "secret").write_text(new_secret())
    return tmp_path / "secret"


@pytest.mark.parametrize(
    ("answer", "extra", "error", "gone", "after"),
    [
        (204, {}, None, False, None),
        (302, {"Location": "/elsewhere"}, "answered 302", False, None),
        (429, {"Retry-After": "120"}, "answered 429", False, 120),
        (503, {"Retry-After": "99999999"}, "answered 503", False, 86_400),
        (503, {"Retry-After": "soon"}, "answered 503", False, None),
        (410, {}, "answered 410", True, None),
    ],
)
def test_what_an_answer_means(receiver, secret, answer, extra, error, gone, after):
    """2xx is delivered; a redirect is not followed; Retry-After is heard, within a day; 410 is for good."""
    receiver.answer, receiver.extra = answer, extra
    assert send(receiver.url, "id", b"{}", secret, LOOPBACK, 5) == (error, gone, after)
    assert receiver.seen == ["/hook?x=1"]


def test_a_private_receiver_is_never_asked(receiver, secret):
    """Without its network allowed, nothing is connected."""
    outcome = send(receiver.url, "id", b"{}", secret, (), 5)
    assert outcome.error is not None
    assert outcome.error.startswith("refused: it has a private address")
    assert receiver.seen == []


def test_nobody_there_is_an_outcome(secret, tmp_path):
    """No answer, no file of the secret: said without an address, never raised."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        assert send(f"http://127.0.0.1:{port}/", "id", b"{}", secret, LOOPBACK, 1).error == (
            "not reached: ConnectionRefusedError"
        )
        silent.listen()
        assert send(f"http://127.0.0.1:{port}/", "id", b"{}", secret, LOOPBACK, 1).error == "no answer in time"
    long = "a" * 64
    assert send(f"https://{long}.example/", "id", b"{}", secret, LOOPBACK, 1).error.startswith("not reached")
    missing = send("http://127.0.0.1:1/", "id", b"{}", tmp_path / "none", LOOPBACK, 1)
    assert missing.error == "the file of the secret cannot be read: FileNotFoundError"


def test_a_body_is_the_same_each_time():
    """To the byte, so that a signature can be made again."""
    assert message("alert.open", 1_000, {"b": 1, "a": 2}) == message("alert.open", 1_000, {"a": 2, "b": 1})
    assert json.loads(message("alert.open", 1_000, {}))["timestamp"] == "1970-01-01T00:00:01.000Z"
