"""AF_NETLINK without I/O: sockets over the model, and rtnetlink requests, replies and dumps as the bytes they are.

The model decides on values; here stands what Linux does with bytes: net/netlink/af_netlink.c and, one module for each
family of messages, the halves of the request handlers that validate attributes, point at the one that is wrong, and
write replies.  Locks, reference counts and network devices' own netlink families are left out.
"""
