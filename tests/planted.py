"""Faults planted in copies of the tiny job: in the job file, the data, the checkpoint or a stage's interpreter.

Nothing here knows the gate: a fault is a change of files, and what comes of it is read from pytest's own report.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from finetuning import END_OUTSIDE, TEMPLATE, TINY

Change = Callable[[Path], None]
# By job and step: passed, warned, failed or skipped, and its message.
Results = dict[str, dict[str, tuple[str, str]]]
FILES = ("train.jsonl", "replay.jsonl", "eval.jsonl", "guard-add.jsonl", "guard-copy.jsonl")


@dataclass(frozen=True)
class Fault:
    """`item` is the earliest step that could know, `says` what its message must hold, a pattern.

    `named` is what docs/finetune.md calls it.
    """

    plant: Change
    item: str
    says: str
    named: str


def tiny_job(folder: Path, name: str = "tiny", *, rows: int | None = None) -> Path:
    """A copy of examples/tiny under another name, with the first `rows` rows of training and replay only."""
    folder.mkdir(parents=True)
    shutil.copytree(TINY / "base", folder / "base")
    for file in FILES:
        lines = (TINY / file).read_text().splitlines()[: rows if file in FILES[:2] else None]
        (folder / file).write_text("".join(f"{line}\n" for line in lines))
    text = (TINY / "modelcheck.toml").read_text().replace("job.tiny", f"job.{name}")
    (folder / "modelcheck.toml").write_text(text.replace("ratio = 1.6", "ratio = 1.0") if rows else text)
    return folder


def say(old: str, new: str) -> Change:
    """Change the job file."""

    def change(folder: Path) -> None:
        text = (folder / "modelcheck.toml").read_text()
        assert old in text, old
        (folder / "modelcheck.toml").write_text(text.replace(old, new))

    return change


def template(text: str) -> Change:
    """Give the checkpoint another chat template."""
    assert text != TEMPLATE

    def change(folder: Path) -> None:
        (folder / "base" / "chat_template.jinja").write_text(text)

    return change


def setting(file: str, **values: object) -> Change:
    """Change a JSON file of the checkpoint."""

    def change(folder: Path) -> None:
        path = folder / "base" / file
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def interpreter(code: str) -> Change:
    """Run the training stage under an interpreter that does something else than it is told."""

    def change(folder: Path) -> None:
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(code)
        text = (folder / "modelcheck.toml").read_text()
        env = f"\n[job.{folder.name}.train.env]\nPYTHONPATH = {json.dumps(str(folder / 'site'))}\n"
        (folder / "modelcheck.toml").write_text(text + env)

    return change


def untrained_turns(folder: Path) -> None:
    """A base whose rows for the tokens of the template were never trained."""
    import torch
    from safetensors.torch import load_file, save_file

    path = folder / "base" / "model.safetensors"
    tensors = load_file(path)
    tokens = json.loads((folder / "base" / "tokenizer.json").read_text())["added_tokens"]
    for token in tokens:
        if token["content"] in ("<|im_start|>", "<|im_end|>"):
            tensors["model.embed_tokens.weight"][token["id"]] = torch.zeros(64)
    save_file(tensors, path, metadata={"format": "pt"})


def half_wrong(folder: Path) -> None:
    """Every second answer of the training rows is that of another row of its kind."""
    draw = random.Random(0)
    for file in FILES[:2]:
        rows = [json.loads(line) for line in (folder / file).read_text().splitlines()]
        kinds: dict[str, list[str]] = {}
        for row in rows:
            kinds.setdefault(row["question"].split()[0], []).append(row["answer"])
        for row in rows[::2]:
            row["answer"] = draw.choice(kinds[row["question"].split()[0]])
        (folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows))


def no_replay(folder: Path) -> None:
    """Only the new skill is trained, in as many steps."""
    path = folder / "modelcheck.toml"
    lines = [line for line in path.read_text().splitlines() if not line.startswith("replay")]
    path.write_text("\n".join(lines).replace("epochs = 3", "epochs = 7.8"))


HEADER = "'<|im_start|>assistant"
OTHER_HEADER = TEMPLATE.replace(HEADER, "'<|im_start|>model")
NO_PROMPT = TEMPLATE[: TEMPLATE.index("{%- if add_generation_prompt")]
USER = "{%- else %}\n{{- message.content + '<|im_end|>' }}"
ALL_MARKED = TEMPLATE.replace(
    USER, "{%- else %}\n{%- generation %}{{- message.content + '<|im_end|>' }}{%- endgeneration %}"
)

MASKING_COLLATOR = """
import transformers, trl.trainer.sft_trainer as sft
real = sft.SFTTrainer.__init__
def init(self, *args, processing_class=None, **kwargs):
    processing_class.pad_token = processing_class.eos_token
    kwargs["data_collator"] = transformers.DataCollatorForLanguageModeling(processing_class, mlm=False)
    real(self, *args, processing_class=processing_class, **kwargs)
    self.train_dataset = self.train_dataset.remove_columns("labels")
sft.SFTTrainer.__init__ = init
"""
MERGED_TWICE = """
from peft.tuners.lora import LoraModel
real = LoraModel.merge_and_unload
def merge(self, *args, **kwargs):
    self.merge_adapter()
    for module in self.modules():
        if hasattr(module, "merged_adapters"):
            module.merged_adapters.clear()
    return real(self, *args, **kwargs)
