"""Errors cross process boundaries by pickle and must arrive as they left."""

from __future__ import annotations

import pickle

import pytest

import encoders.errors as errors


@pytest.mark.parametrize("name", errors.__all__)
def test_errors_round_trip_through_pickle(name: str) -> None:
    error = getattr(errors, name)("What happened.")
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(back) is type(error)
    assert back.message == str(back) == "What happened."
