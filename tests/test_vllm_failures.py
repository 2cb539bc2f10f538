"""What vLLM says when it gives up: recognised, answered with what helps, and shown with the cause that it points at."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from finetuning import BASE

from modelcheck.finetune.chat import Endpoint
from modelcheck.finetune.engines.vllm_failures import remedy
from modelcheck.finetune.job import Eval, OpenAi, Serve
from modelcheck.finetune.outcome import judged
from modelcheck.finetune.refusals import refusal
from modelcheck.finetune.serving.worker import ServedWorker, Servers
from modelcheck.finetune.stage import Failed

VLLM = Eval(backend="vllm")

# ------------------------------------------------------------------ what helps

MEASURED = {
    "unknown class": (
        "Value error, Model architectures ['FooBarForCausalLM'] are not supported for now. Supported architectures:",
        "name a class that vLLM has",
    ),
    "dropped class": (
        "Model architecture MptForCausalLM was supported in vLLM until v0.28.0, and is not supported anymore.",
        "eval.python",
    ),
    "head width": ("RuntimeError: Unsupported CPU attention configuration: head_dim=16 isa=2", "heads of that width"),
    "adapter names": (
        "There is no module or parameter named 'base_model' in LlamaForCausalLM. The available parameters",
        "merge, unwrap",
    ),
    "unmerged": ("AttributeError: QKVParallelLinear has no attribute `base_layer`", "merge, unwrap"),
    "quantization left": (
        "There is no module or parameter named 'layers.0.mlp.down_proj.weight'. The available parameters ... 'qzeros'",
        "quantization_config",
    ),
    "more layers": ("There is no module or parameter named 'layers.1' in LlamaModel.", "two models"),
    "width": ("RuntimeError: start (0) + length (40) exceeds dimension size (32).", "two models"),
    "bitsandbytes": ("Unknown quantization method: bitsandbytes. Must be one of ['awq'", "plugin"),
    "shard": ("FileNotFoundError: Weight files referenced in index but missing: {'a'}", "index.json"),
    "longer": ("User-specified max_model_len (1024) is greater than the derived max_model_len (", "max_model_len"),
    "prompt": ("This model's maximum context length is 512 tokens. However, your prompt contains", "max_model_len"),
    "no memory": ("No available memory for the cache blocks. Try increasing", "VLLM_CPU_KVCACHE_SPACE"),
    "one request": (
        "(8192), (1.0 GiB KV cache is needed, which is larger than the available KV cache memory (0.5 GiB).",
        "set eval.vllm.max_model_len",
    ),
    "device": (
        "Free memory on device cuda:0 (10.0/80.0 GiB) on startup is less than desired GPU memory utilization (0.9",
        "another process",
    ),
    "cuda": ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate", "max_num_seqs"),
    "replicas": ("LLM(data_parallel_size=2) is not supported for single-process usage and may hang.", "replicas"),
    "rope": ("Found conflicts between 'rope_type=yarn' (modern field) and 'type=linear' (legacy field).", "rope"),
    "heads": ("The hidden size (64) is not a multiple of the number of attention heads (3).", "num_attention_heads"),
    "remote": ("The repository DIR contains custom code which must be executed to correctly", "trust_remote_code"),
    "processor": ("OSError: Can't load image processor for 'DIR'.", "language_model_only"),
    "torchvision": ("RuntimeError: operator torchvision::nms does not exist", "torchvision"),
    "adapter's rank": ("ValueError: LoRA rank 64 is greater than max_lora_rank 16.", "eval.vllm.args.max_lora_rank to"),
    "devices": (
        "World size (4) is larger than the number of available GPUs (2) in this node. If this is intentional",
        "set eval.vllm.tensor_parallel_size to the devices that vLLM sees",
    ),
    "old device": (
        "Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU has compute",
        'dtype = "float16"',
    ),
    "forked": (
        "RuntimeError: Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must",
        'VLLM_WORKER_MULTIPROC_METHOD = "spawn" in eval.env',
    ),
    "no compiler": (
        "RuntimeError: Could not find nvcc and default cuda_home='/usr/local/cuda' doesn't exist",
        "set CUDA_HOME in eval.env",
    ),
    "devices that do not speak": (
        "RuntimeError: NCCL error: unhandled cuda error (run with NCCL_DEBUG=INFO for details)",
        'NCCL_DEBUG = "INFO" in eval.env',
    ),
    "no torchvision": (
        "ModuleNotFoundError: No module named 'torchvision'\nModel architectures ['Gemma3'] failed to be inspected.",
        "install the one made for its torch into eval.python's environment",
    ),
    "no template": (
        "ChatTemplateResolutionError: As of transformers v4.44, default chat template is no longer allowed, so you",
        "chat_template.jinja",
    ),
    "another build": (
        "importlib.metadata.PackageNotFoundError: No package metadata was found for vllm",
        '"vllm.entrypoints.openai.api_server", "--model", "{model}"',
    ),
    "newer save": (
        "ValueError: Tokenizer class TokenizersBackend does not exist or is not currently imported.",
        "needs transformers 5 too",
    ),
    "killed": (
        "Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': -9}",
        "the system killed vLLM's process",
    ),
    "half": ("The model type 'gemma3_text' does not support float16. Reason: Numerical instability.", "bfloat16"),
}


@pytest.mark.parametrize(("text", "expected"), MEASURED.values(), ids=MEASURED)
def test_a_known_failure_is_answered_with_what_helps(text: str, expected: str) -> None:
    assert expected in str(remedy(f"INFO starting\n{text}\nEngine core initialization failed."))


def test_advice_for_a_server_is_in_words_of_its_command() -> None:
    assert remedy("(8192), (1.0 GiB KV cache is needed, which is larger than", served=True) == (
        "set --max-model-len to what prompts and answers need, or --gpu-memory-utilization higher (on CPU: "
        "VLLM_CPU_KVCACHE_SPACE, in GiB, in serve_env)"
    )
    assert str(remedy("The repository DIR contains custom code which must be executed", served=True)).endswith(
        "read it, then set --trust-remote-code"
    )
    assert not [text for text, _ in MEASURED.values() if "eval.vllm" in str(remedy(text, served=True))]
    assert not [text for text, _ in MEASURED.values() if "$" in str(remedy(text)) + str(remedy(text, served=True))]


def test_an_unknown_failure_is_given_no_advice() -> None:
    assert remedy("RuntimeError: something else") is None


def wrapped(place: Path) -> Path:
    """The tiny base under the name of a class that vLLM does not have."""
    folder = Path(shutil.copytree(BASE, place / "folder"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["FSDPLlamaForCausalLM"]}))
    return folder


def test_a_refused_folder_is_told_with_the_finding_that_explains_it(tmp_path: Path) -> None:
    folder = wrapped(tmp_path)
    said = (
        "vLLM cannot load it: ValidationError: Model architectures ['FSDPLlamaForCausalLM'] are not supported for now."
    )
    answer = Failed("generate", "crashed", said, "first\nlast line of the log", tmp_path / "log")
    failure = refusal(answer, VLLM, {"vllm": "0.32.0"}, folder)
    outcome = judged("rehearse", failure.findings, [str(failure)])
    assert outcome.stops
    for part in (said, "last line of the log", "what helps: name a class", "error SRV001 vllm-architecture:"):
        assert part in outcome.message, outcome.message
    assert refusal(answer, VLLM, {"vllm": "0.32.0"}, BASE).findings == ()


# ------------------------------------------------------------------ where the cause stands

POINTS = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}"
POINTS_TO_WORKER = (
    "WorkerProc initialization failed due to an exception in a background process. See stack trace for root cause."
)
BY_WORKER = "(Worker pid=29326) ERROR 11-28 17:10:53 [multiproc_executor.py:953] "
BY_CORE = "(EngineCore pid=28992) ERROR 11-28 17:10:55 [core.py:1510] "
NAMES = "ValueError: There is no module or parameter named 'base_model' in LlamaForCausalLM."


def log(cause: str) -> str:
    """vLLM's log of a model that one of its processes could not load, as it was seen, with fewer frames."""
    return "\n".join(
        [
            "(Worker pid=29326) INFO 11-28 17:10:53 [cpu_model_runner.py:68] Starting to load model /tmp/bad...",
            f"{BY_WORKER}Traceback (most recent call last):",
            f'{BY_WORKER}  File "vllm/model_executor/models/utils.py", line 448, in _load_module',
            f"{BY_WORKER}    raise ValueError(msg)",
            f"{BY_WORKER}{cause}",
            "Loading safetensors checkpoint shards:   0% Completed | 0/1 [00:00<?, ?it/s]",
            f"{BY_CORE}EngineCore failed to start.",
            f"{BY_CORE}    raise e from None",
            f"{BY_CORE}Exception: {POINTS_TO_WORKER}",
            "Traceback (most recent call last):",
            *(f'  File "vllm/entrypoints/llm.py", line {number}, in __init__' for number in range(40)),
            POINTS,
        ]
    )


