"""TPL001 template-broken."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from modelcheck.check import check
from modelcheck.fact import Missing
from modelcheck.facts.conversations import Rendering
from modelcheck.facts.files import JsonObject
from modelcheck.finding import Finding, Severity

TOKEN = re.compile(r"'(\w+_token)' is undefined")
RAISES = "so apply_chat_template raises, in training and in serving"


@check("TPL001", severity=Severity.ERROR)
def template_broken(
    rendered: Mapping[str, Rendering],
    tokenizer_config: JsonObject | None = None,
    tokenizer_json: str | None = None,
) -> Iterator[Finding]:
    """The chat template does not compile, or it fails on a plain user message.

    Symptoms: loading or serving fails

    Why: every `apply_chat_template` call raises, and servers answer every chat request with an error. A trainer may
    start, load the model, and fail on the first row.

    Common causes:
        - The template was edited by hand and a tag is not closed. Solution: the finding names the line.
        - It was pasted into JSON with its quotes or newlines changed. Solution: save it as chat_template.jinja.
        - It reads a variable that callers do not pass. Solution: test it with `is defined` first.

    Bad:
        ```jinja chat_template.jinja
        {% for message in messages %}
        <|im_start|>{{ message.role }}
        {{ message.content }<|im_end|>
        {% endfor %}
        ```
    Good:
        ```jinja chat_template.jinja
        {% for message in messages %}
        <|im_start|>{{ message.role }}
        {{ message.content }}<|im_end|>
        {% endfor %}
        {% if add_generation_prompt %}
        <|im_start|>assistant
        {% endif %}
        ```

    Traps: multimodal templates want contents as lists of parts, so both are tried. A template for tool use, documents
    or safety guidelines needs what it is for: information, unless it is one of a named list, where that is its
    job. Named lists are checked entry by entry. A template without any tokenizer beside it has no special tokens yet,
    which says nothing against it. A template that refuses a plain chat by `raise_exception` may be made for messages
    of its own kind (translation models): a warning.

    Sources: transformers' apply_chat_template; 6 of 285 published templates need more than a user message.
    """
    has_tokenizer = tokenizer_config is not None or tokenizer_json is not None
    unknown = {} if has_tokenizer else {name: token for name, r in rendered.items() if (token := _unknown(r))}
    faults = {name: fault for name, r in rendered.items() if name not in unknown and (fault := _fault(r))}
    if unknown and not faults:
        token = next(iter(unknown.values()))
        raise Missing(f"the template writes {token}, and there is no tokenizer that says what that is")
    for name, (problem, severity) in faults.items():
        rendering = rendered[name]
        at = rendering.template.at
        place = f"{rendering.line}:1" if at is None and rendering.line else at
        yield Finding(f"{rendering.subject} {problem}", rendering.template.file, place, severity)
    if "default" not in rendered:
        template = next(iter(rendered.values())).template
        message = (
            f"the chat templates are named {', '.join(map(repr, rendered))}, expected one named 'default': "
            "apply_chat_template raises unless the caller picks one by name"
        )
        yield Finding(message, template.file, "/chat_template" if template.at else None, Severity.WARNING)


def _unknown(rendering: Rendering) -> str | None:
    """The special token that the template could not be rendered without."""
    token = TOKEN.search(rendering.error("user") or "")
    return token[1] if token else None


def _fault(rendering: Rendering) -> tuple[str, Severity] | None:
    if rendering.syntax_error is not None:
        line = f" in line {rendering.line}" if rendering.line else ""
        error = f"{rendering.syntax_error!r}{line}"
        return f"does not compile: {error}, expected valid Jinja, {RAISES}", Severity.ERROR
    if rendering.killed is not None or rendering.flooded:
        return None  # the rule template-resource-bomb
    if rendering.healthy:
        if not rendering.supply or rendering.name != "default":
            return None
        names = " and ".join(map(repr, rendering.supply))
        needs = f"renders a user message only when the caller passes {names}, expected it to do without"
        return f"{needs}: a plain chat raises", Severity.INFO
    return _raised(rendering)


def _raised(rendering: Rendering) -> tuple[str, Severity]:
    error = f"raises on a user message: {rendering.error('user')!r}"
    role = rendering.needs_role
    if role:
        severity = Severity.WARNING if role == "system" else Severity.INFO
        return f"{error}, expected text, and renders it only after a message of role {role!r}", severity
    if rendering.needs_field:
        return f"{error}, expected text, and renders it only with a field {rendering.needs_field!r}", Severity.INFO
    if (rendering.error("user") or "").startswith("TemplateError:"):
        return f"{error}, expected text: it refuses plain chats in its own words, {RAISES}", Severity.WARNING
    return f"{error}, expected text, {RAISES}", Severity.ERROR
