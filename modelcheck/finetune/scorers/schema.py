"""The scorer for JSON by a schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelcheck.dataset.example import Example
from modelcheck.errors import UsageError
from modelcheck.finetune.scorers.options import Options, Scorer
from modelcheck.finetune.scorers.strict_json import DECODER, FENCE


def json_schema(options: Options) -> Scorer:
    """1 where the answer is JSON, in a fence or bare, that is valid by `schema`, a file or a table.

    JSON by the standard: neither NaN nor a key twice. A `format` is held to where jsonschema can check it; one that it
    cannot, as installed, says nothing. Needs the package jsonschema, from the extra `finetune`.
    """
    jsonschema, referencing = _libraries(options)
    schema = _schema(options)
    validator = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise UsageError(f"{options.place}: schema: {error.json_path}: {error.message}") from None
    formats = validator.FORMAT_CHECKER
    text = json.dumps(schema, sort_keys=True)
    checked = sorted(name for name in formats.checkers if f'"format": "{name}"' in text)
    options.rests_on("schema", json.dumps([text, checked]).encode())
    # An empty registry: what the schema refers to is in it, and nothing is fetched.
    valid = validator(schema, registry=referencing.Registry(), format_checker=formats).is_valid

    def holds(document: Any) -> float:
        try:
            return float(valid(document))
        except referencing.exceptions.Unresolvable as error:
            problem = f"refers to {error.ref!r}, which is not in it"
            raise UsageError(f"{options.place}: schema: {problem}; put the definition under $defs") from None

    def score(answer: str, _: Example) -> float:
        fenced = FENCE.match(answer)
        try:
            return holds(DECODER.decode(fenced[1] if fenced else answer))
        except (ValueError, OverflowError, RecursionError):  # no JSON, or of a number or depth beyond checking
            return 0.0

    try:
        holds(None)
    except RecursionError:
        problem = "refers to itself before it looks into a document, so that no answer can be held to it"
        raise UsageError(f"{options.place}: schema: {problem}; let $ref stand under properties or items") from None
    return score


def _libraries(options: Options) -> tuple[Any, Any]:
    try:
        import jsonschema
        import referencing.exceptions
    except ImportError:
        install = "pip install 'modelcheck[finetune]'"
        raise UsageError(f"{options.place}: json_schema needs the package jsonschema: {install}") from None
    return jsonschema, referencing


def _schema(options: Options) -> Any:
    wanted = "the path of a JSON schema, or the schema as a table"
    schema = options.take("schema", object, wanted)
    if isinstance(schema, Mapping):
        return schema
    if not isinstance(schema, str):
        options.refuse("schema", wanted)
    try:
        return json.loads(Path(str(schema)).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{options.place}: schema: {schema}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{options.place}: schema: {schema}: is no JSON ({error})") from None
