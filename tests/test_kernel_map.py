"""The kernel map in README.md: complete, and true to the code."""

import importlib
import re
from pathlib import Path

import pytest

from addrsvc.af_netlink import rcv

README = Path(__file__).parent.parent / "README.md"
GRAMMAR = "grammar: "

# What the annotated source names: functions, structures, macros, and the members it explains.
NAMES = """
    loopback_net_ops pernet_operations register_pernet_device net_dev_init net loopback_net_init alloc_netdev
    NET_NAME_UNKNOWN net_device register_netdev loopback_dev dev_net loopback_setup gen_lo_setup loopback_ops
    net_device_ops ndo_init ndo_start_xmit ndo_get_stats64 ndo_get_stats ndo_set_mac_address loopback_dev_init
    loopback_dev_free loopback_ethtool_ops ethtool_ops eth_header_ops header_ops eth_header eth_header_parse
    eth_header_cache eth_header_cache_update eth_header_parse_protocol eth_mac_addr loopback_xmit loopback_get_stats64
    netdev_tx_t NETDEV_TX_OK NETDEV_TX_BUSY net_device_stats rtnl_link_stats64
    netdev_alloc_pcpu_stats __netdev_alloc_pcpu_stats alloc_percpu_gfp __alloc_percpu_gfp free_percpu per_cpu_ptr
    for_each_possible_cpu for_each_cpu cpu_possible_mask cpumask_next nr_cpu_ids nrcpus nr_cpus get_option
    pcpu_lstats u64_stats_t u64_stats_sync u64_stats_init u64_stats_read u64_stats_fetch_begin_irq
    u64_stats_fetch_retry_irq dev_lstats_read dev_lstats_add
    hw_features netdev_features_t __NETIF_F __NETIF_F_BIT NETIF_F_GSO_SOFTWARE NETIF_F_ALL_TSO NETIF_F_TSO
    NETIF_F_TSO_BIT NETIF_F_GSO_SHIFT NETIF_F_FRAGLIST
    SKB_GSO_TCPV4 SKB_GSO_DODGY SKB_GSO_TCP_ECN SKB_GSO_TCP_FIXEDID SKB_GSO_TCPV6 SKB_GSO_FCOE SKB_GSO_GRE
    SKB_GSO_GRE_CSUM SKB_GSO_IPXIP4 SKB_GSO_IPXIP6 SKB_GSO_UDP_TUNNEL SKB_GSO_UDP_TUNNEL_CSUM SKB_GSO_PARTIAL
    SKB_GSO_TUNNEL_REMCSUM SKB_GSO_SCTP SKB_GSO_ESP SKB_GSO_UDP SKB_GSO_UDP_L4 SKB_GSO_FRAGLIST
    NETIF_F_GSO_ROBUST NETIF_F_TSO_ECN NETIF_F_TSO_MANGLEID NETIF_F_TSO6 NETIF_F_FSO NETIF_F_GSO_GRE
    NETIF_F_GSO_GRE_CSUM NETIF_F_GSO_IPXIP4 NETIF_F_GSO_IPXIP6 NETIF_F_GSO_UDP_TUNNEL NETIF_F_GSO_UDP_TUNNEL_CSUM
    NETIF_F_GSO_PARTIAL NETIF_F_GSO_TUNNEL_REMCSUM NETIF_F_GSO_SCTP NETIF_F_GSO_ESP NETIF_F_GSO_UDP
    NETIF_F_GSO_UDP_L4 NETIF_F_GSO_FRAGLIST
    net_gso_ok skb_gso_ok netif_needs_gso skb_is_gso skb_has_frag_list sk_buff skb_shinfo gso_type ip_summed
    CHECKSUM_PARTIAL CHECKSUM_UNNECESSARY validate_xmit_skb __dev_queue_xmit dev_queue_xmit netif_rx netif_rx_internal
    trace_netif_rx_entry trace_netif_rx_exit NET_RX_SUCCESS NET_RX_DROP
    ARPHRD_LOOPBACK IFF_LOOPBACK notifier_block notifier_call priority dev_destructor
    register_netdevice_notifier addrconf_init ipv6_dev_notf
    ADDRCONF_NOTIFY_PRIORITY addrconf_notify init_loopback ASSERT_RTNL ipv6_find_idev inet6_dev add_addr
    in6addr_loopback IFA_HOST pr_debug
    IS_ERR ENOMEM EXPORT_SYMBOL BUILD_BUG_ON __init __net_init __net_initdata GFP_KERNEL NULL __func__ __percpu
    __aligned ____cacheline_aligned __alignof__ typeof likely unlikely
""".split()


