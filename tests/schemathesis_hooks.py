"""What schemathesis cannot guess: bodies that routes take. Most made-up bodies are replaced by them, so that chains
along links begin. Loaded by schemathesis in a process of its own, see tests/api/test_schemathesis.py.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import schemathesis

GOOD_BODIES: dict[str, list[dict[str, Any]]] = json.loads(Path(os.environ["GOOD_BODIES"]).read_text())


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """A good body in place of two out of three."""
    operation = context.operation
    good = GOOD_BODIES.get(f"{operation.method.upper()} {operation.path}")
    drawn = hashlib.sha256(repr(body).encode("utf-8", "replace")).digest()
    if not good or drawn[0] % 3 == 0:
        return body
    chosen = good[drawn[1] % len(good)]
    # Names must be new, and are few, so that some are there already.
    return {
        name: f"{value}{drawn[2] % 16}" if isinstance(value, str) and value.endswith("-") else value
        for name, value in chosen.items()
    }


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    """Streams are described as OpenAI describes them, by what the ``data`` of an event holds; schemathesis holds
    such a schema against the event itself. tests/api/test_chat_transcripts.py looks at events.
    """
    for path in raw_schema["paths"].values():
        for operation in path.values():
            for answer in operation["responses"].values():
                if "text/event-stream" in answer.get("content", {}):
                    answer["content"]["text/event-stream"] = {}


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Addresses too long for uvicorn are answered by it, before they come to us."""
    return len(repr(case.path_parameters)) + len(repr(case.query)) < 4000
