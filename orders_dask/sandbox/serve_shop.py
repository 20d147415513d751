"""Serve the fake shop on a free port of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from aiohttp import web

from orders_dask.sandbox.services import ADDRESS
from orders_dask.sandbox.shop import Shop


@contextmanager
def served(shop: Shop) -> Iterator[str]:
    """Serve a shop from a thread, and yield its URL."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> tuple[web.AppRunner, int]:
        runner = web.AppRunner(shop.application())
        await runner.setup()
        site = web.TCPSite(runner, ADDRESS, 0)
        await site.start()
        return runner, runner.addresses[0][1]

    runner, port = asyncio.run_coroutine_threadsafe(start(), loop).result()
    try:
        yield f"http://{ADDRESS}:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
