"""A second namespace."""

import subprocess
from dataclasses import dataclass

from addrsvc.linux import Namespace
from addrsvc.mirror.netns import NetNs
from addrsvc.uapi import NETNSA_PID
from tests.af_netlink.twins import nla


@dataclass
class Peer:
    """Another namespace of either kernel, and a process in it, known to both by the same number."""

    netns: NetNs
    net: Namespace
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> bytes:
        return nla(NETNSA_PID, self.process.pid)

    def vanish(self) -> None:
        self.process.kill()
        self.process.wait()
        self.netns.close()
        self.net.linux.del_net(self.net.name)
