"""The reference of errors: what each class of error answers, from the gateway's own table."""

from __future__ import annotations

import inspect

from schema_tables import plain

from serving.errors import ERROR_TABLE

__all__ = ["page"]


def page() -> str:
    """All of it as Markdown."""
    lines = [
        "# Errors",
        "Made from the gateway's own table. Every error has OpenAI's form; what `message`, `type`, `param` and "
        "`code` hold is told in [the guide](../api.md#errors). Where the last column has a number, the answer's "
        "header `Retry-After` is at least that many seconds, and trying again makes sense.",
        "",
        "| status | code | type | raised as | what happened | Retry-After, s |",
        "|---|---|---|---|---|---|",
    ]
    answers = sorted(ERROR_TABLE.items(), key=lambda one: (one[1].status, one[1].code or "", one[0].__name__))
    for kind, answer in answers:
        what = plain((inspect.getdoc(kind) or "").partition("\n\n")[0]).replace("|", "\\|")
        retry = "" if answer.retry_after_seconds is None else f"{answer.retry_after_seconds:g}"
        lines.append(
            f"| {answer.status} | `{answer.code}` | `{answer.type}` | `{kind.__name__}` | {what} | {retry} |"
        )
    return "\n".join(lines) + "\n"
