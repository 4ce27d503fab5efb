"""Schemas by number, from a schema registry: what the number in a record's Confluent framing stands for.

Numbers are only a way to name a schema: what counts is whether it is one of those ever published for the contract, by
the fingerprint of its canonical form. A registry that cannot be asked says nothing about a record, so that is a wait;
only its "no such schema" is an answer.
"""

import json
from collections.abc import Iterable
from http import HTTPStatus
from http.client import HTTPException
from typing import Final
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from pipeline.adapters.avro import Contract, schema_fingerprint, without_logical_types

ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
"""An answer beyond it is none: no schema is so long."""


class RegistryUnreachableError(RuntimeError):
    """The registry did not answer, or not to the question; ask again later."""


class Registry:
    """A client of one registry for one contract. What it once said of a number holds for ever and is asked once."""

    def __init__(self, url: str, timeout_s: int, contract: Contract) -> None:
        """Check the address only; raises ValueError where it is not http or https."""
        if urlsplit(url).scheme not in {"http", "https"}:
            raise ValueError("the schema registry's address must begin with http:// or https://")
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._contract = contract
        self._fingerprints: dict[int, bytes] = {}

    def fetch(self, schema_ids: Iterable[int]) -> None:
        """Learn what these numbers stand for; raises RegistryUnreachableError and may then be called again.

        A number the registry does not know is asked again by the next fetch: it may be registered by then.
        """
        for schema_id in schema_ids:
            if schema_id not in self._fingerprints:
                found = self._ask(schema_id)
                if found is not None:  # only those are kept: numbers that a probe makes up would fill the memory
                    self._fingerprints[schema_id] = found

    def fingerprint(self, schema_id: int) -> bytes | None:
        """Return the fingerprint of the contract's schema with this number, fetched before; None where it is none."""
        return self._fingerprints.get(schema_id)

    def _ask(self, schema_id: int) -> bytes | None:
        request = Request(  # noqa: S310 - the scheme was checked
            f"{self._url}/schemas/ids/{schema_id}", headers={"Accept": "application/vnd.schemaregistry.v1+json"}
        )
        try:
            with urlopen(request, timeout=self._timeout_s) as response:  # noqa: S310 - the scheme was checked
                answer = response.read(ANSWER_BYTES_MAX + 1)
        except HTTPError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                return None
            raise RegistryUnreachableError(f"the schema registry answered {error.code}") from None
        except (OSError, HTTPException, ValueError) as error:
            raise RegistryUnreachableError(f"the schema registry did not answer: {type(error).__name__}") from error
        return self.read_answer(answer)

    def read_answer(self, data: bytes) -> bytes | None:
        """Return the fingerprint of the schema in an answer, if it is one of ours; raises RegistryUnreachableError."""
        try:
            answer = json.loads(data) if len(data) <= ANSWER_BYTES_MAX else None
        except (ValueError, RecursionError) as error:
            raise RegistryUnreachableError(f"the schema registry answered no JSON: {type(error).__name__}") from None
        if not isinstance(answer, dict) or not isinstance(answer.get("schema"), str):
            raise RegistryUnreachableError("the schema registry answered something else than a schema")
        if answer.get("schemaType", "AVRO") != "AVRO":
            return None
        try:
            found = schema_fingerprint(without_logical_types(json.loads(answer["schema"])))
        except Exception:  # noqa: BLE001 - whatever is wrong with a stranger's schema, it is not one of ours
            return None
        return found if found in self._contract.fingerprints else None
