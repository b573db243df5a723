"""Walking everything that is kept, and repairing what can be repaired: the store first, then the collections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deploy.errors import NothingStored
from deploy.settings import Settings
from encoders.decoding.sniff import sniff
from encoders.errors import EncoderError
from serving.file_types import other_content_type
from storage.assembly import assemble
from storage.backends import open_object_store
from storage.errors import CorruptObject, MediaNotFound
from storage.findings import VerifyReport
from storage.media import MediaStore
from storage.verify import verify_store

__all__ = ["DanglingDocuments", "Verification", "verify_platform"]


@dataclass(frozen=True, slots=True)
class DanglingDocuments:
    """Media of one tenant that collections still name though their records are gone, and the documents that
    were removed with them (0 when nothing is repaired).
    """

    tenant: str
    media_ids: tuple[str, ...]
    removed_documents: int


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found in the store and in the collections."""

    store: VerifyReport
    dangling: tuple[DanglingDocuments, ...]
    repaired: bool

    @property
    def clean(self) -> bool:
        """Whether nothing is left that is wrong."""
        return self.store.clean and (self.repaired or not self.dangling)


def verify_platform(
    settings: Settings, *, repair: bool, progress: Callable[[str, int], None] = lambda what, count: None
) -> Verification:
    """Check every object, reference and search entry. Safe beside a running platform.

    ``progress`` is told what is being walked and how many were seen. Raises ``NothingStored``,
    ``StoreUnavailable`` when the store does not answer and ``SearchUnavailable`` when the collections cannot be
    read.
    """
    if settings.storage.s3 is None and not settings.storage_config().root.is_dir():
        raise NothingStored(f"There is no store in {settings.data_dir}. Name its folder with --data-dir.")
    config = settings.storage_config()
    # Not ``open_storage``, which finishes what a crash cut short: looking must not change anything.
    storage = assemble(config, open_object_store(config), secret=bytes(32))  # it signs no links
    report = verify_store(
        storage.objects,
        storage.media,
        repair=repair,
        progress=progress,
        content_type_of=_content_type,
    )
    dangling = tuple(_dangling(settings, storage.media, repair=repair))
    return Verification(report, dangling, repair)


def _content_type(head: bytes) -> str:
    try:
        return sniff(head).content_type
    except EncoderError:
        return other_content_type(head)


def _dangling(settings: Settings, media: MediaStore, *, repair: bool) -> list[DanglingDocuments]:
    config = settings.search_config()
    if config.s3 is None and not config.root.is_dir():
        return []
    from search.engine import SearchEngine  # Lance and FAISS take a second to load

    engine = SearchEngine(config)
    found = []
    for tenant in engine.tenants():
        missing = {media_id for media_id in engine.media_ids(tenant) if not _exists(media, tenant, media_id)}
        if missing:  # but what has expired and not been removed yet is as it should be
            missing -= {record.ref.id for record in media.expired()}
        gone = tuple(sorted(missing))
        if gone:
            removed = engine.delete_media(tenant, gone) if repair else 0
            found.append(DanglingDocuments(tenant, gone, removed))
    return found


def _exists(media: MediaStore, tenant: str, media_id: str) -> bool:
    try:
        media.get(tenant, media_id)
    except MediaNotFound:
        return False
    except CorruptObject:  # found in the store already; it may be mended yet
        return True
    return True