def crashed(printed: str) -> Failed:
    return Failed("generate", "crashed", f"vLLM cannot load it: {POINTS}", printed, Path("worker.log"))


def test_a_cause_above_the_end_of_the_log_is_shown_and_answered() -> None:
    told = str(refusal(crashed(log(NAMES)), VLLM, {"vllm": "0.32.0"}, BASE)).splitlines()
    assert told[1].startswith("what helps: the folder was saved while the model was wrapped for training")
    assert told[2:6] == [
        "the cause, which stands further up in its log:",
        f'  {BY_WORKER}  File "vllm/model_executor/models/utils.py", line 448, in _load_module',
        f"  {BY_WORKER}    raise ValueError(msg)",
        f"  {BY_WORKER}{NAMES}",
    ]
    assert told[6] == "the last it printed (all of it: worker.log):"
    assert told[-1] == f"  {POINTS}"


def test_a_cause_that_nobody_knows_is_shown_all_the_same() -> None:
    told = str(refusal(crashed(log("KeyError: 'frobnicated'")), VLLM, {}, BASE))
    assert f"  {BY_WORKER}KeyError: 'frobnicated'\nthe last it printed" in told
    assert "what helps" not in told


def test_a_cause_at_the_end_of_the_log_is_shown_once() -> None:
    close = f"{BY_WORKER}{NAMES}\n{POINTS}"
    assert str(crashed(close)).count(NAMES) == 1
    # Where the end points at nothing, it is the cause itself.
    assert NAMES not in str(crashed("\n".join([f"{BY_WORKER}{NAMES}", *["and went on"] * 40])))


