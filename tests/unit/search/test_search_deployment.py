"""The deployment: the engine on bounded threads, behind the protocol that the routes know."""

from __future__ import annotations

import asyncio
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from search.config import SearchConfig
from search.errors import CollectionNotFound, InvalidQuery, SearchUnavailable
from search.filters import Equals
from search.types import CollectionSpec, Query, Row, SpaceSpec, Vector
from serving.deployments import search as search_deployment
from serving.deployments.search import SearchDeployment
from serving.services import SearchIndex

REPO = Path(__file__).resolve().parents[3]
VECTOR: Vector = np.ones(4, dtype=np.float32)


def make(root: Path) -> SearchDeployment:
    return SearchDeployment(SearchConfig(root, dimensions=4))


async def test_it_is_a_search_index(tmp_path: Path) -> None:
    index: SearchIndex = make(tmp_path)
    assert await index.ready()
    version = await index.add("t", "default", (Row("a", "image", VECTOR),))
    answer = await index.search("t", "default", Query(VECTOR, min_version=version))
    (hit,) = answer.hits
    assert hit.document_id == "a"
    assert pickle.loads(pickle.dumps(answer)) == answer  # noqa: S301 - answers travel between replicas
    version = await index.delete("t", "default", "a")
    answer = await index.search("t", "default", Query(VECTOR, min_version=version))
    assert answer.hits == ()
    with pytest.raises(CollectionNotFound):
        await index.search("t", "photos", Query(VECTOR))


async def test_many_calls_at_once(tmp_path: Path) -> None:
    index = make(tmp_path)
    await asyncio.gather(*(index.add("t", "default", (Row(f"d{n}", "image", VECTOR),)) for n in range(10)))
    answers = await asyncio.gather(*(index.search("t", "default", Query(VECTOR)) for _ in range(50)))
    assert all(len(answer.hits) == 10 for answer in answers)


async def test_every_method_reaches_the_engine(tmp_path: Path) -> None:
    index: SearchIndex = make(tmp_path)
    spec = CollectionSpec((SpaceSpec("default", 4), SpaceSpec("own", 2)))
    made = await index.create("t", "photos", spec)
    assert (made.name, made.spec) == ("photos", spec)
    await index.point_alias("t", "pictures", "photos")
    rows = (
        Row("a", "image", VECTOR, content_hash="ab" * 32, metadata={"n": 1}),
        Row("b", "image", -VECTOR, vectors={"own": np.ones(2, dtype=np.float32)}),
    )
    version = await index.add("t", "pictures", rows)
    info = await index.describe("t", "pictures")
    assert (info.version, info.documents, info.aliases) == (version, 2, ("pictures",))
    assert await index.collections("t") == (info,)
    assert [one.document_id for one in await index.documents("t", "photos", ("b", "x", "a"))] == ["b", "a"]
    assert [one.document_id for one in await index.scroll("t", "photos", "a", 5, None)] == ["b"]
    assert [one.document_id for one in await index.scroll("t", "photos", None, 5, Equals("n", 1))] == ["a"]
    assert await index.known_contents("t", "photos", ("ab" * 32, "cd" * 32)) == {"ab" * 32: "a"}
    assert sum(cluster.size for cluster in await index.clusters("t", "photos", 2, None)) == 2
    assert len((await index.layout("t", "photos", 2, 9, None)).places) == 2
    assert await index.delete_media("t", ("none",)) == 0
    assert await index.vacuum() >= 0
    assert await index.drop_alias("t", "pictures")
    assert await index.drop("t", "photos")
    assert await index.collections("t") == ()


async def test_writes_of_one_moment_share_commits(tmp_path: Path) -> None:
    index = make(tmp_path)
    first = await index.add("t", "default", (Row("first", "image", VECTOR),))
    rows = [(Row(f"d{n}", "image", VECTOR),) for n in range(32)]
    versions = await asyncio.gather(*(index.add("t", "default", one) for one in rows))
    assert max(versions) - first < len(rows)
    answer = await index.search("t", "default", Query(VECTOR, top_k=100, min_version=max(versions)))
    assert len(answer.hits) == 33


async def test_a_version_or_collection_that_does_not_exist(tmp_path: Path) -> None:
    index = make(tmp_path)
    version = await index.add("t", "default", (Row("a", "image", VECTOR),))
    with pytest.raises(InvalidQuery, match=f"no version {version + 1}"):
        await index.search("t", "default", Query(VECTOR, min_version=version + 1))
    with pytest.raises(CollectionNotFound):
        await index.search("t", "photos", Query(VECTOR, min_version=1))


async def test_overload_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = make(tmp_path)
    monkeypatch.setattr(search_deployment, "_MAX_WAITING", 3)
    answers = await asyncio.gather(
        *(index.search("t", "default", Query(VECTOR)) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(answer, SearchUnavailable) for answer in answers) == 2
    assert (await index.search("t", "default", Query(VECTOR))).hits == ()


async def test_a_lost_folder_is_unhealthy(tmp_path: Path) -> None:
    index = make(tmp_path / "search")
    await index.check_health()
    shutil.rmtree(tmp_path / "search")
    assert not await index.ready()
    with pytest.raises(SearchUnavailable):
        await index.check_health()


def test_the_gateway_side_loads_neither_lance_nor_faiss() -> None:
    script = (
        "import sys, search, search.types, search.errors, search.config, serving.deployments.search\n"
        "import storage.media, storage.local, storage.derived, storage.keys\n"
        "heavy = {'lance', 'faiss', 'pyarrow', 'torch', 'boto3', 'ray'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], cwd=REPO, check=True, timeout=60)
