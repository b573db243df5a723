"""What a web page can make its reader's browser do to a server without keys."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_platform import build_platform, http_client
from fake_services import fake_png

UPLOAD = {"files": {"file": ("a.png", fake_png())}}


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "127.8.9.10", "[::1]", "[::1]:8000"],
)
async def test_this_machines_names(http, host):
    assert (await http.get("/health", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *(
            "rebound.example",
            "rebound.example:8000",
            "localhost.rebound.example",
            "127.0.0.1.rebound.example",
        ),
        *("localhost@rebound.example", "10.0.0.1", "[::]", "[::2]", "127.1", "", "local host"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_other_names(http, host, method):
    answer = await http.request(method, "/v1/models", headers={"host": host})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "host_not_allowed"
    assert answer.headers["x-request-id"]


async def test_two_hosts(http):
    headers = [("host", "localhost"), ("host", "rebound.example")]
    assert (await http.get("/health", headers=headers)).status_code == 400


async def test_names_that_are_allowed(tmp_path, config):
    platform = build_platform(tmp_path, replace(config, allowed_hosts=("Models.example",)))
    async with http_client(platform) as http:
        for host in ("models.example", "models.example:8443"):
            origin = {"host": host, "origin": "https://models.example"}
            assert (await http.post("/v1/media", headers=origin, **UPLOAD)).status_code == 200
        assert (await http.get("/health", headers={"host": "x.models.example"})).status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"origin": "https://evil.example"},
        {"origin": "http://evil.example:8000"},
        {"origin": "http://localhost:3000"},
        {"origin": "null"},
        {"origin": "chrome-extension://abc"},
        {"origin": ""},
    ],
)
async def test_pages_of_other_origins_change_nothing(http, platform, headers):
    answer = await http.post("/v1/media", headers={"host": "localhost:8000", **headers}, **UPLOAD)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "cross_origin_request"
    answer = await http.delete("/v1/media/file-x", headers=headers)
    assert answer.status_code == 403
    assert platform.stored_files() == 0
    assert (await http.get("/health", headers=headers)).status_code == 200


async def test_our_own_origin_and_programs(http):
    for headers in (
        {},
        {"sec-fetch-site": "same-origin", "origin": "http://localhost:8000"},
        {"origin": "HTTP://LOCALHOST:8000"},
    ):
        answer = await http.post("/v1/media", headers={"host": "localhost:8000", **headers}, **UPLOAD)
        assert answer.status_code == 200, answer.text
