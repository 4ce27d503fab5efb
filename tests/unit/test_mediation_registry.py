"""Records framed by a schema registry: the number is only a name; silence is a wait, "no such schema" an answer."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import schemas
from pipeline.adapters.avro import USAGE_RECORD
from pipeline.adapters.registry import Registry, RegistryUnreachableError
from pipeline.adapters.usage_codec import UsageDecoder
from pipeline.domain.outcome import Refusal

RECORD = {"record_id": "r-1", "source": "msc", "service": "SMS", "direction": "MO", "start_time": 1, "message_count": 1}
BODY = USAGE_RECORD.encode(RECORD)[10:]
PUBLISHED = json.dumps(schemas.read("usage_record.v1"))
OTHER = json.dumps({"type": "record", "name": "UsageRecord", "namespace": "charging.v1", "fields": []})


def framed(schema_id, body=BODY):
    return b"\0" + schema_id.to_bytes(4, "big") + body


@contextmanager
def registry_server(answers):
    """A registry that answers (status, body) by path and notes what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            status, body = answers.get(self.path, (404, b'{"error_code":40403}'))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def schema(text, **more):
    return 200, json.dumps({"schema": text, **more}).encode()


def decoder_for(url):
    return UsageDecoder(Registry(url, 2, USAGE_RECORD))


def test_a_framed_record_is_the_record():
    """The same body under a registry's number decodes as under the fingerprint, and the number is asked once."""
    with registry_server({"/schemas/ids/7": schema(PUBLISHED)}) as (url, asked):
        decoder = decoder_for(url + "/")
        for _ in range(3):
            decoder.prepare([framed(7), framed(7), USAGE_RECORD.encode(RECORD), None, b"\0"])
            assert decoder.decode(framed(7)) == decoder.decode(USAGE_RECORD.encode(RECORD))
    assert asked == ["/schemas/ids/7"]


def test_white_space_and_docs_make_no_other_schema():
    """What counts is the canonical form."""
    dressed = json.dumps({**schemas.read("usage_record.v1"), "doc": "ours"}, indent=4)
    with registry_server({"/schemas/ids/7": schema(dressed, schemaType="AVRO")}) as (url, _):
        decoder = decoder_for(url)
        decoder.prepare([framed(7)])
        assert decoder.decode(framed(7)).record_id == "r-1"


@pytest.mark.parametrize(
    "answer",
    [(404, b""), schema(OTHER), schema("not json"), schema('"nonsense"'), schema(PUBLISHED, schemaType="PROTOBUF")],
)
def test_a_schema_that_is_not_ours_is_unknown(answer):
    """Whatever else the registry holds, a record of another schema is a dead letter with its number."""
    with registry_server({"/schemas/ids/9": answer}) as (url, _):
        decoder = decoder_for(url)
        decoder.prepare([framed(9)])
        assert decoder.decode(framed(9)) == Refusal("unknown_schema", {"schema_id": 9})


def test_a_number_unknown_today_is_asked_again():
    """A schema registered a moment later is found by the next batch."""
    answers = {}
    with registry_server(answers) as (url, _):
        decoder = decoder_for(url)
        decoder.prepare([framed(7)])
        assert isinstance(decoder.decode(framed(7)), Refusal)
        answers["/schemas/ids/7"] = schema(PUBLISHED)
        decoder.prepare([framed(7)])
        assert decoder.decode(framed(7)).record_id == "r-1"


def test_numbers_made_up_take_no_memory():
    """A probe may name any of four thousand million schemas: only those that are ours are remembered."""
    with registry_server({"/schemas/ids/7": schema(PUBLISHED), "/schemas/ids/8": schema(OTHER)}) as (url, asked):
        registry = Registry(url, 2, USAGE_RECORD)
        for _ in range(2):
            registry.fetch(range(50))
        assert registry.fingerprint(7) == USAGE_RECORD.fingerprint
        assert len(registry._fingerprints) == 1
        assert asked.count("/schemas/ids/7") == 1


@pytest.mark.parametrize(
    "answer",
    [
        (500, b""),
        (401, b""),
        (429, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b"[" * 100_000),
        (200, b" " * 5_000_000),
    ],
)
def test_no_answer_is_a_wait(answer):
    """An error of the registry, or something in between, says nothing about the record."""
    with registry_server({"/schemas/ids/7": answer}) as (url, _):
        decoder = decoder_for(url)
        with pytest.raises(RegistryUnreachableError):
            decoder.prepare([framed(7)])


def test_nobody_there_is_a_wait():
    """So is a closed port."""
    with registry_server({}) as (url, _):
        pass
    with pytest.raises(RegistryUnreachableError):
        decoder_for(url).prepare([framed(7)])


@pytest.mark.parametrize("value", [b"\0", b"\0\0\0\0", framed(7, BODY + b"\0"), framed(7, b"")])
def test_a_framed_value_is_decoded_as_strictly(value):
    """Too short a frame, or a body with a byte too many, is undecodable."""
    with registry_server({"/schemas/ids/7": schema(PUBLISHED)}) as (url, _):
        decoder = decoder_for(url)
        decoder.prepare([value])
        assert decoder.decode(value).reason == "undecodable"


def test_without_a_registry_the_framing_is_not_known():
    """Nobody is asked about a number where no registry is set."""
    assert UsageDecoder().decode(framed(7)).reason == "undecodable"


def test_only_http_is_spoken():
    """An address of another kind refuses to start."""
    with pytest.raises(ValueError, match="http"):
        Registry("file:///etc/passwd", 1, USAGE_RECORD)
