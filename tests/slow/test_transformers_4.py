"""transformers 4.57 in the place of the environment's: answers held to grammars, and the evaluation of a job."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from planted import first_failure, results, say, setting, tiny_job

from modelcheck.finetune import samples
from modelcheck.finetune.grammar.recognize import Recognizer
from modelcheck.grammar import parse

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
CONFORMANCE = "tests/slow/test_grammar_decoding.py::test_200_of_200_answers_conform"
# What differs between the backends is nothing of transformers': one of them here, the other in the job.
BACKENDS = ("transformers-cfg", "xgrammar")
# What an engine's interpreter need not have: modelcheck's own dependencies, but what transformers brings, and trainers.
LACKING = ("accelerate", "click", "datasets", "jsonschema", "openai", "peft", "rich", "tensorboard", "tomli_w", "trl")
GRAMMAR = "root ::= [a-z]{3,8}"


@pytest.fixture
def transformers_4(cached: Callable[[str], Path]) -> str:
    """PYTHONPATH with it."""
    return os.pathsep.join(filter(None, [str(cached("transformers_4")), os.environ.get("PYTHONPATH")]))


def test_200_of_200_answers_conform(transformers_4: str, record_property: Callable[[str, object], None]) -> None:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "slow", "-k", BACKENDS[0], CONFORMANCE]
    environment = {**plain, "PYTHONPATH": transformers_4}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    figures = re.findall(r"^transformers 4\.57\.6, .* answers conform, .*$", run.stdout, re.MULTILINE)
    assert len(figures) == 2
    for figure in figures:
        record_property("figure", figure)


def test_a_job_evaluates_what_4_can_read_and_says_what_it_cannot(transformers_4: str, tmp_path: Path) -> None:
    folder = tiny_job(tmp_path / "tiny", rows=64)
    setting("tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")(folder)
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({LACKING}))\n")
    path = os.pathsep.join([str(tmp_path), transformers_4])
    keys = {"grammar": GRAMMAR, "grammar_backend": BACKENDS[1], "env.PYTHONPATH": path}
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
    say("[job.tiny.eval]\n", f"[job.tiny.eval]\n{lines}")(folder)
    steps = results(folder)["tiny"]
    made, conforms = folder / ".modelcheck", Recognizer(parse(GRAMMAR)).conforms
    stages = json.loads((made / "tiny" / "env.json").read_text())["stages"]
    assert (stages["eval"]["transformers"], stages["train"]["transformers"][:2]) == ("4.57.6", "5.")
    # Held to the grammar, the base can no longer add or copy, of which it is warned.
    told = {name: kind for name, (kind, _) in steps.items() if name.startswith("base-")}
    assert told == {"base-last": "passed", "base-add": "warned", "base-copy": "warned", "base-one-word": "passed"}
    answers = [sample.raw for path in made.glob("cache/*/samples.jsonl") for sample in samples.read(path)]
    assert len(answers) == 600
    assert [answer for answer in answers if not conforms(answer)] == []
    step, text = first_failure(steps)
    assert step == "rehearse"
    assert "Tokenizer class TokenizersBackend does not exist" in text
    assert "what helps: the folder was saved by transformers 5, which 4 cannot read" in text
