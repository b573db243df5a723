"""What a key must be allowed for each route."""

from __future__ import annotations

import re
from typing import Final, Literal

from serving.identity import Scope

__all__ = ["ROUTE_SCOPES", "Needed", "needed_for"]

Needed = Scope | Literal["nothing", "any"]
"""``nothing``: the route answers without a key. ``any``: every key is good for it."""

_NAMED: Final[dict[Needed, str]] = {
    "nothing": """
        GET /health
        GET /ready
        GET /v1/links/{}
        GET /
        GET /assets/{}
    """,
    "any": """
        GET /openapi.json
        GET /v1/models
        GET /v1/models/{}
    """,
    "chat": """
        POST /v1/chat/completions
        POST /v1/responses
        GET /v1/responses/{}
        DELETE /v1/responses/{}
        GET /v1/responses/{}/input_items
        POST /v1/responses/{}/cancel
        POST /v1/video/analyze
    """,
    "audio": """
        POST /v1/audio/speech
        POST /v1/audio/transcribe
        POST /v1/audio/transcriptions
        POST /v1/audio/translations
    """,
    "embeddings": "POST /v1/embeddings",
    "moderations": "POST /v1/moderations",
    "search": """
        POST /v1/search
        POST /v1/recommend
        POST /v1/collections
        GET /v1/collections
        GET /v1/collections/{}
        DELETE /v1/collections/{}
        PUT /v1/collections/{}/aliases/{}
        DELETE /v1/collections/{}/aliases/{}
        POST /v1/collections/{}/clusters
        POST /v1/collections/{}/map
        POST /v1/collections/{}/documents
        POST /v1/collections/{}/documents/batch
        GET /v1/collections/{}/documents
        GET /v1/collections/{}/documents/{}
        DELETE /v1/collections/{}/documents/{}
        GET /v1/collections/{}/documents/{}/near-duplicates
        POST /v1/ingest
        GET /v1/ingest
        GET /v1/ingest/{}
        GET /v1/ingest/{}/errors
        POST /v1/ingest/{}/cancel
        POST /v1/ingest/{}/resume
    """,
    "files": """
        POST /v1/files
        GET /v1/files
        GET /v1/files/{}
        DELETE /v1/files/{}
        GET /v1/files/{}/content
        POST /v1/files/{}/link
        POST /v1/uploads
        POST /v1/uploads/{}/parts
        POST /v1/uploads/{}/complete
        POST /v1/uploads/{}/cancel
        POST /v1/media
        GET /v1/media
        GET /v1/media/{}
        DELETE /v1/media/{}
        GET /v1/media/{}/content
        GET /v1/media/{}/thumbnail
        GET /v1/media/{}/text
        POST /v1/media/{}/link
        POST /v1/media/warm_up
        DELETE /v1/tenants/{}/data
    """,
    "batches": """
        POST /v1/batches
        GET /v1/batches
        GET /v1/batches/{}
        POST /v1/batches/{}/cancel
    """,
    "admin": """
        GET /metrics
        GET /v1/admin/pools
        GET /v1/tenants/{}
        PUT /v1/tenants/{}
    """,
}

ROUTE_SCOPES: Final[dict[tuple[str, str], Needed]] = {
    (method, path): needed
    for needed, lines in _NAMED.items()
    for method, path in map(str.split, lines.strip().splitlines())
}
"""By method and path template, parameters without their names. A test holds it complete."""

_PARAMETER = re.compile(r"\{[^}]*\}")


def needed_for(method: str, template: str) -> Needed:
    """What a route needs; ``admin`` for one that is not in the table."""
    wanted = "GET" if method == "HEAD" else method
    return ROUTE_SCOPES.get((wanted, _PARAMETER.sub("{}", template)), "admin")
