"""What is done with the answer to a request before the `openai` package sees it."""

from __future__ import annotations

import json
from typing import Any

# Of an error that says no more: it may pass.
UNAVAILABLE = 503
# Other paths are asked to see whether they are there: "no such path" under 200 shall not be asked for again.
ANSWERING = "/completions"


def told(response: Any) -> None:
    """Give an answer the status that it speaks of: some servers send an error under 200, and it was never repeated."""
    content = response.read()
    answering = response.request.url.path.endswith(ANSWERING)
    if response.status_code != 200 or not answering or b'"error"' not in content:
        return
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return  # for whoever reads it to tell
    error = answer.get("error") if isinstance(answer, dict) and "choices" not in answer else None
    if error:
        code = error.get("code") if isinstance(error, dict) else None
        response.status_code = code if type(code) is int and 400 <= code < 600 else UNAVAILABLE
