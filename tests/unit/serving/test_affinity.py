"""Which prompts begin alike."""

from __future__ import annotations

from typing import Any

from encoders.types import MediaKind
from serving.affinity import affinity
from serving.services import NativeMedium
from storage.types import MediaRef

SYSTEM = {"role": "system", "content": "You are helpful."}
FIRST = {"role": "user", "content": "What is a fugue?"}


def key(*messages: dict[str, Any], adapted: bool = False, **fields: Any) -> str:
    body = {"model": "m", "cache_salt": "salt", "messages": list(messages), **fields}
    return affinity(body, (), adapted=adapted)


def test_a_conversation_keeps_its_key() -> None:
    answer, second = {"role": "assistant", "content": "A piece."}, {"role": "user", "content": "By whom?"}
    assert key(SYSTEM, FIRST) == key(SYSTEM, FIRST, answer) == key(SYSTEM, FIRST, answer, second)


def test_what_begins_otherwise_has_another() -> None:
    keys = {
        key(SYSTEM, FIRST),
        key(FIRST),
        key(SYSTEM, {"role": "user", "content": "What is a canon?"}),
        key(SYSTEM, FIRST, model="other"),
        key(SYSTEM, FIRST, cache_salt="another tenant's"),
        key(SYSTEM, FIRST, tools=[{"type": "function"}]),
    }
    assert len(keys) == 6


def test_what_comes_after_does_not_count() -> None:
    assert key(SYSTEM, FIRST, temperature=0.3) == key(SYSTEM, FIRST)


def pictures(*contents: str) -> tuple[NativeMedium, ...]:
    return tuple(
        NativeMedium(content, MediaRef("id", "tenant", "0" * 64, 1, "image/png"), MediaKind.IMAGE, 512)
        for content in contents
    )


def looks(index: int) -> dict[str, Any]:
    return {
        "role": "user",
        "content": [{"type": "text", "text": "See"}, {"type": "attachment", "index": index}],
    }


def test_pictures_of_the_beginning_count_and_those_of_later_turns_do_not() -> None:
    def of(*contents: str) -> str:
        messages = [looks(index) for index in range(len(contents))]
        return affinity({"model": "m", "messages": messages}, pictures(*contents), adapted=False)

    assert of("cat") == of("cat", "dog") == of("cat", "dog", "hen")
    assert of("cat") != of("dog")
    assert of("cat", "dog") != of("dog", "cat")


def test_all_that_ask_for_an_adapter_share_two_keys() -> None:
    def asked(n: int) -> str:
        return key({"role": "user", "content": f"question {n}"}, model="tuned", adapted=True)

    assert {asked(n) for n in range(50)} == {"tuned/0", "tuned/1"}
