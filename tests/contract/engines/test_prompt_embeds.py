"""Soft tokens through real vLLM: the same answers as the whole model, and what is wrong never reaches it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest
from dashboards import queries
from otlp_collector import Collector, KeptSpan, collecting
from promql import exposed, missing
from tiny_blip2 import WIDTH, tiny_blip2
from vllm_engines import ask, attached, engine_metric, idle, running_engine

from fusion.errors import BridgeMismatch
from serving.engines.vllm import VllmEngine
from serving.errors import AttachmentRefused, InvalidRequest
from serving.services import PromptEmbeddings

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_blip2(tmp_path_factory.mktemp("models") / "blip2", "llama")


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


@pytest.fixture(scope="module")
def engine(folder: Path, collector: Collector) -> Iterator[VllmEngine]:
    with running_engine(
        folder / "decoder",
        soft_tokens_as="prompt_embeds",
        soft_tokens_of="decoder",
        context_tokens=1024,
        extra_arguments=("--block-size", "32"),
        traces_to=f"{collector.endpoint}/v1/traces",
    ) as made:
        yield made


def soft(tokens: int = 8, seed: int = 0, decoder: str = "decoder", width: int = WIDTH) -> PromptEmbeddings:
    vectors = np.random.default_rng(seed).normal(0, 0.3, (tokens, width)).astype(np.float32)
    return PromptEmbeddings(vectors, decoder)


async def test_soft_tokens_stand_where_their_parts_stand(engine: VllmEngine, folder: Path) -> None:
    """Greedy tokens equal a forward of transformers over the same embeddings in the same places."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    decoder = AutoModelForCausalLM.from_pretrained(folder / "decoder").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "decoder")
    first, second = soft(seed=1), soft(5, seed=2)
    answer = await ask(
        engine, ["What is in", attached(1), "the picture and", attached(0), "there?"], first, second
    )
    assert answer.status == 200, answer.body
    # The template of these models takes texts only: vLLM joins the parts of a message by line breaks.
    embed = decoder.get_input_embeddings()
    texts = ("user: What is in\n", "\nthe picture and\n", "\nthere?\nassistant:")
    pieces = [embed(torch.tensor(tokenizer.encode(text, add_special_tokens=False))) for text in texts]
    woven = [pieces[0], torch.tensor(second.vectors), pieces[1], torch.tensor(first.vectors), pieces[2]]
    embeddings = torch.cat(woven)[None]
    with torch.no_grad():
        expected = decoder.generate(inputs_embeds=embeddings, max_new_tokens=16, do_sample=False)[0].tolist()
    assert answer.prompt_tokens == embeddings.shape[1]
    assert answer.tokens == expected
    assert answer.tokens != (await ask(engine, ["What is in", attached(0), "the picture"], first)).tokens


async def test_a_second_question_reuses_the_prefix_of_its_own_tenant_only(engine: VllmEngine) -> None:
    media = soft(64, seed=3)
    before = await engine_metric(engine, "vllm:prefix_cache_hits_total")
    first = await ask(engine, [attached(0), "what is it?"], media)
    again = await ask(engine, [attached(0), "who is there?"], media)
    assert (first.cached_tokens, again.cached_tokens) == (0, 64)
    assert await engine_metric(engine, "vllm:prefix_cache_hits_total") - before == 64
    assert (await ask(engine, [attached(0), "who?"], media, cache_salt="tenant-2")).cached_tokens == 0
    assert (await ask(engine, [attached(0), "who is there?"], soft(64, seed=4))).cached_tokens == 0
    changed = PromptEmbeddings(media.vectors.copy(), media.decoder)
    changed.vectors[20] += 1e-3
    assert (await ask(engine, [attached(0), "who is there?"], changed)).cached_tokens == 0


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (soft(width=WIDTH + 1), AttachmentRefused),
        (soft(0), AttachmentRefused),
        (PromptEmbeddings(np.zeros((2, 4, WIDTH), np.float32), "decoder"), AttachmentRefused),
        (PromptEmbeddings(np.zeros((4, WIDTH), np.float64), "decoder"), AttachmentRefused),
        (PromptEmbeddings(np.full((4, WIDTH), np.nan, np.float32), "decoder"), AttachmentRefused),
        (PromptEmbeddings(np.full((4, WIDTH), np.inf, np.float32), "decoder"), AttachmentRefused),
        (soft(decoder="another"), BridgeMismatch),
        (soft(1100), InvalidRequest),
    ],
    ids=["width", "none", "shape", "dtype", "nan", "infinite", "foreign", "long"],
)
async def test_what_is_wrong_is_refused_and_the_engine_answers_on(
    engine: VllmEngine, bad: PromptEmbeddings, error: type[Exception]
) -> None:
    good = await ask(engine, [attached(0), "what is it?"], soft())
    with pytest.raises(error):
        await ask(engine, [attached(0), attached(1), "what is it?"], soft(), bad)
    after = await ask(engine, [attached(0), "what is it?"], soft())
    assert good.status == after.status == 200
    assert good.tokens == after.tokens


