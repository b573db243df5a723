"""Made-up requests for every route of our OpenAPI document, alone and in chains along its links.

What comes back must be no server's error and as the document says. A short run belongs to the suite;
`make fuzz-api` runs for minutes.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fake_services import fake_png, fake_wav

pytest.importorskip("schemathesis", reason="schemathesis is a dev dependency")

_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "use_after_free",
    "ensure_resource_availability",
)
# Seconds of `make fuzz-api`; the suite's own runs are bounded by their requests.
_SECONDS = int(os.environ.get("FUZZ_API_SECONDS", "0"))
_LINKS = 6
_HOOKS = Path(__file__).resolve().parents[1] / "schemathesis_hooks.py"


def _url(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _good_bodies() -> dict[str, list[dict[str, object]]]:
    """Requests that are answered, by route; texts that end with a dash get a number."""
    picture, sound = _url(fake_png(), "image/png"), _url(fake_wav((0.0, 2.0, "hi")), "audio/wav")
    hello = [{"role": "user", "content": "Hi"}]
    about = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": picture}}]}]
    chat = {"model": "default", "messages": hello}
    function = {"name": "f"}
    return {
        "POST /v1/chat/completions": [
            chat,
            {**chat, "messages": about, "n": 2, "logprobs": True, "top_logprobs": 1},
            {**chat, "tools": [{"type": "function", "function": function}], "tool_choice": "required"},
            {**chat, "functions": [function], "function_call": function},
            {**chat, "stream": True, "stream_options": {"include_usage": True}, "logprobs": True},
        ],
        "POST /v1/responses": [
            {"model": "default", "input": "Hi"},
            {"model": "default", "input": "Hi", "stream": True},
        ],
        "POST /v1/embeddings": [{"model": "all-minilm-l6-v2", "input": ["a", "b"]}],
        "POST /v1/moderations": [{"input": "a kind word"}],
        "POST /v1/media": [{"data": picture}, {"data": sound}],
        "POST /v1/audio/transcribe": [{"audio_url": sound, "format": "text"}, {"audio_url": sound}],
        "POST /v1/uploads": [
            {"filename": "a.txt", "purpose": "user_data", "bytes": 3, "mime_type": "text/plain"}
        ],
        "POST /v1/collections": [{"name": "pictures-"}],
        "POST /v1/collections/{collection}/documents": [{"text": "a cat"}, {"text": "a dog", "id": "dog-"}],
        "POST /v1/search": [{"query": {"type": "text", "content": "a cat"}}],
        "POST /v1/ingest": [{"collection": "pictures-", "items": [{"text": "a cat"}]}],
    }


def _run(url: str, folder: Path, phases: str, examples: int) -> str:
    """What schemathesis prints; fails unless it found nothing."""
    (folder / "bodies.json").write_text(json.dumps(_good_bodies()))
    bound = (
        ("--max-time", str(_SECONDS // 2)) if _SECONDS else ("--max-examples", str(examples), "--seed", "1")
    )
    command = [
        Path(sys.executable).with_name("schemathesis"),
        "--no-color",
        "run",
        f"{url}/openapi.json",
        *("--phases", phases),
        *("--checks", ",".join(_CHECKS)),
        *("--suppress-health-check", "all"),
        *("--request-timeout", "30"),
        *("--workers", "1"),
        *("--warnings", "off"),
        *("--generation-with-security-parameters", "false"),
        "--continue-on-failure",
        *bound,
    ]
    bodies = {"SCHEMATHESIS_HOOKS": str(_HOOKS), "GOOD_BODIES": str(folder / "bodies.json")}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **bodies},
        capture_output=True,
        text=True,
        timeout=_SECONDS + 110,
        check=False,
    )
    if _SECONDS:
        sys.stdout.write(done.stdout[-1500:])
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.timeout(0 if _SECONDS else 120)
def test_no_made_up_request_breaks_the_server_or_its_word(live, tmp_path):
    _run(live, tmp_path, "examples,fuzzing", 3)


@pytest.mark.timeout(0 if _SECONDS else 120)
def test_no_chain_of_requests_breaks_the_server_or_its_word(live, tmp_path):
    told = _run(live, tmp_path, "stateful", 45)
    covered = re.search(r"API Links: +(\d+) covered", told)
    assert covered is not None
    assert int(covered[1]) >= _LINKS, "chains along links no longer begin"
