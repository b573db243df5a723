"""Unit vectors: of length 1 and float32, or a refusal that names the field."""

from __future__ import annotations

import numpy as np
import pytest

from serving.errors import InvalidRequest
from serving.media_vectors import unit_vector


def test_a_vector_of_any_length_becomes_one_of_length_one() -> None:
    unit = unit_vector(np.array([3.0, 4.0]) * 1e-3, "unused", "x")
    assert unit.dtype == np.float32
    np.testing.assert_allclose(unit, [0.6, 0.8], rtol=1e-6)


def test_what_has_hardly_any_length_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="nothing left") as refused:
        unit_vector(np.full(4, 1e-6), "There is nothing left.", "input[0]")
    assert refused.value.param == "input[0]"
