"""Servers for tests: a machine that cannot start them skips at home, and fails in CI."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

import pytest

from deploy.local.process import LocalServerError
from deploy.local.servers import embedded
from deploy.local.supervision import with_addresses
from pipeline.settings import Settings

Held = TypeVar("Held")


@contextmanager
def real(held: AbstractContextManager[Held]) -> Iterator[Held]:
    """Enter what starts servers; only the start may skip, whatever happens afterwards is the test's."""
    with ExitStack() as stack:
        try:
            entered = stack.enter_context(held)
        except LocalServerError as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"no servers here: {error}")
        yield entered


@contextmanager
def own_servers(settings: Settings) -> Iterator[Settings]:
    """Settings of servers in a folder of their own; those that the settings name are not started."""
    with real(embedded(settings)) as addresses:
        yield with_addresses(settings, addresses)
