"""Every error of the platform has its answer and survives a process boundary."""

from __future__ import annotations

import importlib
import inspect
import pickle

import pytest

import encoders.errors
import fusion.errors
import search.errors
import serving.errors
import storage.errors
from serving.error_handlers import error_event, error_parts
from serving.errors import ERROR_TABLE, ApiError, InvalidRequest, answer_for

BASES = (
    ApiError,
    encoders.errors.EncoderError,
    storage.errors.StorageError,
    search.errors.SearchError,
    fusion.errors.FusionError,
)


def all_errors() -> list[type[Exception]]:
    for package in ("encoders", "storage", "search", "fusion", "serving"):
        importlib.import_module(f"{package}.errors")
    found: list[type[Exception]] = []
    pending: list[type[Exception]] = list(BASES)
    while pending:
        cls = pending.pop()
        found.append(cls)
        pending += cls.__subclasses__()
    # Ray makes classes of its own around those it has carried.
    ours = {cls for cls in found if cls.__module__.endswith(".errors")}
    return sorted(ours, key=lambda cls: cls.__qualname__)


def test_the_table_is_complete_and_nothing_in_it_is_dead():
    assert set(all_errors()) == set(ERROR_TABLE)


@pytest.mark.parametrize("cls", all_errors(), ids=lambda cls: cls.__name__)
def test_pickle_and_shape(cls):
    copy = pickle.loads(pickle.dumps(cls("What happened.")))  # noqa: S301 - our own bytes
    assert type(copy) is cls
    assert str(copy) == "What happened."
    answer = ERROR_TABLE[cls]
    assert 400 <= answer.status < 600
    assert (answer.type == "server_error") == (answer.status >= 500)
    if answer.status in (429, 503):
        assert answer.retry_after_seconds
    assert inspect.getdoc(cls)


def test_param_and_code_survive_pickle():
    copy = pickle.loads(pickle.dumps(InvalidRequest("No.", "a.b", "c")))  # noqa: S301 - our own bytes
    assert (copy.message, copy.param, copy.code) == ("No.", "a.b", "c")


def test_subclasses_without_an_entry_answer_like_their_base():
    class Narrow(storage.errors.MediaNotFound):
        """A subclass made elsewhere."""

    answer = answer_for(Narrow("Gone."))
    assert answer is not None
    assert answer.status == 404
    # The walk over subclasses in the other tests must not meet it.
    del Narrow
    import gc

    gc.collect()


def test_foreign_errors_say_nothing():
    answer, message, _, code = error_parts(ValueError("secret"))
    assert (answer.status, code) == (500, "internal_error")
    assert "secret" not in message
    assert b"secret" not in error_event(ValueError("secret"))
    assert error_event(serving.errors.EngineStalled("Slow.")).startswith(b'data: {"error":{"message":"Slow."')
