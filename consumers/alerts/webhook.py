"""One webhook after Standard Webhooks: made, signed, sent. The only importer of the library that signs.

https://www.standardwebhooks.com: `webhook-id` is the same in every attempt, `webhook-timestamp` is the attempt's, and
`webhook-signature` has one signature for each secret. A redirect is not followed: it is a failure, as every answer but
2xx. No address, no secret and nothing that a receiver says is repeated in an error.
"""

import base64
import binascii
import http.client
import json
import secrets
import socket
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NamedTuple

import standardwebhooks

from consumers.alerts.address import Network, RefusedAddressError, Target, target
from pipeline.adapters.ledger_codec import iso_time

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
SECRET_BYTES_MIN: Final = 24
SECRET_BYTES_MAX: Final = 64
"""The scheme's own bounds."""
_ANSWER_BYTES_MAX: Final = 65_536
_RETRY_AFTER_MAX_S: Final = 86_400


class SecretError(RuntimeError):
    """A file has no secret that signs; the message names the fault, never what is in the file."""


class Outcome(NamedTuple):
    """What came of an attempt: `error` is None where the receiver has it."""

    error: str | None
    gone: bool = False
    retry_after_s: int | None = None


def new_secret() -> str:
    """Return a fresh secret as the scheme writes it."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def secrets_of(path: Path) -> list[str]:
    """Read the secrets of a file, one a line, the newest first; raises SecretError."""
    try:
        found = [line.strip() for line in path.read_text("ascii").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise SecretError(f"the file of the secret cannot be read: {type(error).__name__}") from None
    if not found:
        raise SecretError("the file of the secret is empty")
    for text in found:
        try:
            size = len(base64.b64decode(text.removeprefix(PREFIX), validate=True))
        except binascii.Error:
            raise SecretError(f"a secret is {PREFIX} and base64") from None
        if not SECRET_BYTES_MIN <= size <= SECRET_BYTES_MAX:
            raise SecretError(f"a secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes")
    return found


def message(kind: str, happened_ms: int, data: dict[str, Any]) -> bytes:
    """Return the body of a webhook: the same in each attempt, to the byte."""
    document = {"type": kind, "timestamp": iso_time(happened_ms), "data": data}
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def headers(webhook_id: str, body: bytes, signing: Iterable[str], now: datetime) -> dict[str, str]:
    """Return what Standard Webhooks puts into headers; `now` is the attempt's time."""
    signed = [standardwebhooks.Webhook(secret).sign(webhook_id, now, body.decode()) for secret in signing]
    return {
        "Content-Type": "application/json",
        "User-Agent": "chargeline",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signed),
    }


def send(
    url: str, webhook_id: str, body: bytes, secret_file: Path, allowed: tuple[Network, ...], timeout_s: int
) -> Outcome:
    """Make one attempt; whatever goes wrong is an outcome."""
    try:
        sent = headers(webhook_id, body, secrets_of(secret_file), datetime.now(UTC))
        return _post(target(url, allowed), body, sent, timeout_s)
    except SecretError as error:
        return Outcome(str(error))
    except RefusedAddressError as error:
        return Outcome(f"refused: {error}")
    except TimeoutError:
        return Outcome("no answer in time")
    except (OSError, UnicodeError, http.client.HTTPException) as error:  # a name that is none, too
        return Outcome(f"not reached: {type(error).__name__}")


def _post(where: Target, body: bytes, sent: dict[str, str], timeout_s: int) -> Outcome:
    connection = _Https(where, timeout_s) if where.scheme == "https" else _Http(where, timeout_s)
    try:
        connection.request("POST", where.path, body, sent)
        answer = connection.getresponse()
        answer.read(_ANSWER_BYTES_MAX)
        if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return Outcome(None)
        after = answer.headers.get("Retry-After", "")
        wait_s = min(int(after), _RETRY_AFTER_MAX_S) if after.isascii() and after.isdecimal() else None
        return Outcome(f"answered {answer.status}", answer.status == HTTPStatus.GONE, wait_s)
    finally:
        connection.close()


class _Http(http.client.HTTPConnection):
    """Connects to an address that was judged, whatever the name says by now."""

    def __init__(self, where: Target, timeout_s: int) -> None:
        super().__init__(where.host, where.port, timeout=timeout_s)
        self._where = where

    def connect(self) -> None:
        self.sock = _connected(self._where, self.timeout)


class _Https(http.client.HTTPSConnection):
    """The same, and the certificate is the name's."""

    def __init__(self, where: Target, timeout_s: int) -> None:
        self._tls = ssl.create_default_context()
        super().__init__(where.host, where.port, timeout=timeout_s, context=self._tls)
        self._where = where

    def connect(self) -> None:
        self.sock = self._tls.wrap_socket(_connected(self._where, self.timeout), server_hostname=self._where.host)


def _connected(where: Target, timeout_s: float | None) -> socket.socket:
    failure: OSError | None = None
    for address in where.addresses:
        try:
            return socket.create_connection((address, where.port), timeout_s)
        except OSError as error:
            failure = error
    assert failure is not None, "a target has an address"
    raise failure