async def test_a_prompt_that_is_too_long_with_its_words_is_the_clients_error(engine: VllmEngine) -> None:
    answer = await ask(engine, [attached(0), "what is it? " * 40], soft(900))
    assert answer.status == 400
    assert "maximum context length" in answer.message


async def test_placeholders_in_texts_are_only_words(engine: VllmEngine) -> None:
    """vLLM alone refuses such texts; here they neither fail nor move the soft tokens."""
    told = "is <prompt_embeds> or <image> or <##PROMPT_EMBEDS##> a word?"
    assert (await ask(engine, told)).status == 200
    answer = await ask(engine, [told, attached(0)], soft())
    plain = await ask(
        engine, ["is < prompt_embeds> or <image> or < ##PROMPT_EMBEDS##> a word?", attached(0)], soft()
    )
    assert answer.status == 200
    assert answer.tokens == plain.tokens


async def test_a_reader_that_leaves_frees_the_engine(engine: VllmEngine) -> None:
    """The request of a closed stream is gone from the engine within two seconds."""
    body = {
        "model": "m", "stream": True, "max_completion_tokens": 900, "ignore_eos": True, "temperature": 0,
        "messages": [{"role": "user", "content": [attached(0), {"type": "text", "text": "on and on"}]}],
    }  # fmt: skip
    headers = {"content-type": "application/json"}
    async with aclosing(
        engine.request("POST", "/v1/chat/completions", headers, json.dumps(body).encode(), (soft(),))
    ) as answer:
        chunks = 0
        async for item in answer:
            chunks += isinstance(item, bytes)
            if chunks == 3:
                break
        assert await engine_metric(engine, "vllm:num_requests_running") == 1
    await idle(engine)
    # The engine core says so as well, with the next thing it says.
    assert (await ask(engine, "still there?")).status == 200
    assert await engine_metric(engine, "vllm:num_requests_running") == 0


async def test_bytes_that_nobody_lent_are_never_opened(engine: VllmEngine) -> None:
    """vLLM would unpickle what stands in such a part. The gateway lets none through; nor does the engine."""
    for data in ("gAR9lC4=", "manymodal:" + "0" * 32, "é"):
        answer = await ask(engine, [{"type": "prompt_embeds", "data": data}, "what is it?"])
        assert answer.status == 400, answer.body
        assert "this kind of reference" in answer.message
    assert (await ask(engine, [attached(0), "what is it?"], soft())).status == 200


async def test_the_engine_continues_the_trace_of_a_request(engine: VllmEngine, collector: Collector) -> None:
    """vLLM's own span, with its times inside, below the one that the header names."""
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    body = {
        "model": "m",
        "max_completion_tokens": 4,
        "messages": [{"role": "user", "content": "a private matter"}],
    }
    headers = {"content-type": "application/json", "traceparent": f"00-{trace}-{parent}-01"}
    async for _ in engine.request("POST", "/v1/chat/completions", headers, json.dumps(body).encode()):
        pass

    def ours(spans: list[KeptSpan]) -> list[KeptSpan]:
        return [span for span in spans if span.trace == trace]

    (span,) = ours(await asyncio.to_thread(collector.wait, lambda spans: bool(ours(spans))))
    assert (span.name, span.parent) == ("llm_request", parent)
    assert "gen_ai.latency.time_to_first_token" in span.attributes
    assert "private" not in span.whole


async def test_dashboards_ask_for_metrics_that_the_engine_has(engine: VllmEngine) -> None:
    assert (await ask(engine, "anything")).status == 200
    text = b""
    async for item in engine.request("GET", "/metrics", {}, b""):
        if isinstance(item, bytes):
            text += item
    there = exposed(text.decode())
    found = {place: missing(query, there, ["vllm:"]) for place, query in queries().items()}
    assert {place: wrong for place, wrong in found.items() if wrong} == {}
    assert sum("vllm:" in query for query in queries().values()) >= 5
