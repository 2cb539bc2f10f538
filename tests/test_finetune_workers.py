"""The workers that audit, train, generate and compare, on the tiny base: one process for all of them."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from finetuning import BASE, END_OUTSIDE, GREEDY, WITHOUT_BLOCK, conversations, recipe
from safetensors.numpy import load_file, save_file

from modelcheck.finetune.artifact import disagreements
from modelcheck.finetune.evidence import evidence
from modelcheck.finetune.job import Agreement, Generation, Lora
from modelcheck.finetune.log_evidence import log_evidence
from modelcheck.finetune.prompts import Prompts
from modelcheck.finetune.recipe import Recipe
from modelcheck.finetune.stage import Done, Failed, Worker
from modelcheck.finetune.workers import PRELOADED
from modelcheck.testing import lint_overlay

LIMIT = 240.0
ROWS = conversations("train", 24) + conversations("replay", 8)
QUESTIONS = [chat[:1] for chat in ROWS]
Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with Worker(tmp_path_factory.mktemp("worker") / "worker.log", preload=PRELOADED) as started:
        yield started


@pytest.fixture(scope="module")
def ask(worker: Worker) -> Ask:
    def answered(stage: str, hear: Any = lambda _: None, **request: Any) -> Any:
        answer = worker.ask({"stage": stage, **request}, LIMIT, hear)
        assert isinstance(answer, Done), str(answer)
        return answer.value

    return answered


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    with Prompts(BASE) as made:
        return made.ids(QUESTIONS)


@pytest.fixture(scope="module")
def trained(ask: Ask, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Mapping[str, Any]]:
    """A run of twelve steps that nobody disturbed."""
    made = recipe(tmp_path_factory.mktemp("trained"), ROWS, epochs=3.0)
    return made, ask("train", recipe=made.plain())


def audit(ask: Ask, made: Recipe, prompts: Any = ()) -> dict[str, Any]:
    found: dict[str, Any] = ask("audit", recipe=made.plain(), out=str(made.out), prompts=list(prompts), stop_ids=[2])
    return found


def generate(ask: Ask, folder: Path, prompts: Any, **changes: Any) -> dict[str, Any]:
    """{key: answer} for prompts numbered from 0."""
    found: dict[str, Any] = {}
    also = changes.pop("hear", lambda _: None)

    def hear(event: Mapping[str, Any]) -> None:
        also(event)
        if event["event"] == "batch":
            found.update({answer["key"]: answer for answer in event["answers"]})

    keyed = {str(i): {"ids": prompt} for i, prompt in enumerate(prompts)}
    request = {"folder": str(folder), "dtype": "float32", "gen": GREEDY, "stop_ids": [2]}
    request["engine"] = {"backend": "transformers", "batch_size": changes.pop("batch_size", "auto")}
    ask("generate", hear, **{**request, "prompts": keyed, **changes})
    return found


# ------------------------------------------------------------------ the audits


def test_a_healthy_set_up_learns_every_end_of_turn_and_no_prompt(ask: Ask, tmp_path: Path, prompts: Any) -> None:
    found = audit(ask, recipe(tmp_path, ROWS), prompts)
    labels = found["labels"]
    assert (labels["rows"], labels["audited"], labels["dropped"]) == (32, 32, 0)
    assert (labels["ends_supervised"], labels["rows_without_end"]) == (32, 0)
    assert (labels["prompt_rows"], labels["prompt_supervised"]) == (32, 0)
    assert labels["prompts_compared"] == 8
    assert labels["prompts_other"] == labels["prompts_short"] == []
    assert [batch["rows"] for batch in labels["batches"]] == [8, 8, 8, 8]
    assert (found["trainability"]["frozen"], found["trainability"]["unasked"]) == ([], [])
    first = found["preview"]["rows"][0]
    learnt = [text for text, loss in zip(first["texts"], first["supervised"], strict=True) if loss]
    assert "".join(learnt) == f"{ROWS[0][1]['content']}<|im_end|>"


def test_spans_make_the_labels_of_generation_blocks(ask: Ask, tmp_path: Path) -> None:
    marked = audit(ask, recipe(tmp_path / "marked", ROWS))["preview"]
    assert audit(ask, recipe(tmp_path / "spans", ROWS, template=WITHOUT_BLOCK))["preview"] == marked


PLANTED: dict[str, tuple[dict[str, Any], Callable[[dict[str, Any]], bool]]] = {
    "the end stands outside the generation block": (
        {"template": END_OUTSIDE},
        lambda labels: labels["ends_supervised"] == 0 and labels["supervised"] > 0,
    ),
    "answers are cut": ({"max_length": 22}, lambda labels: labels["rows_without_end"] + labels["dropped"] > 0),
    "the loss is on everything": ({"loss_on": "all"}, lambda labels: labels["prompt_supervised"] > 32 * 10),
    "the role header is another in training": (
        {"template": (BASE / "chat_template.jinja").read_text().replace("message.role +", "'x' + message.role +")},
        lambda labels: len(labels["prompts_other"]) == 8,
    ),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_the_label_audit_sees(fault: str, ask: Ask, tmp_path: Path, prompts: Any) -> None:
    changes, seen = PLANTED[fault]
    assert seen(audit(ask, recipe(tmp_path, ROWS, **changes), prompts)["labels"])


def test_a_prompt_without_the_assistants_header_is_short_of_the_loss(ask: Ask, tmp_path: Path) -> None:
    with Prompts(BASE) as made:
        bare = [made.tokenizer.encode(text) for text in made.texts(QUESTIONS, prompt=False)]
    assert audit(ask, recipe(tmp_path, ROWS), bare)["labels"]["prompts_short"] == list(range(1, 9))


def test_a_target_that_the_model_does_not_have_is_frozen(ask: Ask, tmp_path: Path) -> None:
    lora = Lora(r=4, alpha=8.0, targets=("q_proj", "qkv_proj"), trainable_tokens="none")
    found = audit(ask, recipe(tmp_path, ROWS, lora=lora))["trainability"]
    assert found["frozen"] == ["qkv_proj (the model has no module of that name)"]
    assert [kind for kind, count in found["kinds"].items() if count["trained"]] == ["q"]


def test_untrained_tokens_learn_their_rows_alone(ask: Ask, tmp_path: Path) -> None:
    found = audit(ask, recipe(tmp_path, ROWS, untrained=(0, 5)))["trainability"]
    assert found["kinds"]["embeddings"]["trained"] == 2 * 64
    assert (found["frozen"], found["unasked"]) == ([], [])


def linted(found: Mapping[str, Any]) -> list[str]:
    """The rules that speak of some evidence beside a healthy checkpoint."""
    [report] = lint_overlay({"training_evidence.json": json.dumps(found)})
    assert report.internal == []
    return [finding.slug for finding in report.findings]


def test_what_the_audit_finds_is_a_finding_of_lint(ask: Ask, tmp_path: Path, prompts: Any) -> None:
    assert linted(evidence(audit(ask, recipe(tmp_path / "healthy", ROWS), prompts))) == []
    planted = audit(ask, recipe(tmp_path / "planted", ROWS, template=END_OUTSIDE), prompts)
    assert linted(evidence(planted)) == ["label-without-end"]


# ------------------------------------------------------------------ training


def test_the_log_is_that_of_the_schedule_asked_for(trained: tuple[Recipe, Mapping[str, Any]]) -> None:
    made, result = trained
    found = log_evidence(made.log.read_text().splitlines())
    assert result["steps"] == found["steps_done"] == found["steps_expected"] == 12
    assert (found["lr_wrong"], found["non_finite"], found["warmup_steps"]) == (None, None, 1)
    assert linted(evidence(trained=result, log=made.log, evaluated=result["loaded"])) == []
    assert Path(result["merged"], "chat_template.jinja").is_file()


WAYS: dict[str, dict[str, Any]] = {
    "full": {"method": "full"},
    "completion": {"loss_on": "completion"},
    "completion by spans": {"loss_on": "completion", "template": WITHOUT_BLOCK},
    "bfloat16, merged in 16 bit, logged to TensorBoard": {
        "dtype": "bfloat16", "merge": "16bit", "report_to": ("tensorboard",), "untrained": (5,),
    },
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_training_saves_what_it_trained(way: str, ask: Ask, tmp_path: Path, prompts: Any) -> None:
    made = recipe(tmp_path, ROWS, **WAYS[way], max_steps=4)
    made = dataclasses.replace(made, eval_rows=made.rows)
    result = ask("train", recipe=made.plain())
    assert linted(evidence(trained=result, log=made.log)) == []
    assert sum("eval_loss" in line for line in made.log.read_text().splitlines()) == 4
    assert bool(list(made.checkpoints.rglob("events.out.tfevents.*"))) == bool(made.train.report_to)
    dtype = "bfloat16" if made.train.merge == "16bit" else made.dtype
    loaded: list[Any] = []
    generate(ask, made.merged, prompts[:2], dtype=dtype, hear=loaded.append)
    [identity] = [event for event in loaded if event["event"] == "loaded"]
    assert identity["weights"] == result["merged_weights"]


def test_texts_are_trained_on_as_they_stand(ask: Ask, tmp_path: Path) -> None:
    made = recipe(tmp_path, ROWS, loss_on="all")
    made.rows.write_text('{"text": "copy sun sun sun"}\n' * 8)
    labels = audit(ask, made)["labels"]
    assert labels["ends_supervised"] == 8  # the EOS that the trainer appends
    assert labels["supervised"] == labels["tokens"] - 8
    assert labels["prompt_rows"] == 0


def test_a_run_that_is_told_to_stop_goes_on_to_the_same_weights(
    worker: Worker, ask: Ask, trained: tuple[Recipe, Mapping[str, Any]], tmp_path: Path
) -> None:
    undisturbed = trained[1]
    made = recipe(tmp_path, ROWS, epochs=3.0)

    def stop_at_five(event: Mapping[str, Any]) -> None:
        if event["event"] == "progress" and event["step"] == 5:
            assert worker._process
            os.killpg(worker._process.pid, signal.SIGTERM)

    first = ask("train", stop_at_five, recipe=made.plain())
    assert first["interrupted"]
    assert 5 <= first["steps"] < 12
    assert not made.merged.exists()
    second = ask("train", recipe=made.plain())
    assert (second["steps"], second["interrupted"]) == (12, False)
    assert second["merged_weights"] == undisturbed["merged_weights"]


def test_another_base_than_was_evaluated_is_refused_before_the_first_step(
    worker: Worker, trained: tuple[Recipe, Mapping[str, Any]], tmp_path: Path
) -> None:
    # One number of one row of the embedding.
    other = shutil.copytree(BASE, tmp_path / "other") / "model.safetensors"
    tensors = load_file(other)
    tensors["model.embed_tokens.weight"][200, 5] += 1e-3
    save_file(tensors, other, {"format": "pt"})
    evaluated = trained[1]["loaded"] | {"files": {}}
    made = recipe(tmp_path / "job", ROWS, base=str(other.parent))
    answer = worker.ask({"stage": "train", "recipe": made.plain(), "evaluated": evaluated}, LIMIT)
    assert isinstance(answer, Failed)
    assert answer.kind == "refused"
    said = (
        f"the trainer loaded another base than was evaluated: weights: evaluated {evaluated['weights'][:12]}, trained "
    )
    assert answer.message.startswith(said)
    assert not made.log.exists()


def test_arguments_that_the_job_says_elsewhere_are_refused(worker: Worker, tmp_path: Path) -> None:
    made = recipe(tmp_path, ROWS, args={"learning_rate": 1.0})
    answer = worker.ask({"stage": "train", "recipe": made.plain()}, LIMIT)
    assert isinstance(answer, Failed)
    assert answer.message == "train.args.learning_rate: is said elsewhere in the job: train.lr"


def test_a_rehearsal_goes_the_whole_way(ask: Ask, tmp_path: Path, prompts: Any) -> None:
    made = recipe(tmp_path, ROWS, epochs=3.0)
    found = ask("rehearse", recipe=made.plain(), folder=str(tmp_path / "small"), prompts=prompts[:2])
    assert (found["steps"], found["saved_is_loaded"]) == (12, True)
    assert found["seconds"] > 0
    assert found["peak_memory"] > 50e6
    assert not made.merged.exists()


# ------------------------------------------------------------------ the artifact


def compared(ask: Ask, made: Recipe, merged: Path, prompts: Any) -> list[str]:
    request = {"base": str(BASE), "adapter": str(made.adapter), "merged": str(merged), "dtype": "float32"}
    return disagreements(ask("artifact", prompts=prompts[:4], **request), Agreement())


def test_the_saved_model_is_the_trained_one(
    ask: Ask, trained: tuple[Recipe, Mapping[str, Any]], prompts: Any, tmp_path: Path
) -> None:
    made, _ = trained
    assert compared(ask, made, made.merged, prompts) == []
    [unmerged, other] = compared(ask, made, BASE, prompts)
    assert unmerged.startswith("none of the 20 tensors of the saved model differs from the base")
    assert other.startswith("the reloaded model is not the adapter's")
    twice = shutil.copytree(made.merged, tmp_path / "twice") / "model.safetensors"
    base, once = load_file(BASE / "model.safetensors"), load_file(twice)
    save_file({name: 2 * once[name] - base[name] for name in once}, twice, {"format": "pt"})
    [problem] = compared(ask, made, twice.parent, prompts)
    assert "(merged twice, in another precision, or onto another base?)" in problem


# ------------------------------------------------------------------ generation


def test_nothing_of_the_checkpoints_own_generation_defaults_leaks(ask: Ask, tmp_path: Path, prompts: Any) -> None:
    shutil.copytree(BASE, tmp_path / "base")
    stray = {"do_sample": True, "temperature": 5.0, "max_length": 3, "suppress_tokens": [17, 18, 19], "num_beams": 3}
    (tmp_path / "base" / "generation_config.json").write_text(json.dumps(stray))
    assert generate(ask, tmp_path / "base", prompts) == generate(ask, BASE, prompts)


def test_the_base_answers_and_stops(ask: Ask) -> None:
    chats = conversations("guard-copy", 20)
    with Prompts(BASE) as made:
        found = generate(ask, BASE, made.ids(chat[:1] for chat in chats), batch_size=7)
    assert [found[str(i)]["text"] for i in range(20)] == [chat[1]["content"] for chat in chats]
    assert {answer["finish"] for answer in found.values()} == {"stop"}


def test_a_draw_belongs_to_the_item_and_the_seed(ask: Ask, prompts: Any) -> None:
    hot = dataclasses.asdict(Generation(temperature=3.0, top_p=0.95, max_tokens=8))
    together = generate(ask, BASE, prompts[:6], gen=hot)
    assert generate(ask, BASE, prompts[:6], gen=hot, batch_size=1) == together
    assert generate(ask, BASE, prompts[:6], gen={**hot, "seed": 1}) != together


# ------------------------------------------------------------------ processes


def test_an_option_that_needs_a_package_is_told_in_its_librarys_words(worker: Worker, tmp_path: Path) -> None:
    made = recipe(tmp_path, ROWS[:8], model_args={"attn_implementation": "flash_attention_2"})
    answer = worker.ask({"stage": "train", "recipe": made.plain()}, LIMIT)
    assert isinstance(answer, Failed)
    assert "cannot be loaded with train.model_args attn_implementation = 'flash_attention_2': " in answer.message
    assert "modelcheck[finetune]" not in answer.message


def test_a_secret_among_the_arguments_is_refused(worker: Worker, tmp_path: Path) -> None:
    made = recipe(tmp_path, ROWS, args={"hub_token": "hf_not-to-be-seen"})
    answer = worker.ask({"stage": "train", "recipe": made.plain()}, LIMIT)
    assert isinstance(answer, Failed)
    assert answer.message == "train.args.hub_token: would be written into every checkpoint: set it in train.env"


def test_a_stage_that_takes_too_long_ends_with_all_its_processes(tmp_path: Path) -> None:
    worker = Worker(tmp_path / "log")
    answer = worker.ask({"stage": "audit", "recipe": recipe(tmp_path, ROWS).plain(), "out": str(tmp_path)}, 0.05)
    assert isinstance(answer, Failed)
    assert answer.kind == "timeout"
    assert "timeout = 0.05 s" in answer.message
    assert worker._process is None


def test_a_killed_stage_is_told_from_a_crashed_one_and_the_worker_goes_on(
    worker: Worker, ask: Ask, tmp_path: Path, prompts: Any
) -> None:
    # The children of the worker: the stage at work is the only one.
    def kill() -> None:
        assert worker._process
        children = Path(f"/proc/{worker._process.pid}/task/{worker._process.pid}/children")
        while not (found := children.read_text().split()):
            time.sleep(0.01)
        os.kill(int(found[0]), signal.SIGKILL)

    generate(ask, BASE, prompts[:1])
    threading.Thread(target=kill).start()
    answer = worker.ask({"stage": "train", "recipe": recipe(tmp_path, ROWS, epochs=50.0).plain()}, LIMIT)
    assert isinstance(answer, Failed)
    assert answer.kind == "killed"
    assert "lack of memory" in answer.message
    crashed = worker.ask({"stage": "no such stage"}, LIMIT)
    assert isinstance(crashed, Failed)
    assert crashed.kind == "crashed"
    assert generate(ask, BASE, prompts[:1])
