"""Files of the repository that pages link to, as pages of the site, so that it can be read without the repository.

Pages are written for the repository: ``../serving/app.py`` is a link that works there. For the site every such file
becomes a page under ``repository/``, and the link is turned towards it. A link to a file that is not there fails
the strict build.
"""

from __future__ import annotations

import os
import posixpath
from pathlib import Path

import markdown_links
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

__all__ = ["on_files", "on_page_markdown"]

_ALWAYS = ("CONTRIBUTING.md", "CHANGELOG.md")  # they stand in the menu
_PREFIX = "repository/"
_COPIED = (".svg", ".png", ".jpg", ".json")
_LANGUAGES = {
    ".py": "python",
    ".sh": "bash",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".toml": "toml",
    ".html": "html",
}


@event_priority(50)  # when all pages are there, and before the menu is made
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every file outside ``docs`` that a page links to, and for those that these link to."""
    root = _root(config)
    waiting = [(f"docs/{page.src_uri}", page.content_string) for page in files.documentation_pages()]
    made: set[str] = set()
    wanted = list(_ALWAYS)
    while waiting or wanted:
        for path in wanted:
            if path in made:
                continue
            made.add(path)
            file = _page_of(root, path, config)
            files.append(file)
            if path.endswith(".md"):
                waiting.append((path, (root / path).read_text("utf-8")))
        wanted = []
        if waiting:
            source, text = waiting.pop()
            wanted = [
                path for path in _linked(source, text) if not path.startswith("docs/") and path != "docs"
            ]
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links towards files of the repository to their pages."""
    here = page.file.src_uri
    source = here.removeprefix(_PREFIX) if here.startswith(_PREFIX) else f"docs/{here}"
    if here.startswith(_PREFIX) and not (_root(config) / source).is_file():
        return markdown  # a file of code, shown as it is
    for link in reversed(list(markdown_links.links(markdown))):
        path, hash_sign, anchor = link.target.partition("#")
        if link.is_outside or not path:
            continue
        there = _site_uri(_root(config), _resolved(source, path))
        turned = posixpath.relpath(there, posixpath.dirname(here) or ".")
        markdown = markdown[: link.start] + turned + hash_sign + anchor + markdown[link.stop :]
    return markdown


def _linked(source: str, text: str) -> list[str]:
    """Paths in the repository of what a page links to."""
    targets = [link.target.partition("#")[0] for link in markdown_links.links(text) if not link.is_outside]
    return [_resolved(source, target) for target in targets if target]


def _resolved(source: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), target))


def _site_uri(root: Path, path: str) -> str:
    """Where in the site a file of the repository stands."""
    if path == "docs" or path.startswith("docs/"):
        inside = path.removeprefix("docs").removeprefix("/")
        return posixpath.join(inside, "index.md") if (root / path).is_dir() else inside
    if path.endswith((".md", *_COPIED)):
        return _PREFIX + path
    return f"{_PREFIX}{path}.md"


def _page_of(root: Path, path: str, config: MkDocsConfig) -> File:
    file = root / path
    uri = _site_uri(root, path)
    if path.startswith("..") or not file.exists():
        raise PluginError(f"A page links to {path}, which is not in the repository.")
    if path.endswith(_COPIED):
        return File.generated(config, uri, abs_src_path=str(file))
    if path.endswith(".md"):
        return File.generated(config, uri, content=file.read_text("utf-8"))
    if file.is_dir():
        names = sorted(f"{one.name}/" if one.is_dir() else one.name for one in os.scandir(file))
        body = "\n".join(f"- `{name}`" for name in names if not name.startswith((".", "__")))
    else:
        language = _LANGUAGES.get(file.suffix, "text")
        body = f'~~~~~~ {{ .{language} linenums="1" }}\n{file.read_text("utf-8")}\n~~~~~~'
    return File.generated(config, uri, content=f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n{body}\n")


def _root(config: MkDocsConfig) -> Path:
    return Path(config.docs_dir).parent
