"""Mending config.json and generation_config.json."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.edit import Edit, SetJson
from modelcheck.finding import Finding
from modelcheck.fixer import fixer


@fixer("use-cache-false", safe=True)
def switch_the_cache_on(finding: Finding) -> Iterator[Edit]:
    """Switch the key-value cache on."""
    yield SetJson(str(finding.file), str(finding.at), value=True)
