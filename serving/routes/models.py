"""``GET /v1/models``."""

from __future__ import annotations

from fastapi import APIRouter, Request

from serving.auth import CurrentTenant
from serving.catalogue import ModelCatalogue, ServedModel
from serving.gateway import gateway_of
from serving.protocol.models import Model, ModelList

__all__ = ["router"]

router = APIRouter()


@router.get("/v1/models")
async def list_models(request: Request, tenant: CurrentTenant) -> ModelList:
    """All served models, the chat model first."""
    catalogue = gateway_of(request).catalogue
    return ModelList(data=[_shown(catalogue, model) for model in catalogue.all])


@router.get("/v1/models/{model:path}")
async def get_model(request: Request, model: str, tenant: CurrentTenant) -> Model:
    """A served model by its name or an alias."""
    catalogue = gateway_of(request).catalogue
    return _shown(catalogue, catalogue.find(model))


def _shown(catalogue: ModelCatalogue, model: ServedModel) -> Model:
    facts: dict[str, object] = {"task": model.task, "aliases": list(model.aliases), **model.facts}
    if model.spec is not None:
        facts |= {
            "modalities": list(model.spec.modalities),
            "dimensions": model.spec.dimensions,
            "licence": model.spec.licence,
            "revision": model.spec.revision,
        }
    return Model(id=model.name, created=catalogue.created_at_seconds, manymodal=facts)
