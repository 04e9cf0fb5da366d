"""The units under a real systemd: a throw-away machine is booted beside this one, for each module of tests.

Its process 1 is the systemd that is installed here, in namespaces of its own.  It sees this machine's files through an
overlay, so that whatever it writes is gone with it; of the units it sees only journald's, and those that a test puts
there.  Nothing on this machine is changed.  What makes it: `syscalls`, `cgroup` and `root` are the means, `boot` is the
program that uses them, `machine` is what a test sees.
"""
