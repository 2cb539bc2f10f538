"""Servers of the OpenAI kind: one client for the engine that evaluates with them and the judge that scores with them.

with Chat(Endpoint(base_url="http://127.0.0.1:8000/v1", model="tiny")) as chat:
    reply = chat.ask([{"role": "user", "content": "..."}], temperature=0, max_tokens=64)
"""

from __future__ import annotations

from modelcheck.finetune.chat.client import Chat, Reply
from modelcheck.finetune.chat.endpoint import ENDPOINT_KEYS, ChatError, Endpoint

__all__ = ["ENDPOINT_KEYS", "Chat", "ChatError", "Endpoint", "Reply"]
