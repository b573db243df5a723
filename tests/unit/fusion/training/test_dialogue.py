"""The words around soft tokens: those of the chat template, split where the picture stands."""

from __future__ import annotations

from typing import Any

import pytest
from tiny_blip2 import IMAGE_TOKEN, blip2_tokenizer

from fusion.errors import TrainingRefused
from fusion.training.dialogue import Dialogue

_CHATML = (
    "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


@pytest.fixture
def tokenizer() -> Any:
    return blip2_tokenizer()


def test_the_picture_stands_before_the_question_on_a_line_of_its_own(tokenizer: Any) -> None:
    example = Dialogue(tokenizer, ["What is it?"], 50).example(0, "A dog.")
    # The same as the whole rendered at once, with a token of its own in the picture's place.
    message = {"role": "user", "content": f"{IMAGE_TOKEN}\nWhat is it?"}
    rendered = tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
    ids = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    place = ids.index(tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
    assert (list(example.before), list(example.after)) == (ids[:place], ids[place + 1 :])
    assert tokenizer.decode(example.answer) == " A dog.</s>"


def test_after_a_line_break_the_answer_begins_without_a_space(tokenizer: Any) -> None:
    tokenizer.chat_template = _CHATML
    example = Dialogue(tokenizer, ["What is it?"], 50).example(0, "A dog.")
    assert tokenizer.decode(example.after) == "\nWhat is it?</s>\n<s>assistant\n"
    assert tokenizer.decode(example.answer) == "A dog.</s>"


def test_long_captions_are_cut_and_still_end(tokenizer: Any) -> None:
    example = Dialogue(tokenizer, ["What?"], 6).example(0, "dog " * 50)
    assert len(example.answer) == 7
    assert example.answer[-1] == tokenizer.eos_token_id


def test_each_prompt_has_its_own_words(tokenizer: Any) -> None:
    dialogue = Dialogue(tokenizer, ["What?", "Who?"], 6)
    assert dialogue.prompts == 2
    assert dialogue.example(0, "x").before == dialogue.example(1, "x").before
    assert dialogue.example(0, "x").after != dialogue.example(1, "x").after


@pytest.mark.parametrize(
    ("template", "words"),
    [(None, "no chat template"), ("{{ messages[0].role }}", "leaves out what the user says")],
)
def test_a_decoder_that_nobody_can_chat_with_is_refused(
    tokenizer: Any, template: str | None, words: str
) -> None:
    tokenizer.chat_template = template
    with pytest.raises(TrainingRefused, match=words):
        Dialogue(tokenizer, ["What?"], 6)
