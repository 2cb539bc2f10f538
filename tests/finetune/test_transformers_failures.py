"""What is told where transformers cannot load a folder. A folder of transformers 5 under 4 is a slow test."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from finetuning import BASE

from modelcheck.finetune.engines.transformers import Engine
from modelcheck.finetune.job import Eval
from modelcheck.finetune.protocol import StageError
from modelcheck.finetune.refusals import refusal
from modelcheck.finetune.stage import Failed


def told(said: str, folder: Path) -> str:
    return str(refusal(Failed("generate", "refused", said), Eval(), {"transformers": "5.23.0"}, folder))


def test_a_model_type_that_transformers_does_not_know(tmp_path: Path) -> None:
    folder = shutil.copytree(BASE, tmp_path / "base")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "foobar"}))
    with pytest.raises(StageError) as raised:
        Engine(str(folder), "float32")
    text = told(str(raised.value), folder)
    assert "model type `foobar`" in text
    assert "what helps: let eval.python lead to a transformers that knows this model_type" in text


def test_a_failure_that_is_not_known_is_told_as_it_is() -> None:
    assert told("something else", BASE) == "generate: something else"