def test_a_cause_is_no_longer_than_a_person_reads() -> None:
    longest = max(str(crashed(log(f"{NAMES} The available parameters are: {'x' * 9000}"))).splitlines(), key=len)
    assert len(longest) < 700


def served(place: Path) -> tuple[Eval, Failed]:
    """What a job says of a server of vLLM's, and how it fails when that ends with the log of a refused model."""
    (place / "vllm.py").write_text(f"raise SystemExit({log(NAMES)!r})")
    words = (sys.executable, str(place / "vllm.py"), "--model", "{model}", "--port", "{port}")
    evaluation = Eval(backend="openai", openai=OpenAi(Endpoint("", "{model}"), Serve(words)))
    request = {"stage": "generate", "folder": str(BASE), "engine": evaluation.engine}
    with ServedWorker(Servers(), place / "worker.log", env=os.environ) as worker:
        answer = worker.ask(request, 60)
    assert isinstance(answer, Failed)
    return evaluation, answer


def test_a_server_of_vllms_is_answered_as_the_engine_is(tmp_path: Path) -> None:
    evaluation, answer = served(tmp_path)
    folder = wrapped(tmp_path)
    failure = refusal(answer, evaluation, {}, folder)
    told = str(failure)
    assert f"  {BY_WORKER}{NAMES}\nthe last it printed (all of it: {tmp_path}/server.log)" in told
    assert "what helps: the folder was saved while the model was wrapped for training" in told
    assert "SRV001" in {finding.code for finding in failure.findings}
    # Another server's log is not read as vLLM's.
    assert evaluation.openai
    words = tuple(word.replace("vllm", "other") for word in ("vllm", "{model}", "{port}"))
    other = Eval(backend="openai", openai=OpenAi(Endpoint("", "{model}"), Serve(words)))
    assert "what helps" not in str(refusal(answer, other, {}, folder))
