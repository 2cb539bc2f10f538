"""How long `modelcheck --version` takes, and pytest with the plugin, against doing nothing."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from measure import Row, python, show, side_by_side

PLUGIN = "modelcheck.plugins.pytest"


def rows() -> Iterator[Row]:
    """Row 1 of the table."""
    version, nothing = side_by_side(python("-m", "modelcheck", "--version"), python("-c", "pass"), repetitions=21)
    yield Row.paired("modelcheck --version", version, "python -c pass", nothing, 8)
    if find_spec(PLUGIN):
        with TemporaryDirectory() as name:
            test = Path(name) / "test_nothing.py"
            test.write_text("def test_nothing():\n    pass\n")
            plain = python("-m", "pytest", "-q", str(test))
            ours, theirs = side_by_side(plain, [*plain, "-p", "no:modelcheck"])
        yield Row.paired("pytest with the plugin", ours, "pytest without it", theirs, 1.1)


if __name__ == "__main__":
    show(rows())
