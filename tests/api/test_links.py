"""Download links: whoever has one gets the file, for a while; nobody else gets anything."""

from __future__ import annotations

import io
import logging
import time

import httpx2
import pytest
from fake_platform import build_platform, http_client
from fake_services import fake_png

from storage.s3.store import S3ObjectStore

CONTENT = b"hello"


def stored(
    platform, tenant: str = "default", content: bytes = CONTENT, expires_at_seconds: int | None = None
) -> str:
    ref = platform.media.receive(tenant, io.BytesIO(content), "text/plain", 1000)
    record = platform.media.commit(ref, filename="ü.txt", expires_at_seconds=expires_at_seconds)
    return record.ref.id


async def link(http, file_id: str, route: str = "files", **request):
    answer = await http.post(f"/v1/{route}/{file_id}/link", **request)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("route", ["files", "media"])
@pytest.mark.parametrize(
    ("request_", "lifetime"),
    [
        ({}, 3600),
        ({"json": {}}, 3600),
        ({"json": {"expires_in_seconds": 60}}, 60),
        ({"json": {"expires_in_seconds": 604_800}}, 604_800),
    ],
)
async def test_a_link_gives_the_file(http, platform, route, request_, lifetime):
    made = await link(http, stored(platform), route, **request_)
    assert set(made) == {"object", "url", "expires_at"}
    assert made["object"] == "link"
    assert made["expires_at"] == pytest.approx(time.time() + lifetime, abs=5)
    assert made["url"].startswith("http://localhost/v1/links/")
    answer = await http.get(made["url"])
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%BC.txt"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    part = await http.get(made["url"], headers={"range": "bytes=1-2"})
    assert (part.status_code, part.content) == (206, b"el")
    head = await http.head(made["url"])
    assert (head.status_code, head.headers["content-length"]) == (200, "5")


@pytest.mark.parametrize("seconds", [59, 604_801, 0, -1, "60", 60.5, True, None])
async def test_lifetimes_have_limits(http, platform, seconds):
    answer = await http.post(f"/v1/files/{stored(platform)}/link", json={"expires_in_seconds": seconds})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "expires_in_seconds")


async def test_links_need_no_tenant(http, platform):
    """The token says whose file it is, whoever follows it."""
    file_id = stored(platform, "somebody-else")
    token = platform.storage.links.sign("somebody-else", file_id, int(time.time()) + 60)
    assert (await http.get(f"/v1/links/{token}")).content == CONTENT


async def test_links_that_lead_nowhere_are_all_alike(http, platform):
    sign, now = platform.storage.links.sign, int(time.time())
    file_id, gone = stored(platform), stored(platform)
    expired_file = stored(platform, expires_at_seconds=now - 1)
    platform.media.delete("default", gone)
    good = sign("default", file_id, now + 60)
    tokens = {
        "expired": sign("default", file_id, now - 1),
        "deleted": sign("default", gone, now + 60),
        "file expired": sign("default", expired_file, now + 60),
        "never there": sign("default", "file-" + "0" * 32, now + 60),
        "another tenant's": sign("other", file_id, now + 60),
        "forged": good[:-2] + ("AA" if good[-2:] != "AA" else "BB"),
        "made up": "x",
        "not ASCII": "%C3%BC",
        "long": "x" * 5000,
    }
    answers = []
    for kind, token in tokens.items():
        for method in ("GET", "HEAD"):
            answer = await http.request(method, f"/v1/links/{token}", headers={"if-none-match": "*"})
            assert answer.status_code == 404, kind
        answers.append((await http.get(f"/v1/links/{token}")).content)
    assert len(set(answers)) == 1
    assert b"link_not_found" in answers[0]
    assert (await http.get(f"/v1/links/{good}")).status_code == 200


async def test_a_link_ends_with_its_file(http, platform):
    expiry = int(time.time()) + 1000
    file_id = stored(platform, expires_at_seconds=expiry)
    assert (await link(http, file_id))["expires_at"] == expiry


async def test_links_of_files_that_are_not_there(http, platform):
    for file_id in ("file-" + "0" * 32, "x", stored(platform, "somebody-else")):
        for route in ("files", "media"):
            answer = await http.post(f"/v1/{route}/{file_id}/link")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "media_not_found")


async def test_the_log_does_not_hold_links(http, platform, caplog):
    made = await link(http, stored(platform))
    with caplog.at_level(logging.INFO, "manymodal.requests"):
        await http.get(made["url"])
    assert [record.fields["path"] for record in caplog.records] == ["/v1/links/"]


async def test_web_pages_elsewhere_make_no_links(http, platform):
    answer = await http.post(f"/v1/files/{stored(platform)}/link", headers={"origin": "https://evil.example"})
    assert answer.status_code == 403


async def test_on_s3_the_store_itself_serves_the_link(tmp_path, config, s3_server):
    platform = build_platform(tmp_path, config, S3ObjectStore(s3_server.config))
    async with http_client(platform) as http, httpx2.AsyncClient() as anyone:
        form = {"file": ("ü.txt", fake_png())}
        file = (await http.post("/v1/files", files=form, data={"purpose": "vision"})).json()
        made = await link(http, file["id"], json={"expires_in_seconds": 60})
        assert made["url"].startswith(f"http://127.0.0.1:{s3_server.port}/")
        answer = await anyone.get(made["url"])
        assert (answer.status_code, answer.content) == (200, fake_png())
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["content-disposition"].startswith("attachment")
        assert (
            await anyone.get(made["url"].replace("X-Amz-Expires=60", "X-Amz-Expires=61"))
        ).status_code == 403
        # The platform's own door is open as well, and the store's closes with the file.
        assert (await http.get(f"/v1/files/{file['id']}/content")).content == fake_png()
        await http.delete(f"/v1/files/{file['id']}")
        assert (await anyone.get(made["url"])).status_code == 404
