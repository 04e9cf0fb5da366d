"""The service: a model that runs, the namespaces that follow it, and those who ask and watch.

`commands` says what can be asked, `service` runs it without a socket, `server` and `interface` put it on one, and
`client` asks from outside.  Everything here is imported by its module: most of it is heavy, and little of it is
needed at a time.
"""
