"""What a model gets to see of a sample conversation: compared before and after a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from modelcheck.fact import Unavailable
from modelcheck.facts.chat_template import Template
from modelcheck.facts.tokenizer import Tokenizer
from modelcheck.render.renderer import Renderer, RendererError
from modelcheck.resolver import Resolver
from modelcheck.show import SAMPLE


@dataclass(frozen=True, slots=True)
class SeenByModel:
    """`texts`: {template name: the sample conversation, asking for an answer}. `ids`: the same as token ids.

    `plain` are the ids of a text that is encoded without a template. What cannot be had is left out.
    """

    texts: Mapping[str, str]
    ids: Mapping[str, tuple[int, ...]]
    plain: tuple[int, ...]


def seen_by_model(facts: Resolver) -> SeenByModel:
    """Render and encode the sample with the checkpoint's own templates and tokenizer."""
    texts = _texts(facts)
    try:
        tokenizer: Tokenizer = facts["tokenizer"]
    except Unavailable:
        return SeenByModel(texts, {}, ())
    ids = {name: tuple(tokenizer.encode(text)) for name, text in texts.items()}
    return SeenByModel(texts, ids, tuple(tokenizer.encode(SAMPLE[1]["content"], add_special_tokens=True)))


def _texts(facts: Resolver) -> dict[str, str]:
    renderer: Renderer = facts["renderer"]
    found = {}
    try:
        templates: Mapping[str, Template] = facts["chat_template"]
        variables = {role: token.content for role, token in facts["special_tokens"].by_role.items()}
        now = datetime.now().astimezone().replace(tzinfo=None).isoformat(timespec="seconds")
        asked = {"messages": SAMPLE[1:-1], "clock": now, "add_generation_prompt": True}
        for name, template in templates.items():
            [outcome] = renderer.render(template.text, variables, [asked]).get("outcomes", [{}])
            if "text" in outcome:
                found[name] = outcome["text"]
    except (Unavailable, RendererError):
        pass  # the report says why
    return found
