"""What our Python client is, before it speaks to anybody."""

from __future__ import annotations

import asyncio
import inspect
import io
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from serving.client import AsyncManymodal, Manymodal, base_url_of, is_loopback
from serving.client.media import MediaCalls
from serving.client.requests import opened

OURS = "['deploy', 'encoders', 'fusion', 'search', 'serving', 'storage']"
SCRIPT = f"""
import sys
import serving.client
names = [name for name in sys.modules if name.split(".")[0] in {OURS}]
print([name for name in names if name != "serving" and not name.startswith("serving.client")])
heavy = ("fastapi", "msgspec", "numpy", "ray", "starlette", "torch", "typer")
print([name for name in heavy if name in sys.modules])
"""


def test_nothing_of_the_server_is_imported() -> None:
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]


@pytest.mark.parametrize(
    "given", ["http://h:8000", "http://h:8000/", "http://h:8000/v1", "h:8000", " http://h:8000/v1/ "]
)
def test_addresses(given: str) -> None:
    assert base_url_of(given) == "http://h:8000"
    with Manymodal(base_url=given) as client:
        assert str(client.openai.base_url) == "http://h:8000/v1/"


@pytest.mark.parametrize("bad", ["", "ftp://h", "http://", "http://h:x", "http://[::1", "http://h:0"])
def test_what_is_no_address(bad: str) -> None:
    with pytest.raises(ValueError, match="is not an address of a server"):
        Manymodal(base_url=bad)


def test_loopback() -> None:
    assert all(
        is_loopback(f"http://{host}:8000") for host in ("127.0.0.1", "127.9.9.9", "[::1]", "localhost")
    )
    assert not any(is_loopback(f"http://{host}") for host in ("10.0.0.1", "example.org", "localhost.example"))


def test_address_and_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-somebody-else")
    monkeypatch.delenv("MANYMODAL_URL", raising=False)
    monkeypatch.delenv("MANYMODAL_API_KEY", raising=False)
    with Manymodal() as client:
        assert (str(client.openai.base_url), client.openai.api_key) == ("http://127.0.0.1:8000/v1/", "none")
    monkeypatch.setenv("MANYMODAL_URL", "https://mm.example")
    monkeypatch.setenv("MANYMODAL_API_KEY", "mm_key")
    there = AsyncManymodal(max_retries=7)
    assert (str(there.openai.base_url), there.openai.api_key) == ("https://mm.example/v1/", "mm_key")
    assert there.openai.max_retries == 7
    asyncio.run(there.close())


def test_a_client_given_is_the_one_used() -> None:
    with openai.OpenAI(base_url="http://h/v1", api_key="k") as given:
        client = Manymodal(given)
        assert client.openai is given
        assert client.with_options(max_retries=0).openai.max_retries == 0
        with pytest.raises(TypeError, match="not both"):
            Manymodal(given, api_key="other")


def test_methods_show_what_they_take() -> None:
    with Manymodal(base_url="http://h") as client:
        assert str(inspect.signature(client.media.get)) == "(media_id: 'str')"
        assert client.search.each.__doc__ == client.search.__doc__
        assert client.media.get.__name__ == "get"
    assert MediaCalls.get.route.template == "/media/{media_id}"


def test_files_are_open_while_they_are_sent(tmp_path: Path) -> None:
    path, held = tmp_path / "a.png", io.BytesIO(b"held")
    path.write_bytes(b"content")
    files = {
        "a": path,
        "b": str(path),
        "c": ("other.png", path),
        "d": b"bytes",
        "e": ("n", b"bytes"),
        "f": held,
    }
    with opened(files) as ready:
        assert [ready[name][0] for name in "abc"] == ["a.png", "a.png", "other.png"]
        assert [ready[name][1].read() for name in "abc"] == [b"content"] * 3
        assert (ready["d"], ready["e"], ready["f"]) == (b"bytes", ("n", b"bytes"), held)
    assert all(ready[name][1].closed for name in "abc")
    assert not held.closed
