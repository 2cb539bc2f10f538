"""Post-processors that put a token before every text."""

from __future__ import annotations

import json
from typing import Any

from modelcheck.fixer import CannotFix

TEMPLATE, SEQUENCE = "TemplateProcessing", "Sequence"
PLAIN = {
    "type": TEMPLATE,
    "single": [{"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {},
}


def prefixed(tokenizer_json: str, content: str, number: int) -> dict[str, Any]:
    """The post-processor of tokenizer.json, which then begins every text with the token. Raises CannotFix."""
    old = json.loads(tokenizer_json).get("post_processor")
    parts = [] if old is None else old["processors"] if old["type"] == SEQUENCE else [old]
    if unknown := next((p["type"] for p in parts if p["type"] not in (TEMPLATE, "ByteLevel")), None):
        raise CannotFix(f"tokenizer.json has a {unknown} post-processor; take that file from the base model")
    if not any(part["type"] == TEMPLATE for part in parts):
        parts = [*parts, PLAIN]
    parts = [_begun(part, content, number) if part["type"] == TEMPLATE else part for part in parts]
    return parts[0] if len(parts) == 1 else {"type": SEQUENCE, "processors": parts}


def _begun(part: dict[str, Any], content: str, number: int) -> dict[str, Any]:
    token = {"SpecialToken": {"id": content, "type_id": 0}}
    known = {**part["special_tokens"], content: {"id": content, "ids": [number], "tokens": [content]}}
    return {**part, "single": [token, *part["single"]], "pair": [token, *part["pair"]], "special_tokens": known}
