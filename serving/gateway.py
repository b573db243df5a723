"""Everything one gateway replica holds, wired once per app."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from fusion.vector_gate import VectorGate
from serving.access.access import Access
from serving.access.key_ring import KeyRing
from serving.access.keys import KeyStore
from serving.access.stored_tenants import StoredTenants
from serving.access.tenant_store import TenantStore
from serving.admission import Admission
from serving.audit.log import AuditLog, AuditMetrics
from serving.batches.batches import Batches
from serving.catalogue import ModelCatalogue
from serving.chat import ChatPipeline
from serving.config import GatewayConfig
from serving.degradation import Degradation
from serving.fetch import MediaFetcher
from serving.housekeeping import Housekeeping, HousekeepingMetrics
from serving.indexing import Indexer
from serving.ingest.ingest import Ingest
from serving.ingest.ingester import Ingester
from serving.inline_memo import InlineMemo
from serving.limits.collection_limit import CollectionLimit
from serving.limits.limiter import TenantLimiter
from serving.limits.shared import counts_over
from serving.limits.stored import StoredBytes
from serving.media_links import MediaLinks
from serving.media_vectors import gate_of
from serving.metrics import GatewayMetrics
from serving.moderation.gate import ModerationGate
from serving.moderation.scoring import Scoring
from serving.perceiver import Perceiver
from serving.removal import Remover
from serving.responses.pipeline import Responses
from serving.responses.store import ResponseStore
from serving.retrieval.duplicates import CollectionDuplicates
from serving.retrieval.query_items import QueryItems
from serving.retrieval.recommender import Recommender
from serving.retrieval.reranking import LateInteraction
from serving.retrieval.searcher import Searcher
from serving.retrieval.terms import SearchTerms
from serving.services import Services
from serving.store_check import StoreCheck
from serving.strategies.chosen import chosen_strategy
from serving.tenant_data import TenantData
from serving.tenant_settings import TenantDirectory
from serving.token_arrays import TokenArrays
from serving.token_counter import token_counter
from serving.upload_completion import UploadCompletion
from storage.assembly import Storage

__all__ = ["Gateway", "build_gateway", "gateway_of"]


@dataclass(frozen=True, slots=True)
class Gateway:
    """The gateway's parts, as routes use them."""

    config: GatewayConfig
    services: Services
    storage: Storage
    catalogue: ModelCatalogue
    metrics: GatewayMetrics
    admission: Admission
    perceiver: Perceiver
    gate: VectorGate
    chat: ChatPipeline
    responses: Responses
    indexer: Indexer
    searcher: Searcher
    recommender: Recommender
    duplicates: CollectionDuplicates
    media_links: MediaLinks
    remover: Remover
    completion: UploadCompletion
    ingest: Ingest
    batches: Batches
    housekeeping: Housekeeping
    store_check: StoreCheck
    tenants: TenantDirectory
    token_arrays: TokenArrays
    scoring: Scoring
    tenant_store: TenantStore
    tenant_data: TenantData
    access: Access
    audit: AuditLog
    limiter: TenantLimiter
    stored: StoredBytes
    collection_limit: CollectionLimit


def build_gateway(
    services: Services, storage: Storage, config: GatewayConfig, metrics: GatewayMetrics
) -> Gateway:
    """Wire the parts. Loads the tokenizer for prompt budgets; imports no model framework."""
    catalogue = ModelCatalogue(config)
    tenant_store = TenantStore(storage.objects)
    tenants: TenantDirectory = StoredTenants(tenant_store, config.tenant_defaults, config.access)
    counts = counts_over(storage.redis)
    limiter = TenantLimiter(tenants, counts)
    ring = KeyRing(KeyStore(storage.objects, config.cache_secret), config.access)
    perceiver = Perceiver(services.perception, storage.derived, storage.vectors, catalogue, config, metrics)
    perceiver.limit(limiter)
    perceiver.degradation = degradation = Degradation(services.pools)
    stored = StoredBytes(tenants, counts, storage.objects)
    collection_limit = CollectionLimit(tenants, services.search)
    scoring = Scoring(services.perception, perceiver.tasks, catalogue, config)
    moderation = ModerationGate(tenants, scoring, perceiver, metrics.registry)
    fetcher = MediaFetcher(
        config.limits, hosts=config.media_hosts, allow_private_urls=config.allow_private_urls
    )
    memo = InlineMemo()
    admission = Admission(storage, perceiver, fetcher, config.limits, memo, moderation, stored)
    remover = Remover(storage, services.search, memo, stored)
    count_tokens = token_counter(config.chat_model.tokenizer_file)
    gate = gate_of(config)
    search = services.search
    items = QueryItems(search, admission, perceiver, gate, config.limits, moderation)
    terms = SearchTerms(config.cache_secret, config.limits)
    strategy = chosen_strategy(config, perceiver, services.bridge, count_tokens)
    ingester = Ingester(
        storage.media, search, perceiver, gate, fetcher, config.limits, config.ingest, moderation, stored
    )
    ingest = Ingest(storage, search, ingester)
    batches = Batches(storage, config.batches, config.limits.max_body_bytes)
    chat = ChatPipeline(
        services.engine, admission, strategy, count_tokens, catalogue, config, metrics, moderation, limiter
    )
    kept_responses = ResponseStore(
        storage.objects, storage.media.clock, storage.config.response_retention_seconds
    )
    return Gateway(
        config=config,
        services=services,
        storage=storage,
        catalogue=catalogue,
        metrics=metrics,
        admission=admission,
        perceiver=perceiver,
        gate=gate,
        chat=chat,
        responses=Responses(chat, admission, storage.media, kept_responses, catalogue, count_tokens, config),
        indexer=Indexer(services, storage.media, admission, perceiver, gate, moderation, collection_limit),
        searcher=Searcher(search, items, terms, LateInteraction(search), degradation),
        recommender=Recommender(search, items, terms),
        duplicates=CollectionDuplicates(search),
        media_links=MediaLinks(storage),
        remover=remover,
        completion=UploadCompletion(storage, admission, remover, config.limits),
        ingest=ingest,
        batches=batches,
        housekeeping=Housekeeping(
            storage, services.search, remover, kept_responses, stored, HousekeepingMetrics(metrics.registry)
        ),
        store_check=StoreCheck(storage.objects),
        tenants=tenants,
        token_arrays=TokenArrays(
            config.text_tokenizer_file, config.text_model.name, config.limits.max_embedding_characters
        ),
        scoring=scoring,
        tenant_store=tenant_store,
        tenant_data=TenantData(storage, search, ingest, batches, memo, config.cache_secret),
        access=Access(config.access, ring, config.default_tenant),
        audit=AuditLog(storage.objects, config.cache_secret, AuditMetrics(metrics.registry)),
        limiter=limiter,
        stored=stored,
        collection_limit=collection_limit,
    )


def gateway_of(request: Request) -> Gateway:
    """The gateway of the app that serves this request."""
    gateway: Gateway = request.app.state.gateway
    return gateway
