"""A peer: gives ::1 back to namespaces that lose it, as one writes it with pyroute2's AsyncIPRoute.

``python -m tests.benchmarks.async_healer NAME...``: says "ready" when it hears all of them, and runs until killed.
"""

import asyncio
import sys

from pyroute2 import AsyncIPRoute

from addrsvc.mirror.netns import NETNS_RUN_DIR


async def heal(name: str, ready: asyncio.Barrier) -> None:
    path = str(NETNS_RUN_DIR / name)
    async with AsyncIPRoute(netns=path) as listener, AsyncIPRoute(netns=path) as asking:
        await listener.bind()
        await ready.wait()
        while True:
            async for message in listener.get():
                if message["event"] == "RTM_DELADDR" and message.get_attr("IFA_ADDRESS") == "::1":
                    await asking.addr("add", index=1, address="::1", prefixlen=128)


async def heal_all(names: list[str]) -> None:
    ready = asyncio.Barrier(len(names) + 1)
    healers = [asyncio.create_task(heal(name, ready)) for name in names]
    await ready.wait()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.gather(*healers)


if __name__ == "__main__":
    asyncio.run(heal_all(sys.argv[1:]))
