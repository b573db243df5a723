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
from search.types import Query, Row, Vector
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
    (hit,) = await index.search("t", "default", Query(VECTOR, min_version=version))
    assert hit.document_id == "a"
    assert pickle.loads(pickle.dumps(hit)) == hit  # noqa: S301 - hits travel between replicas
    version = await index.delete("t", "default", "a")
    assert await index.search("t", "default", Query(VECTOR, min_version=version)) == ()
    with pytest.raises(CollectionNotFound):
        await index.search("t", "photos", Query(VECTOR))


async def test_many_calls_at_once(tmp_path: Path) -> None:
    index = make(tmp_path)
    await asyncio.gather(*(index.add("t", "default", (Row(f"d{n}", "image", VECTOR),)) for n in range(10)))
    answers = await asyncio.gather(*(index.search("t", "default", Query(VECTOR)) for _ in range(50)))
    assert all(len(hits) == 10 for hits in answers)


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
    assert await index.search("t", "default", Query(VECTOR)) == ()


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