def rows() -> dict[str, str]:
    """The map: what lives where, by the name it has in the kernel."""
    section = README.read_text().split("\n## Kernel map\n")[1].split("\n## ")[0]
    section, _, _ = section.partition("\n### ")
    table = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| `")]
    return {name: here.strip() for names, here in table for name in re.findall(r"`([^`]+)`", names)}


MAP = rows()
CODE = {name: here.strip("`") for name, here in MAP.items() if here.startswith("`")}


def resolve(dotted: str) -> object:
    """What a dotted name stands for: modules as far as they go, attributes from there."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(dotted)


@pytest.mark.parametrize("name", NAMES)
def test_the_map_says_where_everything_is_that_the_annotated_source_names(name: str) -> None:
    assert name in MAP


def test_the_map_invents_no_names() -> None:
    assert sorted(set(MAP) - set(NAMES)) == []


@pytest.mark.parametrize(("name", "dotted"), CODE.items())
def test_what_the_map_calls_code_is_code(name: str, dotted: str) -> None:
    assert resolve(dotted) is not None


@pytest.mark.parametrize(("name", "dotted"), CODE.items())
def test_code_has_the_kernels_name_or_the_python_spelling_of_it(name: str, dotted: str) -> None:
    last = dotted.rpartition(".")[2]
    camel = name.title().replace("_", "")
    respelled = {
        "dev_net": "net",
        "register_netdev": "register_netdevice",
        "pr_debug": "printk",
        "dev_destructor": "priv_destructor",
        "__dev_queue_xmit": "dev_queue_xmit",
        "__netdev_alloc_pcpu_stats": "netdev_alloc_pcpu_stats",
        "__alloc_percpu_gfp": "alloc_percpu_gfp",
        "cpu_possible_mask": "possible",
        "ndo_get_stats": "stats",
        "net_device_stats": "RtnlLinkStats64",
        "nr_cpus": "Cpus",
        "skb_shinfo": "shinfo",
        "u64_stats_fetch_begin_irq": "fetch_begin",
        "u64_stats_fetch_retry_irq": "fetch_retry",
        "u64_stats_init": "U64StatsSync32",
        "u64_stats_read": "read",
        "u64_stats_t": "U64Stats",
        "BUILD_BUG_ON": "check_gso_correspondence",
    }

    assert last in (name, camel, respelled.get(name))


@pytest.mark.parametrize("name", sorted(MAP.keys() - CODE.keys()))
def test_what_is_not_code_says_why(name: str) -> None:
    assert MAP[name].startswith(GRAMMAR)


def files() -> list[tuple[str, str]]:
    """Of the second table: a file of the kernel, and a module that has to do with it."""
    section = README.read_text().split("\n### Files of netlink\n")[1].split("\n## ")[0]
    lines = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| `")]
    return [(file, module) for files, modules in lines for file in spelled(files) for module in spelled(modules)]


def spelled(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_module_that_serves_requests_is_in_the_second_table() -> None:
    serving = {path.stem for path in Path(rcv.__file__).parent.glob("*.py") if "RTM_" in (path.read_text())}
    listed = {module.rpartition(".")[2] for _, module in files()}

    assert serving - listed <= {"__init__", "addr_form", "faults", "groups"}  # which are ours


@pytest.mark.parametrize("module", sorted({module for _, module in files()}))
def test_a_module_of_the_second_table_names_its_files(module: str) -> None:
    text = Path(importlib.import_module(module).__file__ or "").read_text()

    assert [file for file, of in files() if of == module and file not in text] == []
