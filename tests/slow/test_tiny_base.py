"""The base of examples/tiny is what its script builds: half of its steps already make one that scores as high."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from finetuning import GREEDY, TINY, conversations

from modelcheck.finetune.prompts import Prompts
from modelcheck.finetune.stage import Done, Worker

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parent.parent.parent / "tools" / "tiny_base.py"


def test_the_script_builds_a_base_that_adds_and_copies(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    command = [sys.executable, str(SCRIPT), "--output", str(tmp_path), "--steps", "1000"]
    subprocess.run(command, check=True, capture_output=True)
    for name in ("chat_template.jinja", "config.json", "generation_config.json", "tokenizer.json"):
        assert (tmp_path / "base" / name).read_text() == (TINY / "base" / name).read_text(), name
    chats = conversations("guard-add") + conversations("guard-copy")
    with Prompts(tmp_path / "base") as made:
        prompts = {str(i): {"ids": ids} for i, ids in enumerate(made.ids(chat[:1] for chat in chats))}
    answers: dict[str, Any] = {}

    def hear(event: Any) -> None:
        answers.update({answer["key"]: answer["text"] for answer in event.get("answers", ())})

    request = {"folder": str(tmp_path / "base"), "dtype": "float32", "gen": GREEDY, "stop_ids": [2], "prompts": prompts}
    with Worker(tmp_path / "log") as worker:
        done = worker.ask({"stage": "generate", **request, "engine": {"backend": "transformers"}}, 600, hear)
    assert isinstance(done, Done), str(done)
    right = sum(answers[str(i)] == chat[1]["content"] for i, chat in enumerate(chats))
    record_property("figure", f"a base built in 1000 steps: {right} of {len(chats)} answers right, as the shipped one")
    assert right >= 0.98 * len(chats)