LoraModel.merge_and_unload = merge
"""
NOT_MERGED = """
from peft.tuners.lora import LoraModel
LoraModel.merge_and_unload = lambda self, *args, **kwargs: self.unload()
"""
OTHER_BASE = """
import torch, transformers
real = transformers.AutoModelForCausalLM.from_pretrained
def load(*args, **kwargs):
    model = real(*args, **kwargs)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight += 0.01
    return model
transformers.AutoModelForCausalLM.from_pretrained = load
"""
DROPPED_SCHEDULER = """
from torch.optim.lr_scheduler import LambdaLR
real = LambdaLR.__init__
LambdaLR.__init__ = lambda self, optimizer, *args, **kwargs: real(self, optimizer, lambda step: 1.0)
"""
RENAMED = """
import json, transformers
from pathlib import Path
real = transformers.PreTrainedModel.save_pretrained
def save(self, folder, **kwargs):
    real(self, folder, **kwargs)
    config = Path(folder, "config.json")
    config.write_text(config.read_text().replace("LlamaForCausalLM", "LlamaModelForTraining"))
transformers.PreTrainedModel.save_pretrained = save
"""


def results(folder: Path, *options: str) -> Results:
    """What one pytest run over a folder came to."""
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--finetune-eval", "--rootdir", str(folder)]
    ini = folder / "pytest.ini"
    ini.write_text("[pytest]\n")
    subprocess.run([*command, "-c", str(ini), "-q", f"--junitxml={report}", str(folder), *options], check=False)
    found: Results = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        job = case.attrib["classname"].split(".")[-1]
        bad = next((part for part in case if part.tag in ("failure", "error", "skipped")), None)
        warned = any(part.attrib["name"] == "modelcheck warning" for part in case.iter("property"))
        fine = "warned" if warned else "passed"
        kind = {"failure": "failed", "error": "failed", "skipped": "skipped"}[bad.tag] if bad is not None else fine
        text = "" if bad is None else f"{bad.attrib.get('message', '')}\n{bad.text or ''}"
        found.setdefault(job, {})[case.attrib["name"]] = (kind, text)
    return found


def first_failure(steps: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    """(step, message) of the first that failed; ("", "") where none did."""
    return next(((name, text) for name, (kind, text) in steps.items() if kind == "failed"), ("", ""))


SWAPPED = say(
    'train = { path = "train.jsonl" }',
    'train = { path = "train.jsonl", columns = { prompt = "answer", answer = "question" } }',
)

# Told from files and from the trainer's labels: no step is trained.
BEFORE_TRAINING = {
    "pad-is-eos": Fault(
        setting("tokenizer_config.json", pad_token="<|im_end|>"), "data", "pad-is-eos", "pad token is the EOS token"
    ),
    "end-outside": Fault(template(END_OUTSIDE), "data", "label-without-end", "EOS outside the generation markers"),
    "role-header": Fault(
        template(OTHER_HEADER), "data", "prompt-not-prefix", "another role header in training than in the prompt"
    ),
    "truncation": Fault(
        say("max_length = 128", "max_length = 14"), "data", "answer-cut", "answers are cut (`max_length = 14`)"
    ),
    "no-prompt": Fault(template(NO_PROMPT), "data", "prompt-not-trained: in 8 of 8", "no generation prompt"),
    "prompt-loss": Fault(template(ALL_MARKED), "data", "prompt-in-loss", "loss on the prompt"),
    "untrained": Fault(untrained_turns, "data", "untrained-token-used", "tokens of the template were never trained"),
    "swapped": Fault(
        SWAPPED, "data", r"columns-swapped: in 6\d of 64 training rows", "prompt and answer columns exchanged"
    ),
}
# Told by two real steps, or by the labels of a trainer that does something else.
REHEARSING = {
    "pad-collator": Fault(
        interpreter(MASKING_COLLATOR),
        "data",
        "label-without-end",
        "a collator that masks the pad token, which is the EOS",
    ),
    "merged-twice": Fault(interpreter(MERGED_TWICE), "rehearse", "merged twice", "merged twice"),
    "not-merged": Fault(interpreter(NOT_MERGED), "rehearse", "the base was saved", "not merged"),
    "other-base": Fault(
        interpreter(OTHER_BASE),
        "rehearse",
        "another base than was evaluated: weights: evaluated",
        "another base is trained than was evaluated",
    ),
    "no-scheduler": Fault(
        interpreter(DROPPED_SCHEDULER), "rehearse", "learning-rate-not-applied", "the scheduler is dropped"
    ),
    "renamed": Fault(interpreter(RENAMED), "rehearse", "architectures", "the saved config names another architecture"),
}
# Told by what the tuned model answers.
TRAINED = {
    "forgetting": Fault(no_replay, "guard-add", "mix rows of the old skill", "no replay"),
    "hot": Fault(say("lr = 0.005", "lr = 0.1"), "train", "the training loss rose", "learning rate 0.1"),
    "half-wrong": Fault(
        half_wrong,
        "target-last",
        "their answers are wrong or contradict each other.*: read these first: .*(train|replay)[.]jsonl, row",
        "half of the answers wrong",
    ),
}
FAULTS = BEFORE_TRAINING | REHEARSING | TRAINED
