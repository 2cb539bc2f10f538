"""Arms: what they ask in place of the base's prompt, and what training is held to have bought over them.

The tiny job with arms is in test_finetune_eval.py, which has trained one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from finetuning import BASE
from gate_samples import right, run

from modelcheck.errors import UsageError
from modelcheck.finetune import arm_verdict, arms, gate_json, report
from modelcheck.finetune.data import DataError, JobData, load
from modelcheck.finetune.evaluation import Evaluation
from modelcheck.finetune.job import Arm, Generation, Job, Scorer, Suite
from modelcheck.finetune.job_rows import Data, Mirror, Rows
from modelcheck.finetune.messages import message
from modelcheck.finetune.prompts import Prompts
from modelcheck.finetune.report import GateReport
from modelcheck.finetune.samples import COUNTED, Sample
from modelcheck.finetune.verdict import Policy, Result, Verdict, consequence
from modelcheck.finetune.verdicts import of_arm

Row = Mapping[str, Any]


def rows(folder: Path, name: str, lines: Sequence[Row]) -> Rows:
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Rows(folder / f"{name}.jsonl", columns={"prompt": "question", "answer": "answer"})


def target(data: str = "eval") -> Suite:
    return Suite("skill", "target", data, Scorer("exact"), min_gain=0.3)


def job(folder: Path, train: Sequence[Row], held_out: Sequence[Row], arm: Arm) -> Job:
    data = Data(rows(folder, "train", train), rows(folder, "eval", held_out), Mirror(2))
    return Job("tiny", folder / "modelcheck.toml", 1, str(BASE), data, (target(),), (arm,))


def asks(folder: Path, train: Sequence[Row], held_out: Sequence[Row], arm: Arm) -> tuple[arms.Asking, JobData]:
    data = load(job(folder, train, held_out, arm))
    return arms.asking(arm, data, data.held_out), data


def question(number: int, **columns: Any) -> dict[str, Any]:
    return {"question": f"q{number}", "answer": f"a{number}", **columns}


def texts(messages: Sequence[Row]) -> list[tuple[str, str]]:
    return [(m["role"], m["content"]) for m in messages]


# ------------------------------------------------------------------ what an arm asks

EVERY = [question(i) for i in range(20)]


def test_a_system_prompt_takes_the_place_of_the_rows_own(tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("Be brief.\n")
    for system in ("Be brief.", tmp_path / "prompt.txt"):
        asking, data = asks(tmp_path, EVERY, [question(99)], Arm("brief", system))
        [item] = data.eval
        assert texts(asking.messages(item)) == [("system", "Be brief."), ("user", "q99")]
    own = {"messages": [{"role": "developer", "content": "Old."}, {"role": "user", "content": "q"}]}
    (tmp_path / "own.jsonl").write_text(json.dumps(own))
    [item] = load(Job("t", tmp_path, 1, "", Data(Rows(tmp_path / "own.jsonl")), ())).train
    assert texts(asking.messages(item)) == [("system", "Be brief."), ("user", "q")]
    assert texts(arms.Asking().messages(item)) == [("developer", "Old."), ("user", "q")]


def test_examples_are_one_prefix_of_training_rows_which_the_seed_fixes(tmp_path: Path) -> None:
    held_out = [question(98), question(99)]
    asking, data = asks(tmp_path, EVERY, held_out, Arm("few", shots=3))
    first, second = (texts(asking.messages(item)) for item in data.eval)
    assert (first[:-1], first[-1], second[-1]) == (second[:-1], ("user", "q98"), ("user", "q99"))
    shown = [(a, b) for (_, a), (_, b) in zip(first[:-1:2], first[1:-1:2], strict=True)]
    assert len(shown) == 3
    assert set(shown) <= {(row["question"], row["answer"]) for row in EVERY}
    again, _ = asks(tmp_path, EVERY, held_out, Arm("few", shots=3))
    other, _ = asks(tmp_path, EVERY, held_out, Arm("few", shots=3, seed=1))
    more, _ = asks(tmp_path, EVERY, held_out, Arm("few", shots=5))
    assert asking == again != other
    assert more.shots[:6] == asking.shots


def test_examples_never_ask_what_a_suite_asks(tmp_path: Path) -> None:
    leaked = [question(i, answer="another") for i in range(17)]
    asking, _ = asks(tmp_path, EVERY, leaked, Arm("few", shots=3))
    assert {text for role, text in texts(asking.shots) if role == "user"} == {"q17", "q18", "q19"}
    with pytest.raises(DataError, match=r"arm few: shots = 4, but training holds 3 rows .* lower shots to 3"):
        asks(tmp_path, EVERY, leaked, Arm("few", shots=4))


def test_examples_hold_every_answer_equally_often(tmp_path: Path) -> None:
    skewed = [question(i, answer="yes" if i else "no") for i in range(1, 30)] + [question(0, answer="no")]
    for seed in range(5):
        asking, _ = asks(tmp_path, skewed, [question(99)], Arm("few", shots=2, seed=seed))
        assert sorted(text for role, text in texts(asking.shots) if role == "assistant") == ["no", "yes"]


def test_context_stands_before_the_question_and_in_the_examples(tmp_path: Path) -> None:
    train = [question(i, passages=[f"p{i}", "and more"]) for i in range(3)]
    arm = Arm("rag", shots=1, context="passages")
    asking, data = asks(tmp_path, train, [question(9, passages="p9")], arm)
    (_, shown), _, (_, asked) = texts(asking.messages(data.eval[0]))
    assert shown in {f"p{i}\n\nand more\n\nq{i}" for i in range(3)}
    assert asked == "p9\n\nq9"
    asking, data = asks(
        tmp_path, train, [question(9, title="T", passage="p")], Arm("rag", context="{title}: {passage}")
    )
    assert texts(asking.messages(data.eval[0])) == [("user", "T: p\n\nq9")]


MISSING = {
    "no such column": ({}, "has no column 'passage'"),
    "null": ({"passage": None}, "'passage' is empty: retrieve a passage for this row"),
    "an empty list": ({"passage": []}, "'passage' is empty"),
    "no text": ({"passage": {"a": 1}}, "'passage' holds no text"),
}


@pytest.mark.parametrize(("columns", "said"), MISSING.values(), ids=MISSING)
def test_a_row_without_its_context_is_named(tmp_path: Path, columns: Row, said: str) -> None:
    arm = Arm("rag", context="passage")
    held_out = [question(1, passage="p"), question(2, **columns)]
    asking, data = asks(tmp_path, EVERY, held_out, arm)
    with pytest.raises(DataError) as raised:
        arms.check_rows(arm, asking, data.eval)
    [line] = str(raised.value).splitlines()
    assert line.startswith(f"arm rag: {tmp_path / 'eval.jsonl'}, row 2: context: ")
    assert said in line
    with pytest.raises(DataError, match=r"arm rag: .*train.jsonl, row \d+: context: has no column 'passage'"):
        asks(tmp_path, EVERY, held_out, Arm("rag", shots=1, context="passage"))


def test_what_an_arm_names_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text(" \n")
    for system, said in (("none.txt", "cannot be read"), ("empty.txt", "is empty")):
        [problem] = arms.problems(job(tmp_path, EVERY, EVERY, Arm("brief", tmp_path / system)))
        assert problem.startswith(f"arm brief: system: {tmp_path / system} {said}")
    assert list(arms.problems(job(tmp_path, EVERY, EVERY, Arm("twin", model=str(BASE))))) == []
    [problem] = arms.problems(job(tmp_path, EVERY, EVERY, Arm("larger", model=str(tmp_path / "gone"))))
    assert problem.startswith(f"arm larger: model = '{tmp_path / 'gone'}' is no folder")


def prompts_of(folder: Path, arm: Arm, template: str | None = None, *, max_tokens: int = 16) -> None:
    made = job(folder, EVERY, [question(99)], arm)
    data = load(made)
    asking = arms.asking(arm, data, data.held_out)
    evaluation = Evaluation(made, target(), data.eval, BASE, folder, asking.messages)
    object.__setattr__(made.eval, "gen", Generation(max_tokens=max_tokens))
    with Prompts(BASE, template) as prompts:
        arms.check_prompts(arm, asking, evaluation, prompts)


def test_a_template_that_drops_the_system_prompt_is_no_arm(tmp_path: Path) -> None:
    arm = Arm("brief", "Be brief.")
    prompts_of(tmp_path, arm)
    deaf = "{% for m in messages %}{% if m.role != 'system' %}{{ m.content }}{% endif %}{% endfor %}"
    with pytest.raises(UsageError, match=r"arm brief: the chat template of .* leaves the system prompt out"):
        prompts_of(tmp_path, arm, deaf)


def test_a_prompt_that_the_model_has_no_room_for_is_no_arm(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"longest prompt has \d+ tokens and .* made for 128 positions: take fewer"):
        prompts_of(tmp_path, Arm("few", shots=10))


# ------------------------------------------------------------------ what training bought


def against(of: Mapping[str, Sequence[Sample]], tuned: Sequence[Sample], policy: Policy | None = None) -> list[Result]:
    base = run(right(0, len(tuned)), prompt_ids=(1,) * 20, tokens=5)
    return arm_verdict.against(of, base, [tuned], "skill", policy or Policy())


def test_training_that_is_no_better_than_an_arm_bought_nothing_measurable() -> None:
    equal = run(right(90), prompt_ids=(1,) * 72, tokens=3)
    tuned = run([1.0] * 89 + [0.0] * 9 + [1.0] * 2, prompt_ids=(1,) * 20, tokens=2)
    [result] = against({"few-shot": equal}, tuned)
    assert (result.role, result.metric, result.verdict) == ("arm", "vs few-shot", Verdict.INCONCLUSIVE)
    assert message(result).startswith(
        "skill vs few-shot: training bought nothing measurable over the arm few-shot: 0.900 with it, 0.910 trained on "
        "100 items, +0.010, 90 % interval -0."
    )
    assert "tokens read + written for an answer: 72 + 3 with the arm, 20 + 2 tuned, 20 + 5 base" in message(result)
    assert (
        message(result).count(
            "next: ship the arm, unless its tokens cost more than training does, or add items: about "
        )
        == 1
    )
    assert [consequence(result, Policy(must_beat_arms=word)) for word in ("warn", "fail")] == ["warn", "fail"]
    assert consequence(result, Policy(on_inconclusive="fail")) == "warn"


COUNTS = {
    "told": ({"read": 900, "written": 12}, "900 + 12 by its server's count with the arm"),
    "told in part": ({"read": 900, "written": None}, "not told by the server with the arm"),
}


@pytest.mark.parametrize(("counted", "said"), COUNTS.values(), ids=COUNTS)
def test_what_an_answer_costs_of_another_model_is_what_its_server_says(counted: Row, said: str) -> None:
    [result] = against({"hosted": run(right(90), metadata={COUNTED: counted})}, run(right(95), tokens=2))
    assert f"tokens read + written for an answer: {said}, 0 + 2 tuned, 20 + 5 base" in message(result)


def test_every_arm_must_be_beaten_and_the_best_comes_first() -> None:
    tuned = run(right(95))
    results = against({"system": run(right(20)), "few-shot": run(right(94)), "context": run(right(40))}, tuned)
    assert [(r.metric, r.verdict) for r in results] == [
        ("vs few-shot", Verdict.INCONCLUSIVE),
        ("vs context", Verdict.PASS),
        ("vs system", Verdict.PASS),
    ]
    assert "training is better than the arm context: 0.400 with it, 0.950 trained" in message(results[1])


def test_an_arm_that_is_surely_better_fails_and_among_several_only_by_holm() -> None:
    tuned, better, near = run(right(50)), run(right(80)), run(right(54))
    [alone] = against({"near": near}, tuned)
    assert alone.verdict is Verdict.FAIL
    assert "training did worse than the arm near" in message(alone)
    assert "next: ship the arm" in message(alone)
    same = run(right(50))
    together = {r.metric: r for r in against({"near": near, "better": better, "a": same, "b": same, "c": same}, tuned)}
    assert together["vs better"].verdict is Verdict.FAIL
    assert together["vs near"].verdict is Verdict.INCONCLUSIVE
    assert "not among 5 arms looked at together (Holm)" in message(together["vs near"])


def test_an_arm_that_is_cut_is_said_to_be() -> None:
    [result] = against({"few-shot": run(right(10), stopped=[i > 29 for i in range(100)])}, run(right(90)))
    assert "30 of 100 answers with the arm were cut: raise max_tokens" in message(result)


def test_reports_show_an_arm_beside_the_tuned_model() -> None:
    results = against({"few-shot": run(right(90), answers=["wrong"] * 100)}, run(right(80)))
    made = GateReport("tiny", tuple(results), Policy())
    shown = report.text(made)
    assert "arm skill  vs few-shot  100x1  0.90  0.80   -0.100" in shown
    assert "few-shot  wrong = 1.00" in shown
    assert "prompt|expected|few-shot|tuned" in report.markdown(made)
    document = json.loads(gate_json.render(made))
    assert (document["consequence"], document["regressed"]) == ("warn", [])
    assert [(r["role"], r["metric"], r["consequence"]) for r in document["results"]] == [("arm", "vs few-shot", "warn")]


class Stored:
    """Answers as the engine left them."""

    def __init__(self, samples: list[Sample]) -> None:
        self.samples: Callable[[], list[Sample]] = lambda: samples


@pytest.mark.parametrize(("score", "verdict"), [(29, "pass"), (30, "warn"), (45, "warn")])
def test_an_arm_that_reaches_the_goal_warns_before_training(score: int, verdict: str) -> None:
    sides: Any = [(target(), Stored(run(right(0), prompt_ids=(1, 2))), Stored(run(right(score), prompt_ids=(3,))))]
    outcome = of_arm(Arm("brief"), sides, Policy())
    assert (outcome.item, outcome.verdict, outcome.results) == ("arm-brief", verdict, ())
    assert f"the arm brief gains +0.{score}0 (0.000 to 0.{score}0 on 100 items" in outcome.details
    assert outcome.message.startswith("training may not be needed: skill: ") == (verdict == "warn")
    assert of_arm(Arm("brief"), sides, Policy(smoke=True)).verdict == "pass"
