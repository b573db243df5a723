"""What is made while the site is built: the API reference, the table of models, plots of what was measured.

Pages hold a line ``<!-- generated: NAME -->`` where something made goes. None of it is in the repository: it is
made of the code and the results, so it cannot be out of date.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import api_reference
import benchmark_tables
import command_reference
import decision_list
import error_reference
import model_table
import setting_reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

from serving.app import describe_routes

__all__ = ["on_files"]

_MARK = re.compile(r"^<!-- generated: (?P<name>[a-z-]+) -->$", re.MULTILINE)
_MADE: Mapping[str, Callable[[], str]] = {
    "models": model_table.table,
    "goals": benchmark_tables.goals,
    "commands": command_reference.reference,
    "exit-codes": command_reference.exit_codes,
    "pictures": benchmark_tables.pictures,
}


@event_priority(60)  # before what links to files is looked at, and before the menu is made
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made whole, and fill in the marks of the others."""
    docs = Path(config.docs_dir)
    examples = api_reference.read_examples((docs / "hooks" / "examples.yaml").read_text("utf-8"))
    guide, operations = ((docs / name).read_text("utf-8") for name in ("api.md", "operations.md"))
    made = api_reference.pages(describe_routes(), guide, examples)
    made["reference/errors.md"] = error_reference.page()
    made["reference/settings.md"] = setting_reference.page(operations, guide)
    made["adr/index.md"] = decision_list.page(docs / "adr")
    for uri, content in made.items():
        files.append(File.generated(config, uri, content=content))
    for page in files.documentation_pages():
        if _MARK.search(page.content_string):
            page.content_string = _MARK.sub(partial(_filled, page.src_uri), page.content_string)
    return files


def _filled(uri: str, found: re.Match[str]) -> str:
    if found["name"] not in _MADE:
        raise PluginError(f"{uri} asks for '{found['name']}', which nothing makes.")
    return _MADE[found["name"]]()
