"""What a regular expression in a client's schema would cost the engine's grammar compiler, before it gets it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from re import _constants, _parser  # type: ignore[attr-defined]  # Python's own parser, which it does not offer
from typing import Any

__all__ = ["MAX_PATTERN_CHARACTERS", "PatternTooCostly", "check_pattern"]

MAX_PATTERN_CHARACTERS = 500
# Measured with xgrammar 0.2.8 on one core: what stays below compiles within about half a second. Its time grows
# with the ways there are to divide a text among counted repetitions: ".{0,99}.{0,99}" (10,000 ways) takes 3 s, and
# one within a star, which may begin anywhere, as much as with ten times its counts.
_MAX_WAYS = 256
_MAX_PLACES = 1_000  # characters and classes, those in counted repetitions as often as they may stand
_WAYS_OF_A_STAR = 10

# What JSON Schema's dialect (ECMA 262) writes otherwise than Python, whose parser is used: a class such as [\w-.],
# which counts as one place whatever is in it, and a group with a name. It has no comments, in which Python would
# not see what another compiler sees.
_OTHERWISE = re.compile(
    r"\\.|(?P<class>\[(?:\\.|[^\]\\])*\])|(?P<group>\(\?<(?![=!])[^>]*>)|(?P<flags>\(\?(?:#|[a-zA-Z-]*x))",
    re.DOTALL,
)

_REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT)


class PatternTooCostly(ValueError):
    """Why, as the end of a sentence that names the pattern."""


def check_pattern(pattern: str) -> None:
    """Raise ``PatternTooCostly`` for what is no regular expression or costs too much. Takes about 0.1 ms."""
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise PatternTooCostly(f"has {len(pattern)} characters; at most {MAX_PATTERN_CHARACTERS} are taken.")
    try:
        parsed = _parser.parse(_OTHERWISE.sub(_in_python, pattern))
    except (re.error, RecursionError, OverflowError):
        raise PatternTooCostly("is not a regular expression that can be read.") from None
    places, ways, _ = _cost(parsed)
    if places > _MAX_PLACES or ways > _MAX_WAYS:
        raise PatternTooCostly(
            "has repetitions like '{0,99}' that are too large, too many or within each other; "
            "use '*' or '+' in their place, or smaller counts."
        )


def _in_python(found: re.Match[str]) -> str:
    if found["flags"]:
        raise PatternTooCostly("has comments in it, which are not supported.")
    if found["class"]:
        return "."
    return "(?:" if found["group"] else found[0]


def _cost(items: Sequence[tuple[Any, Any]]) -> tuple[int, int, bool]:
    """Places, ways to divide a text among counted repetitions, and whether there are such repetitions at all."""
    places, ways, counted = 0, 1, False
    for operation, argument in items:
        inner_places, inner_ways, inner_counted = 1, 1, False
        if operation in _REPEATS:
            least, most, inner = argument
            inner_places, inner_ways, inner_counted = _cost(inner)
            if most == _constants.MAXREPEAT:
                inner_places *= least + 1
                inner_ways *= _WAYS_OF_A_STAR if inner_counted else 1
            else:
                inner_places *= most
                inner_ways = min(inner_ways, _MAX_WAYS + 1) ** min(most, 16) * (most - least + 1)
                inner_counted = inner_counted or most > 1
        elif operation is _constants.BRANCH:
            costs = [_cost(branch) for branch in argument[1]]
            inner_places = sum(cost[0] for cost in costs)
            inner_ways = max(cost[1] for cost in costs)
            inner_counted = any(cost[2] for cost in costs)
        elif operation is _constants.SUBPATTERN:
            inner_places, inner_ways, inner_counted = _cost(argument[-1])
        elif operation is _constants.ATOMIC_GROUP:
            inner_places, inner_ways, inner_counted = _cost(argument)
        elif operation in (_constants.ASSERT, _constants.ASSERT_NOT, _constants.GROUPREF_EXISTS):
            raise PatternTooCostly("looks ahead, looks behind or depends on a group, which is not supported.")
        places += inner_places
        ways *= inner_ways
        counted = counted or inner_counted
    return places, ways, counted
