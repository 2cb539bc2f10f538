"""A folder's bytes come back as they are, however they are asked for: whole or in pieces."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from modelcheck.sources.local import LocalFolder

CONTENT = random.Random(0).randbytes(3_012_345)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> LocalFolder:
    place = tmp_path_factory.mktemp("folder")
    (place / "large").write_bytes(CONTENT)
    (place / "empty").write_bytes(b"")
    return LocalFolder(place)


@pytest.mark.parametrize(
    ("start", "stop", "chunk"),
    [
        (0, len(CONTENT), 1 << 20),
        (7, len(CONTENT) - 3, 999_983),
        (1, (1 << 20) + 2, 1 << 20),
        (0, len(CONTENT), len(CONTENT)),
        (5, 9, 4096),
    ],
)
def test_the_pieces_are_the_file(folder: LocalFolder, start: int, stop: int, chunk: int) -> None:
    pieces = [bytes(piece) for piece in folder.stream("large", start, stop, chunk)]
    assert b"".join(pieces) == CONTENT[start:stop]
    assert all(len(piece) == chunk for piece in pieces[:-1])


def test_nothing_is_nothing(folder: LocalFolder) -> None:
    assert folder.read("empty", 0, 0) == folder.read("large", 5, 5) == b""


def test_a_reader_may_stop_early_and_a_file_end_early(folder: LocalFolder, tmp_path: Path) -> None:
    pieces = folder.stream("large", 0, len(CONTENT), 1 << 20)
    assert bytes(next(pieces)) == CONTENT[: 1 << 20]
    pieces.close()  # type: ignore[attr-defined]
    with pytest.raises(OSError, match=f"ends at byte {len(CONTENT)}"):
        list(folder.stream("large", 0, len(CONTENT) + 1, 1 << 20))
