"""Words in a collection's texts: Lance's inverted index, ranked by BM25.

The settings are chosen for texts in any language, of which one collection may hold several:

- words are told apart by Unicode's rules (ICU, with its dictionaries for scripts without spaces), in lower case and
  without accents, so ``Café`` is found by ``cafe``;
- no stemming and no list of stop words: both belong to one language and do harm in others (the English list
  swallows the German ``was``). Frequent words weigh little in BM25 anyway; other forms of a word are what the
  vectors find;
- no positions: phrases cannot be asked for, and the index is a good deal smaller.

A query is plain words, any of which may match. There are no operators in it: it goes through the same tokenizer.
"""

from __future__ import annotations

from typing import Any

import lance
import numpy as np
from lance.query import MatchQuery
from numpy.typing import NDArray

__all__ = ["TEXT_INDEX_SETTINGS", "match_text"]

TEXT_INDEX_SETTINGS: dict[str, Any] = {
    "base_tokenizer": "icu",
    "lower_case": True,
    "ascii_folding": True,
    "stem": False,
    "remove_stop_words": False,
    "with_position": False,
    "max_token_length": 128,
}

_NO_MATCHES = (np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.float32))


def match_text(
    dataset: lance.LanceDataset, text: str, count: int
) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    """Row addresses and BM25 scores of the ``count`` best rows for the words of ``text``, best first, equal ones in
    order of address. Rows that the index does not know yet are found as well.
    """
    if count < 1 or not text.strip():
        return _NO_MATCHES
    found = dataset.scanner(
        columns=["_score"],
        full_text_query=MatchQuery(text, "text"),
        limit=count,
        with_row_address=True,
        disable_scoring_autoprojection=True,
    ).to_table()
    addresses = found.column("_rowaddr").to_numpy()
    scores = found.column("_score").to_numpy().astype(np.float32)
    order = np.lexsort((addresses, -scores))
    return addresses[order], scores[order]
