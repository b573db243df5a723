"""What users ask of media, as ordinary chats with the laptop's models: captioning, questions about a picture,
reading and answering, summaries of a video and of a recording.

What the prompt holds is checked to the letter (``tests/golden``). The decoder has 135 million parameters and says
much that is wrong, so of its greedy answers only facts are asserted that it copies from the prompt; where it picks
some of several, any two will do, since another CPU's rounding may lead it to other words.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path

import openai
import pytest
from golden_media import GOLDEN

from deploy.demo.samples import Samples

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(400),
    # The client leaves sockets to the garbage collector at interpreter exit.
    pytest.mark.filterwarnings("default::ResourceWarning"),
]

CASES = {
    "captioning": ("broccoli", "Caption this picture in one short sentence.", ("broccoli",), 1),
    "visual question answering": ("pizza", "What food is in this picture?", ("pizza",), 1),
    "reading and answering": ("sign", "How much is a ticket?", (r"\b20\b", "dollars"), 2),
    "video summary": (
        "film",
        "Summarize this video.",
        ("coffee|espresso", "cat", "rocket", "photographer|tripod|camera"),
        2,
    ),
    "audio summary": ("museum", "Summarize what is said.", ("museum", "ticket|20", "fountain", "free"), 2),
    "question about a recording": ("museum", "Where does the guided tour start?", ("fountain",), 1),
}


@pytest.mark.parametrize(("medium", "question", "facts", "least"), CASES.values(), ids=CASES)
def test_the_answer_holds_the_facts(
    client: openai.OpenAI,
    samples: Samples,
    shared_data: Path,
    medium: str,
    question: str,
    facts: tuple[str, ...],
    least: int,
) -> None:
    golden = GOLDEN[medium]
    data = base64.b64encode(golden.path(samples, shared_data).read_bytes()).decode()
    asked = [
        {"type": golden.part, golden.part: {"url": f"data:application/octet-stream;base64,{data}"}},
        {"type": "text", "text": question},
    ]
    answer, plain = (
        client.chat.completions.create(
            model="default",
            messages=[{"role": "user", "content": content}],
            max_tokens=64,
            temperature=0,
        )
        for content in (asked, f"{golden.prompt()}\n\n{question}")
    )
    text = answer.choices[0].message.content or ""
    found = [fact for fact in facts if re.search(fact, text, re.IGNORECASE)]
    assert len(found) >= least, text
    # The engine was given as many tokens as the golden prompt has.
    assert answer.usage is not None
    assert plain.usage is not None
    assert answer.usage.prompt_tokens == plain.usage.prompt_tokens
    assert (answer.model_extra or {})["manymodal"]["media"][0]["prompt_tokens"] > 0
