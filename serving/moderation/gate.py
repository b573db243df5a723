"""The gate: content that a tenant's policy does not let through is refused where it passes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter

from encoders.types import MediaInfo, MediaKind, TextLine, Transcript
from serving.concurrency import all_of
from serving.errors import ContentRefused
from serving.moderation.policy import ModerationPolicy, Place
from serving.moderation.scoring import Scoring
from serving.perceiver import Perceiver
from serving.refusals import in_field, naming
from serving.tenant_settings import TenantDirectory
from storage.types import MediaRef

__all__ = ["Guard", "ModerationGate"]


class ModerationGate:
    """Gives a guard to whoever lets a tenant's content pass. One per gateway."""

    def __init__(
        self,
        tenants: TenantDirectory,
        scoring: Scoring,
        perceiver: Perceiver,
        registry: CollectorRegistry,
    ) -> None:
        self._tenants = tenants
        self._scoring = scoring
        self._perceiver = perceiver
        self._refused = Counter(
            "manymodal_moderation_refused",
            "Content that was refused.",
            ("place", "category"),
            registry=registry,
        )

    async def guard(self, tenant: str, place: Place) -> Guard | None:
        """The guard of a place; ``None`` where the tenant's policy lets everything pass."""
        policy = (await self._tenants.settings(tenant)).moderation
        if place not in policy.places:
            return None
        return Guard(tenant, place, policy, self._scoring, self._perceiver, self._refused)


class Guard:
    """Holds content of one request or job against a policy.

    Raises ``ContentRefused`` with the category. Where no model can judge what the policy wants looked at,
    ``ModelUnavailable``: nothing passes unseen.
    """

    def __init__(
        self,
        tenant: str,
        place: Place,
        policy: ModerationPolicy,
        scoring: Scoring,
        perceiver: Perceiver,
        refused: Counter,
    ) -> None:
        self._tenant = tenant
        self._place = place
        self._policy = policy
        self._scoring = scoring
        self._perceiver = perceiver
        self._refused = refused

    async def texts(self, texts: Iterable[str], param: str | None) -> None:
        """Texts that stand in one field of a request."""
        for refusal in await self.refusals(list(texts), param):
            if refusal is not None:
                raise refusal

    async def refusals(self, texts: Sequence[str], param: str | None = None) -> list[ContentRefused | None]:
        """What there is against each of some texts that are no request's own, such as items of a job."""
        return [
            None if category is None else self._refusal("text", category, param)
            for category in await self._categories(texts)
        ]

    async def medium(self, media: MediaRef, info: MediaInfo, param: str | None) -> None:
        """What a picture or a video shows. Sound has nothing to show."""
        with naming(param):
            scores = await self._scoring.medium(media, info)
        category = self._policy.category_of(dict(scores.categories))
        if category is not None:
            raise self._refusal("media", category, param)

    async def words(
        self, lines: Sequence[TextLine], transcript: Transcript | None, param: str | None
    ) -> None:
        """What was read and heard in a medium."""
        read = "\n".join(line.text for line in lines)
        heard = "" if transcript is None else transcript.text
        for category in await self._categories([read, heard]):
            if category is not None:
                raise self._refusal("media", category, param)

    async def perceived(
        self,
        media: MediaRef,
        info: MediaInfo,
        lines: Sequence[TextLine],
        transcript: Transcript | None,
        param: str | None,
    ) -> None:
        """A medium whole: what it shows, what was read in it, and what is said in it."""

        async def words() -> None:
            heard = transcript
            if heard is None and (info.has_audio or info.kind is MediaKind.AUDIO):
                with naming(param):
                    heard, _ = await self._perceiver.transcribe(media)
            await self.words(lines, heard, param)

        await all_of((self.medium(media, info, param), words()))

    async def answers(self, texts: Sequence[str]) -> list[str | None]:
        """The category that forbids each of some whole answers. They may come again, in a chat's next turn."""
        return self._counted(await self._categories(texts))

    async def pieces(self, texts: Sequence[str]) -> list[str | None]:
        """The same of short pieces of answers, which nobody will ask about again."""
        scores = await self._scoring.unremembered(tuple(texts))
        return self._counted([self._policy.category_of(dict(one.categories)) for one in scores])

    def _counted(self, categories: list[str | None]) -> list[str | None]:
        for category in categories:
            if category is not None:
                self._refused.labels(self._place, category).inc()
        return categories

    async def _categories(self, texts: Sequence[str]) -> list[str | None]:
        wanted = [text for text in texts if text.strip()]
        scores = iter(await self._scoring.texts(self._tenant, wanted) if wanted else ())
        return [
            self._policy.category_of(dict(next(scores).categories)) if text.strip() else None
            for text in texts
        ]

    def _refusal(self, what: str, category: str, param: str | None) -> ContentRefused:
        self._refused.labels(self._place, category).inc()
        return ContentRefused(
            f"The {what}{in_field(param)} was refused by the moderation policy that holds for you; "
            f"category: '{category}'.",
            param,
        )
