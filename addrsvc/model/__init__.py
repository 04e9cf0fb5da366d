"""The kernel, modelled: netdevice notifiers, the loopback device and IPv6 addrconf of Linux, without I/O.

The kernel's names rule here, so that a reader of the kernel finds a function by its ``.c`` file.  What changes is
grammar, the same way each time: ``struct net_device`` is `NetDevice`, ``ERR_PTR(-ENODEV)`` is ``raise
KernelError(ENODEV)``, an out-parameter is a result, a bare ``int how`` is a keyword.  Each public function names its
origin in the reference release (`addrsvc.uapi.REFERENCE_RELEASE`), or says ``Ours.``

Left out everywhere: reference counts, RCU, spinlocks, mutexes (except RTNL, which is state), allocation flags.  No
clock and no chance of its own: time is a number of jiffies that someone hands in, randomness an object given at boot.
"""
