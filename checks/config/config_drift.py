"""CFG009 config-drift."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from modelcheck.check import check
from modelcheck.facts.config import Config
from modelcheck.facts.files import shorten
from modelcheck.finding import Finding, Severity

# What every save writes in its own way, what training alone reads, and what other rules compare.
EXPECTED = re.compile(
    r"_.*|dtype|torch_dtype|transformers_version|use_cache|.*_token_id|.*_token_index|vocab_size|tie_word_embeddings"
    r"|.*dropout.*|.*_pdrop|.*layerdrop|initializer_.*|output_.*|return_dict.*|use_return_dict|gradient_checkpointing"
    r"|.*aux_loss.*|.*jitter.*|pretraining_tp|quantization_config|num_labels|id2label|label2id|problem_type|name_or_path"
    r"|do_sample|temperature|top_[kp]|repetition_penalty|max_length|min_length|num_beams|unsloth_.*"
    r"|model_type|architectures|auto_map|rope_.*|partial_rotary_factor|tokenizer_class|chunk_size_feed_forward"
)
# By these the same tensors compute something else, and nobody trains them.
DECISIVE = re.compile(
    r".*_eps|.*_epsilon|hidden_act|hidden_activation|activation_function|.*softcap.*|query_pre_attn_scalar|.*multiplier"
    r"|.*scal(?:e|ing|ing_factor)|scale_.*|head_dim|hidden_size|d_model|n_embd|intermediate_size|num_hidden_layers|n_layer"
    r"|n(?:um)?_(?:attention_|key_value_|kv_)?heads?(?:_kv)?|layer_types|num_experts_per_tok|norm_topk_prob|n_group|topk_.*"
    r"|.*qk_norm|no_rope_layers|alibi|clip_qkv|parallel_attn|new_decoder_architecture"
)


@check("CFG009", severity=Severity.WARNING)
def config_drift(config: Config, base_config: Config) -> Iterator[Finding]:
    """A setting of config.json has another value than in the base.

    Symptoms: answers are garbage, or worse than they should be; loading or serving fails

    Why: training changes numbers in tensors. What the config says of them (how many heads they are cut into, the
    epsilon of the norms, the activation, the window of attention) stays as it was, or the trained tensors compute
    something else than they did in training, and no loader complains.

    Common causes:
        - config.json was copied from a sibling of the base. Solution: take the base's value.
        - A script edited the config after training, for a longer context. Solution: evaluate the model again as it is
          now, or take the edit back.

    Bad:
        ```json config.json
        {"rms_norm_eps": 0.001}
        ```
        ```json base/config.json
        {}
        ```
    Good:
        ```json config.json
        {"rms_norm_eps": 0.000010, "dtype": "float32", "transformers_version": "4.57.6", "use_cache": false}
        ```
        ```json base/config.json
        {}
        ```

    Traps: asked only where the base is named with `--base`, and only of settings that both files write: what one leaves
    out is a default, which saving fills in or drops. Expected, and silent, is what saving and training change: dtype,
    versions, caches, dropout, token ids and the size of the vocabulary, tying, quantization; a window that is switched
    off, and exact for approximate GELU (gemma-exact-gelu). Architecture, classes and the rotary embedding are
    differs-from-base's. What decides what the tensors compute may still be a correction of the base (Llama 2's
    epsilon, Gemma 2's attention scale were published with two values): a warning, and an error where a job saved it.
    Other settings may have been meant, such as a longer context: information, and a warning in a job.

    Sources: 136 published configs read and saved again by transformers 5.23, of which none may be told.
    """
    theirs = dict(_settings(base_config.root))
    for at, own in _settings(config.root):
        key, base = at.rpartition("/")[2], theirs.get(at)
        if base is None or own == base or EXPECTED.fullmatch(key) or _both_gelu(own, base):
            continue
        decisive = DECISIVE.fullmatch(key) is not None
        consequence = (
            "the tensors compute something else than was trained"
            if decisive
            else "nothing of training changes it, and the model was not evaluated so unless it was set before"
        )
        message = f"{key} is {shorten(own)}, expected {shorten(base)} as in the base: {consequence}"
        yield Finding(message, config.file, at, Severity.WARNING if decisive else Severity.INFO)


def _settings(of: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    """(JSON pointer, value) of everything that is stated and no object, but for objects that other rules compare."""
    for key, value in of.items():
        if isinstance(value, dict):
            if not EXPECTED.fullmatch(key):
                yield from _settings(value, f"{at}/{key}")
        elif value not in (None, []) and not (key == "sliding_window" and of.get("use_sliding_window") is False):
            yield f"{at}/{key}", value


def _both_gelu(own: Any, base: Any) -> bool:
    """Exact and approximate GELU: Gemma's config class writes the one for the other, and computes the same."""
    return all(isinstance(value, str) and value.startswith("gelu") for value in (own, base))
