"""A thin typed client for what OpenAI's client has not: ``Manymodal`` and ``AsyncManymodal``.

It imports nothing of the server.
"""

from __future__ import annotations

from serving.client.answers import (
    AudioUnderstanding,
    Link,
    ListedMedium,
    MediaText,
    Medium,
    Pool,
    PoolList,
    Tenant,
    VideoAnalysis,
    WarmedUp,
)
from serving.client.clients import DEFAULT_URL, AsyncManymodal, Manymodal, base_url_of, is_loopback
from serving.client.found import (
    BatchOutcome,
    Cluster,
    ClusterList,
    Collection,
    CollectionMap,
    Document,
    DocumentBatch,
    Hit,
    IndexedDocument,
    IngestJob,
    IngestProblem,
    SearchAnswer,
)
from serving.client.requests import Upload
from serving.client.search import Query

__all__ = [
    "DEFAULT_URL",
    "AsyncManymodal",
    "AudioUnderstanding",
    "BatchOutcome",
    "Cluster",
    "ClusterList",
    "Collection",
    "CollectionMap",
    "Document",
    "DocumentBatch",
    "Hit",
    "IndexedDocument",
    "IngestJob",
    "IngestProblem",
    "Link",
    "ListedMedium",
    "Manymodal",
    "MediaText",
    "Medium",
    "Pool",
    "PoolList",
    "Query",
    "SearchAnswer",
    "Tenant",
    "Upload",
    "VideoAnalysis",
    "WarmedUp",
    "base_url_of",
    "is_loopback",
]
