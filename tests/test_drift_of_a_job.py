"""What was saved by a finished job, edited in one file at a time: the step `artifact` must not pass it as expected."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from finetuning import BASE, TEMPLATE
from planted import say
from whole_job import Finished, start, verdicts

from modelcheck import lint
from modelcheck.finding import Severity
from modelcheck.finetune.training_rules import of_folder

Edit = Callable[[Path], object]


def patch(file: str, **values: object) -> Edit:
    return lambda folder: (folder / file).write_text(json.dumps({**json.loads((folder / file).read_text()), **values}))


def exchanged(folder: Path) -> None:
    """Two words of the vocabulary under each other's ids."""
    path = folder / "tokenizer.json"
    document = json.loads(path.read_text())
    vocab = document["model"]["vocab"]
    one, other = [token for token in vocab if token.startswith("Ġ") and len(token) > 3][:2]
    vocab[one], vocab[other] = vocab[other], vocab[one]
    path.write_text(json.dumps(document))


def more_before(folder: Path) -> None:
    path = folder / "chat_template.jinja"
    path.write_text("You are kind.\n" + path.read_text())


EDITS: dict[str, tuple[Edit, str, Severity]] = {
    "template": (more_before, "template-drift", Severity.ERROR),
    "vocabulary": (exchanged, "tokenizer-drift", Severity.ERROR),
    "normalizer": (patch("tokenizer.json", normalizer={"type": "Lowercase"}), "tokenizer-drift", Severity.ERROR),
    "epsilon": (patch("config.json", rms_norm_eps=1e-3), "config-drift", Severity.ERROR),
    "length": (patch("config.json", max_position_embeddings=4096), "config-drift", Severity.WARNING),
    "sampling": (
        patch("generation_config.json", do_sample=True, temperature=1.5, repetition_penalty=1.3),
        "generation-drift",
        Severity.WARNING,
    ),
    "no generation_config": (lambda f: (f / "generation_config.json").unlink(), "generation-drift", Severity.WARNING),
}


@pytest.fixture
def folder(finished: Finished, tmp_path: Path) -> Path:
    """A copy of the finished job."""
    return Path(shutil.copytree(finished[0], tmp_path / "tiny", symlinks=True))


def saved(folder: Path) -> Path:
    [merged] = folder.glob(".modelcheck/tiny/run-*/merged")
    return merged


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_of_what_was_saved_is_told(name: str, folder: Path) -> None:
    edit, slug, severity = EDITS[name]
    edit(saved(folder))
    found = of_folder(saved(folder), folder / "base", "tokenizer")
    assert {(f.slug, f.severity) for f in found if f.severity >= Severity.WARNING} == {(slug, severity)}


def test_what_the_trainer_saved_is_as_expected(folder: Path) -> None:
    assert of_folder(saved(folder), folder / "base", "tokenizer") == []
    [report] = lint(str(saved(folder)), base=str(BASE))
    assert [f for f in report.findings if f.severity >= Severity.WARNING] == []


def test_a_template_that_the_job_names_is_the_one_expected(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jinja"
    other.write_text(f"You are kind.\n{TEMPLATE}")
    more_before(saved(folder))
    assert [f.slug for f in of_folder(saved(folder), folder / "base", "tokenizer")] == ["template-drift"]
    assert of_folder(saved(folder), folder / "base", other) == []


def test_the_step_fails_and_tells_all(folder: Path) -> None:
    say("seeds = [0]", "seeds = [0]\nrehearse = false")(folder)
    EDITS["sampling"][0](saved(folder))
    exchanged(saved(folder))
    run = start(folder, "-v", "-k", "artifact")
    assert verdicts(run) == {"artifact": "FAILED"}
    assert "error TOK009 tokenizer-drift" in run.stdout
    assert "warning CFG010 generation-drift" in run.stdout
