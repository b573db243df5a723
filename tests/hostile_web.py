"""A web server that redirects wherever it is told to, and notes who was reached."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, quote, urlsplit

__all__ = ["answering", "listening", "redirecting"]


def redirecting(host: str, location: str, status: int) -> str:
    """A URL at which ``answering`` redirects to ``location``."""
    return f"http://{host}/to?status={status}&at={quote(location, safe='')}"


async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request: the redirect that its URL asks for, otherwise eight bytes."""
    try:
        request = await reader.readuntil(b"\r\n\r\n")
        query = parse_qs(urlsplit(request.split(b" ")[1].decode()).query)
        if "at" in query:
            head = f"HTTP/1.1 {query['status'][0]} Elsewhere\r\nLocation: {query['at'][0]}\r\n"
            writer.write(head.encode() + b"Content-Length: 0\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npublic!!")
        await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass
    finally:
        writer.close()


@asynccontextmanager
async def listening(
    ports: Iterable[int], addresses: Iterable[str], reached: list[str]
) -> AsyncIterator[None]:
    """Answer at these places; ``reached`` gets the address that each connection was made to."""

    async def noted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(str(writer.get_extra_info("sockname")[0]).removeprefix("::ffff:"))
        await answering(reader, writer)

    servers = []
    try:
        for address in addresses:
            for port in ports:
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                server = await asyncio.start_server(noted, address, port, family=family, reuse_port=True)
                servers.append(server)
        yield
    finally:
        for server in servers:
            server.close()
            await server.wait_closed()
