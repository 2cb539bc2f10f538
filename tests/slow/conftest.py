"""One browser for all tests of pages, and a reader of pages that must stay silent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browsing import Reader, chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture
def reader(browser: Any) -> Iterator[Reader]:
    """Opens pages; when the test ends, they must have asked for nothing and said nothing."""
    made = Reader(browser)
    yield made
    made.close()
