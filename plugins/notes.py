"""What is no failure and yet must be read: kept with the item's report, shown at the end.

No Python warning: `-W error` would make a failure of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

NOTE = "modelcheck warning"


def note(item: pytest.Item, text: str) -> None:
    """Tell it with the item."""
    item.user_properties.append((NOTE, text))


def notes(report: pytest.TestReport) -> Iterator[str]:
    """What was told with an item. A report that came from another process has lists for pairs."""
    for name, value in report.user_properties:
        if name == NOTE:
            yield str(value)
