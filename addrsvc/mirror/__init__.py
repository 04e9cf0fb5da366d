"""The mirror: makes a namespace of the running kernel look like a namespace of the model, and tells where it cannot.

`kernel` is the port, `plan` compares two sides of it, `converge` sends.  `rtnl` is the running kernel, the only module
that knows pyroute2, and `netns` makes, holds and enters its namespaces; nothing else here imports either.
"""
