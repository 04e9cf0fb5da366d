"""What keeps the loopback addresses of a machine's network namespaces: found, watched, and repaired.

The hot path of the service.  A configuration (`config`) says what is wanted where; `discover` finds namespaces and sees
them go; `watch` hears what their kernels say; `keep` decides, in one notifier chain, and repairs through `rtnl`.  All
of it runs in one thread around one epoll (`loop`), and what happens is told as events of one vocabulary (`events`).
Neither asyncio nor pyroute2 nor structlog nor netaddr is imported here.
"""
