"""Search and streamed embeddings behind real Ray Serve."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from cluster.conftest import RunningPlatform

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("default::ResourceWarning"),
]

TEXTS = {
    "boats": "Red fishing boats lie in the harbour.",
    "ships": "Sailing ships on a calm sea.",
    "roses": "The garden is full of roses.",
    "stocks": "Stock prices fell sharply on Monday.",
}


def test_a_collection_from_its_making_to_its_end(platform: RunningPlatform) -> None:
    with httpx.Client(base_url=f"{platform.base_url}/v1", timeout=60) as http:
        spaces = [{"name": "own", "dimensions": 2}]
        made = http.post("/collections", json={"name": "shelf", "spaces": spaces}).json()
        assert made["spaces"][0]["model"].startswith("all-minilm-l6-v2@")
        assert http.put("/collections/shelf/aliases/live").status_code == 200
        version = 0
        for name, text in TEXTS.items():
            body = {
                "id": name,
                "text": text,
                "metadata": {"user_id": name[0]},
                "vectors": {"own": [len(name), 1]},
            }
            version = http.post("/collections/live/documents", json=body).json()["version"]

        def found(path: str = "/search", **fields: object) -> list[str]:
            wanted = {"collection": "live", "min_version": version, **fields}
            answer = http.post(path, json=wanted)
            assert answer.status_code == 200, answer.text
            return [hit["id"] for hit in answer.json()["results"]]

        query = {"type": "text", "content": "vessels at sea"}
        assert found(query=query)[0] == "ships"
        assert found(query={"type": "text", "content": "Monday"}, mode="text") == ["stocks"]
        assert found(query={"type": "text", "content": "roses"}, mode="hybrid", rerank={})[0] == "roses"
        assert found(query={"type": "document", "content": "boats"}, top_k=1) == ["ships"]
        assert len(found(query={"type": "vector", "content": [1, 1], "space": "own"})) == 4
        assert found(query=query, filters={"not": {"user_id": "s"}}, score_threshold=0.2) == ["boats"]
        assert found("/recommend", user_id="b", top_k=1) == ["ships"]
        refused = http.post("/search", json={"query": query, "collection": "nowhere"})
        assert refused.json()["error"]["code"] == "collection_not_found"
        clusters = http.post("/collections/live/clusters", json={"count": 2}).json()["data"]
        assert sum(one["size"] for one in clusters) == 4
        assert http.get("/collections/live/documents/boats/near-duplicates").json()["data"] == []
        assert len(http.get("/collections/live/documents").json()["data"]) == 4
        assert http.delete("/collections/shelf").json()["deleted"]
        assert http.get("/collections/live").status_code == 404


async def test_embeddings_come_while_texts_still_go(platform: RunningPlatform) -> None:
    port = int(platform.base_url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "POST /v1/embeddings HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-ndjson\r\n"
    writer.write(f"{head}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode())

    def send(line: str) -> None:
        writer.write(b"%x\r\n%s\r\n" % (len(line) + 1, line.encode() + b"\n"))

    send(json.dumps({"input": "first"}))
    assert b'"index":0' in await asyncio.wait_for(reader.readuntil(b'"embedding":['), 60)
    send("{")
    send(json.dumps({"id": "book", "input": "A sentence of six short words. " * 200}))
    writer.write(b"0\r\n\r\n")
    rest = (await asyncio.wait_for(reader.read(), 60)).decode()
    assert '"code":"invalid_json"' in rest
    assert '"passage":7' in rest
    assert '"lines":3,"embeddings":9,"errors":1' in rest
    writer.close()


def test_everything_may_be_sent_before_the_first_answer_is_read(platform: RunningPlatform) -> None:
    body = b"".join(
        json.dumps({"input": f"text {number % 50} " + "x" * 3000}).encode() + b"\n" for number in range(4000)
    )
    headers = {"content-type": "application/x-ndjson"}
    answer = httpx.post(f"{platform.base_url}/v1/embeddings", content=body, headers=headers, timeout=120)
    assert json.loads(answer.content.splitlines()[-1])["embeddings"] == 4000
