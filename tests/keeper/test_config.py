"""addrsvc.keeper.config: what is read, from where, and what it comes down to."""

import os
from collections.abc import Callable
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_pton

import pytest
from hypothesis import given, settings

from addrsvc.errors import ConfigError, Problem
from addrsvc.keeper.config import BUILT_IN, RULE, SECTIONS, Config, Loaded, load, parse, places
from addrsvc.keeper.kinds import Origin, Table, keys
from addrsvc.keeper.settings import Address, Fights, Metrics, Rule
from addrsvc.keeper.texts import Listen
from addrsvc.keeper.toml_text import toml
from addrsvc.keeper.wanted import FightLimits, Lo, Loopback, Reaction, ServiceAddress, Wanted
from tests.keeper.configs import CONFIGS, EXAMPLE, FULL, instance, uncommented

Write = Callable[[str, str], Path]


def packed(text: str) -> bytes:
    return inet_pton(AF_INET6 if ":" in text else AF_INET, text)


def whole(text: str) -> tuple[bytes, int]:
    return packed(text), len(packed(text)) * 8


def problems(text: str) -> list[tuple[int, str, str]]:
    """What is wrong with a text: line, key and words."""
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert {it.file for it in caught.value.problems} == {"configuration"}
    return [(it.line, it.key, it.text) for it in caught.value.problems]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return written


# --- what is read ----------------------------------------------------------------------------------------------------


def test_without_a_rule_the_built_in_one_holds() -> None:
    loaded = load([])

    assert loaded == Loaded(Config(), {}, ())
    assert parse("[metrics]\nlisten = '127.0.0.1:9100'").config.rules == (BUILT_IN,)
    assert loaded.config.wanted("host") == Wanted(("host",), Lo.UP, Loopback.ENSURE)
    assert loaded.config.wanted("blue") is None
    assert loaded.config.selectors() == ("host",)


def test_every_key_is_read() -> None:
    config = parse(FULL).config
    edge, quiet = config.rules

    assert (config.daemon.realtime, config.daemon.patience) == (10, 0.5)
    assert (config.daemon.log_level, config.daemon.log_format) == ("debug", "json")
    assert (config.control.users, config.control.group, config.control.allow_real_injection) == ((1000, 0), 4, True)
    assert (config.watch.method, config.watch.receive_buffer, config.watch.sweep) == ("nsid", 16 << 20, 12.5)
    assert config.metrics == Metrics(Listen(host="::1", port=9100), 20)
    assert quiet == Rule("quiet", enabled=False, loopback=Loopback.LEAVE)
    assert config.selectors() == ("host", "web-*", "docker:*", "pid:1", "/srv/ns/red")
    assert all(getattr(edge, name) is not None for name in RULE.keys if name not in ("yield_for", "drain"))
    assert config.wanted("web-3") == Wanted(
        ("edge",),
        Lo.UP,
        Loopback.ENSURE,
        Reaction.YIELD_THEN_HEAL,
        0.5,
        {
            whole("fd00::1"): ServiceAddress(*whole("fd00::1"), reaction=Reaction.REPORT),
            whole("192.0.2.1"): ServiceAddress(*whole("192.0.2.1"), reaction=Reaction.REPORT),
            whole("fd00::2"): ServiceAddress(*whole("fd00::2"), 50, 0, Reaction.HEAL, 3.0, 10.0),
            (packed("fd00:1::"), 64): ServiceAddress(packed("fd00:1::"), 64, reaction=Reaction.REPORT, is_route=True),
        },
        frozenset({(packed("192.0.2.9"), 24), whole("fd00::99")}),
        FightLimits(3, 5.0, 2.0, 60.0),
        is_fast_flush=True,
    )


@pytest.mark.parametrize(
    ("label", "is_kept"),
    [("host", True), ("web-1", True), ("web", False), ("Web-1", False), ("docker:web-1", True), ("pid:1", True),
     ("pid:12", False), ("/srv/ns/red", True), ("/srv/ns/redder", False), ("/run/netns/host", False),
     ("/run/netns/web-1", True)],
)  # fmt: skip
def test_a_rule_is_about_what_its_selectors_mean(label: str, is_kept: bool) -> None:
    assert (parse(FULL).config.wanted(label) is not None) == is_kept


def test_namespaces_with_the_same_rules_share_one_object() -> None:
    config = parse(FULL).config

    assert config.wanted("web-1") is config.wanted("docker:x") is not None


@settings(max_examples=200, deadline=None)
@given(CONFIGS)
def test_a_configuration_that_is_written_reads_as_the_same(config: Config) -> None:
    text = toml(Loaded(config, {}, ()))

    assert parse(text).config == config


def test_what_is_shown_says_where_each_value_comes_from(write: Write) -> None:
    loaded = load(
        [write("a.toml", FULL), write("b.toml", "[[rule]]\nname='edge'\nfights.within = 7\naddresses=[\n'fd00::7']")]
    )
    text = toml(loaded)

    assert parse(text).config == loaded.config
    for line in (
        "realtime = 10  # {}/a.toml:2",
        "sweep = 12.5  # {}/a.toml:15",
        '    "root",  # {}/a.toml:8',
        "[[rule]]  # {}/b.toml:1",
        "fights.within = 7.0  # {}/b.toml:3",
        "fights.first_wait = 2.0  # {}/a.toml:31",
        '    "fd00::7",  # {}/b.toml:5',
    ):
        directory = Path(loaded.files[0]).parent
        assert line.format(directory).replace('"root"', "0") in text.splitlines(), line
    assert "fd00::2" not in text
    assert not any("addresses[1]" in key for key in loaded.origins)


# --- rules over one another -------------------------------------------------------------------------------------------

OVER = """\
[[rule]]
name = "all"
namespaces = ["*"]
reaction = "report"
adopt = ["fd00::a"]
addresses = [{ address = "fd00::1", metric = 5, drain = 1 }, "fd00::2"]
fights.reversals = 9
fights.longest_wait = 2

[[rule]]
name = "blue"
namespaces = ["blue"]
loopback = "forbid"
yield_for = 4
adopt = ["fd00::b"]
addresses = ["fd00::3", { address = "fd00::1", metric = 6 }]
fights.first_wait = 3
"""


def test_rules_are_laid_over_one_another() -> None:
    config = parse(OVER).config
    wanted = config.wanted("blue")

    assert config.wanted("red") == Wanted(
        ("all",),
        loopback_reaction=Reaction.REPORT,
        addresses={
            whole("fd00::1"): ServiceAddress(*whole("fd00::1"), 5, reaction=Reaction.REPORT, drain=1.0),
            whole("fd00::2"): ServiceAddress(*whole("fd00::2"), reaction=Reaction.REPORT),
        },
        adopted=frozenset({whole("fd00::a")}),
        fights=FightLimits(reversals=9, longest_wait=2.0),
    )
    assert wanted == Wanted(
        ("all", "blue"),
        loopback=Loopback.FORBID,
        loopback_reaction=Reaction.REPORT,
        loopback_yield_for=4.0,
        addresses={
            whole("fd00::1"): ServiceAddress(*whole("fd00::1"), 6, reaction=Reaction.REPORT, yield_for=4.0, drain=1.0),
            whole("fd00::2"): ServiceAddress(*whole("fd00::2"), reaction=Reaction.REPORT, yield_for=4.0),
            whole("fd00::3"): ServiceAddress(*whole("fd00::3"), reaction=Reaction.REPORT, yield_for=4.0),
        },
        adopted=frozenset({whole("fd00::a"), whole("fd00::b")}),
        fights=FightLimits(reversals=9, first_wait=3.0, longest_wait=3.0),
    )


def test_a_later_file_changes_one_key_of_a_rule(write: Write) -> None:
    first = write("1.toml", OVER)
    more = write("2.toml", "[[rule]]\nname = 'all'\nfights.within = 3\naddresses = ['fd00::9']\n")
    off = write("3.toml", "[[rule]]\nname = 'blue'\nenabled = false\n")
    wanted = load([first, more]).config.wanted("red")

    assert wanted is not None
    assert wanted.loopback_reaction is Reaction.REPORT
    assert wanted.fights == FightLimits(9, 3.0, 1.0, 2.0)
    assert list(wanted.addresses) == [whole("fd00::9")]
    assert load([first, off]).config.wanted("blue") == load([first]).config.wanted("red")
    assert [rule.name for rule in load([more, first]).config.rules] == ["all", "blue"]


# --- files -----------------------------------------------------------------------------------------------------------


def test_files_are_read_place_by_place_and_masked_by_name(tmp_path: Path, write: Write) -> None:
    written = [
        write(name, "")
        for name in (
            "usr/lib/addrsvc/addrsvc.toml.d/10-b.toml",
            "usr/lib/addrsvc/addrsvc.toml.d/90-a.toml",
            "run/addrsvc/addrsvc.toml.d/20-c.toml",
            "etc/addrsvc/addrsvc.toml",
            "etc/addrsvc/addrsvc.toml.d/10-a.toml",
            "etc/addrsvc/addrsvc.toml.d/50-d.toml",
            "usr/lib/addrsvc/addrsvc.toml",
            "etc/addrsvc/addrsvc.toml.d/.hidden.toml",
            "etc/addrsvc/addrsvc.toml.d/50-d.toml.bak",
            "usr/lib/addrsvc/addrsvc.toml.d/50-d.toml",
            "run/addrsvc/addrsvc.toml.d/50-d.toml",
            "usr/lib/addrsvc/addrsvc.toml.d/20-c.toml",
        )
    ]

    assert places(root=tmp_path) == written[:6]


def test_there_need_be_no_files(tmp_path: Path) -> None:
    assert places(root=tmp_path) == []


def test_one_file_has_drop_ins_of_its_own(tmp_path: Path, write: Write) -> None:
    drop_in = write("x.toml.d/a.toml", "")

    assert places(tmp_path / "x.toml") == [tmp_path / "x.toml", drop_in]


def test_a_link_to_dev_null_takes_a_drop_in_away(tmp_path: Path, write: Write) -> None:
    write("usr/lib/addrsvc/addrsvc.toml.d/a.toml", "[daemon]\nrealtime = 3")
    masking = write("etc/addrsvc/addrsvc.toml.d/b.toml", "").with_name("a.toml")
    masking.symlink_to(os.devnull)

    assert load(places(root=tmp_path)).config == Config()


def test_all_that_is_wrong_in_all_files_is_told_at_once(tmp_path: Path, write: Write) -> None:
    good, bad = write("good.toml", "[[rule]]\nname = 'a'"), write("bad.toml", "[daemon]\nx = 1\nrealtime = 100\n")
    missing, binary = tmp_path / "missing.toml", tmp_path / "binary.toml"
    binary.write_bytes(b"a = 1\n# \xff")
    with pytest.raises(ConfigError) as caught:
        load([good, bad, missing, binary])

    assert caught.value.problems == (
        Problem(str(good), 1, "rule.a.namespaces", "it says of no namespaces that it is about them"),
        Problem(str(bad), 2, "daemon.x", "no such key; there are realtime, patience, log_level, log_format"),
        Problem(str(bad), 3, "daemon.realtime", "100 is not a whole number from 0 to 99"),
        Problem(str(missing), 0, "", "No such file or directory"),
        Problem(str(binary), 2, "", "it is no UTF-8: invalid start byte, 0xff"),
    )
    assert str(caught.value).splitlines()[0] == f"{good}:1: rule.a.namespaces: {caught.value.problems[0].text}"


def test_a_value_that_a_later_file_mends_is_wrong_all_the_same(write: Write) -> None:
    with pytest.raises(ConfigError):
        load([write("1.toml", "[daemon]\nrealtime = 'x'"), write("2.toml", "[daemon]\nrealtime = 1")])


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory"):
        load([tmp_path])


def test_what_never_ends_is_not_read() -> None:
    with pytest.raises(ConfigError, match="larger than 16 MiB"):
        load([Path("/dev/zero")])


def test_nobody_waits_for_a_named_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(ConfigError, match=r"pipe\.toml: it is a named pipe"):
        load([tmp_path / "pipe.toml"])


def test_what_another_program_writes_can_be_read() -> None:
    read, write = os.pipe()
    os.write(write, b"[watch]\nsweep = 7\n")
    os.close(write)
    loaded = load([Path(f"/dev/fd/{read}")])
    os.close(read)
    assert loaded.config.watch.sweep == 7


# --- what is wrong ----------------------------------------------------------------------------------------------------

RULE_LINES = '[[rule]]\nname = "a"\nnamespaces = ["host"]\n'
"""Three lines that are right."""
SELECTOR = "host, a name or glob below /run/netns, docker:GLOB, pid:NUMBER or a path"
WRONG: dict[str, list[tuple[int, str, str]]] = {
    "a = ": [(1, "", "it is no TOML: Invalid value")],
    "\na = [\n1,\n": [(4, "", "it is no TOML: Invalid value")],
    "\na = b": [(2, "", "it is no TOML at column 5: Invalid value")],
    "rule = 1": [(1, "rule", "1 is not an array of tables; begin each rule with [[rule]]")],
    "[rule]\nname = 'a'": [(1, "rule", "a table is not an array of tables; begin each rule with [[rule]]")],
    "rule = [\n1]": [(2, "rule[0]", "1 is not a table")],
    "daemon = 1": [(1, "daemon", "1 is not a table")],
    "[deamon]": [(1, "deamon", "no such section; did you mean daemon?")],
    "[x]": [(1, "x", "no such section; there are daemon, control, watch, metrics, rule")],
    "[daemon]\n\nrealtim = 1": [(3, "daemon.realtim", "no such key; did you mean realtime?")],
    "daemon.realtime = true": [(1, "daemon.realtime", "true is not a whole number from 0 to 99")],
    "[daemon]\nlog_level = 'warn'": [
        (2, "daemon.log_level", "'warn' is not one of debug, info, warning, error; did you mean warning?")
    ],
    "watch.sweep = nan": [(1, "watch.sweep", "nan is not a number of seconds from 0 to 86400")],
    "watch.sweep = -1": [(1, "watch.sweep", "-1 is not a number of seconds from 0 to 86400")],
    "watch.receive_buffer = '8m'": [(1, "watch.receive_buffer", "'8m' is not a size from 4K to 1G")],
    "watch.receive_buffer = 1": [(1, "watch.receive_buffer", "1 is not a size from 4K to 1G")],
    "control.users = ['no-such-user-here', -1]": [
        (1, "control.users[0]", "there is no user 'no-such-user-here'"),
        (1, "control.users[1]", "-1 is not a whole number from 0 to 4294967294"),
    ],
    "control.users = [\n'root',\n0]": [(3, "control.users[1]", "the same as control.users[0], line 2")],
    "control.group = 'rot'": [(1, "control.group", "there is no group 'rot'; did you mean root?")],
    "control.allow_real_injection = 'yes'": [(1, "control.allow_real_injection", "'yes' is not true or false")],
    "metrics.listen = '0.0.0.0:9100'": [
        (1, "metrics.listen", "'0.0.0.0:9100' is not unix:/PATH, 127.0.0.1:PORT, [::1]:PORT or off: who is elsewhere "
         "may ask a proxy")
    ],
    "metrics.listen = '127.0.0.1:0'": [
        (1, "metrics.listen", "'127.0.0.1:0' is not unix:/PATH, 127.0.0.1:PORT, [::1]:PORT or off")
    ],
    "metrics.listen = 'unix:x'": [(1, "metrics.listen", "'x' is not an absolute path of at most 107 bytes")],
    "[[rule]]\nnamespaces = ['host']": [(1, "rule[0]", 'it has no name; give it one, such as name = "edge"')],
    "[[rule]]\nname = 'a.b'": [(2, "rule[0].name", "'a.b' is not a name of letters, digits, _ and -")],
    f"{RULE_LINES}{RULE_LINES}": [(5, "rule.a.name", "a second rule a in one file; the first is in line 1")],
    "[[rule]]\nname = 'a'\nnamespaces = [\n'a/b',\n'pid:x', 'dokcer:*', 'a', 'a']": [
        (4, "rule.a.namespaces[0]", f"'a/b' is not {SELECTOR}"),
        (5, "rule.a.namespaces[1]", f"'pid:x' is not {SELECTOR}"),
        (5, "rule.a.namespaces[2]", f"'dokcer:*' is not {SELECTOR}; did you mean docker?"),
        (5, "rule.a.namespaces[4]", "the same as rule.a.namespaces[3], line 5"),
    ],
    f"{RULE_LINES}loopback = 'enusre'\nlo = 'down'": [
        (4, "rule.a.loopback", "'enusre' is not one of ensure, forbid, leave; did you mean ensure?"),
        (5, "rule.a.lo", "'down' is not one of up, leave"),
    ],
    f"{RULE_LINES}adress = []": [(4, "rule.a.adress", "no such key; did you mean addresses?")],
    f"{RULE_LINES}fights = {{ reversals = 0,\n  withi = 1 }}".replace("\n  ", " "): [
        (4, "rule.a.fights.reversals", "0 is not a whole number from 1 to 1000000"),
        (4, "rule.a.fights.withi", "no such key; did you mean within?"),
    ],
    f"{RULE_LINES}fights.first_wait = 9\nfights.longest_wait = 8": [
        (5, "rule.a.fights.longest_wait", "it is less than first_wait")
    ],
    f"{RULE_LINES}adopt = ['::1']": [
        (4, "rule.a.adopt[0]", '::1: lo has it by itself: say loopback = "ensure", "forbid" or "leave"')
    ],
    f"{RULE_LINES}addresses = [\n{{ address = 'fd00::1',\n reaction = 'hael' }}]".replace(",\n r", ", r"): [
        (5, "rule.a.addresses[0].reaction", "'hael' is not one of heal, yield-then-heal, report; did you mean heal?")
    ],
    f"{RULE_LINES}[[rule.addresses]]\nadress = 'fd00::1'": [
        (5, "rule.a.addresses[0].adress", "no such key; did you mean address?"),
        (4, "rule.a.addresses[0]", 'no address is said; it takes address = "fd00::1", say'),
    ],
    f"{RULE_LINES}addresses = [{{ address = 'fd00::/64', route = true, preferred_lft = 1 }}]": [
        (4, "rule.a.addresses[0].preferred_lft", "a route has no preferred lifetime")
    ],
    f"{RULE_LINES}addresses = [{{ address = '192.0.2.1', preferred_lft = 1 }}]": [
        (
            4,
            "rule.a.addresses[0].preferred_lft",
            'an IPv4 address that stays is preferred "forever" or, with 0, never',
        )
    ],
    f"{RULE_LINES}addresses = [{{ address = 'fd00::1', preferred_lft = 'ever' }}]": [
        (4, "rule.a.addresses[0].preferred_lft", "'ever' is not a whole number from 0 to 4294967294, nor 'forever'; "
         "did you mean forever?")
    ],
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_told_with_its_place_and_what_would_be_right(text: str) -> None:
    assert sorted(problems(text)) == sorted(WRONG[text])


ADDRESSES = {
    "::": "::: nothing can be reached by it",
    "::1": '::1: lo has it by itself: say loopback = "ensure", "forbid" or "leave"',
    "127.0.0.1": "127.0.0.1: lo has it by itself as soon as it is up",
    "0.0.0.0": "0.0.0.0: nothing can be reached by it",
    "fe80::1": "fe80::1: an address that holds on one link only is of no use on lo",
    "ff02::1": "ff02::1: nobody has a multicast address",
    "224.0.0.1": "224.0.0.1: nobody has a multicast address",
    "255.255.255.255": "255.255.255.255: nobody has the broadcast address",
    "::ffff:192.0.2.1": "::ffff:192.0.2.1: write it as an IPv4 address",
    "fd00::/64": "an address is wanted, a /128; say route = true to have a local route to all of fd00::/64",
    "192.0.2.1/24": "an address is wanted, a /32; say route = true to have a local route to all of 192.0.2.1/24",
    "fd00::1/129": "'fd00::1/129': '129' is not a prefix length from 0 to 128",
    "fd00::1/": "'fd00::1/': '' is not a prefix length from 0 to 128",
    "fd00::1/+1": "'fd00::1/+1': '+1' is not a prefix length from 0 to 128",
    "fd00::1%lo": "'fd00::1%lo' is not an address, such as fd00::1 or 192.0.2.1; a zone makes no sense here",
    "192.0.2": "'192.0.2' is not an address, such as fd00::1 or 192.0.2.1",
    "fd00::1\\u0000": "'fd00::1\\x00' is not an address, such as fd00::1 or 192.0.2.1",
    "localhost": "'localhost' is not an address, such as fd00::1 or 192.0.2.1",
}
ROUTES = {
    "::/0": "::/0: a local route this wide would take what is not ours; /16 is the widest",
    "10.0.0.0/7": "10.0.0.0/7: a local route this wide would take what is not ours; /8 is the widest",
    "fd00::1/64": "fd00::1/64: there are bits behind the prefix; did you mean fd00::/64?",
    "::/64": "::/64: it would cover ::",
    "::1/128": '::1: lo has it by itself: say loopback = "ensure", "forbid" or "leave"',
    "fe80::/64": "fe80::/64: an address that holds on one link only is of no use on lo",
    "127.0.0.0/8": "127.0.0.0/8: it would cover 127.0.0.1",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_that_lo_must_not_have_is_refused(address: str) -> None:
    text = f'{RULE_LINES}addresses = [\n"fd00::7",\n"{address}"]'

    assert problems(text) == [(6, "rule.a.addresses[1]", ADDRESSES[address])]


@pytest.mark.parametrize("route", ROUTES)
def test_a_route_that_lo_must_not_have_is_refused(route: str) -> None:
    text = f'{RULE_LINES}addresses = [\n{{ address = "{route}", route = true }}]'

    assert problems(text) == [(5, "rule.a.addresses[0].address", ROUTES[route])]


@pytest.mark.parametrize("address", ["169.254.20.10", "127.0.0.53", "240.0.0.1", "2001:db8::1", "fec0::1"])
def test_an_address_that_lo_may_have_is_taken(address: str) -> None:
    wanted = parse(f"{RULE_LINES}addresses = ['{address}']").config.wanted("host")

    assert wanted is not None
    assert list(wanted.addresses) == [whole(address)]


def test_the_same_address_is_the_same_however_it_is_written() -> None:
    text = f"{RULE_LINES}addresses = [\n'fd00::a',\n{{ address = 'FD00:0::A/128' }}]"

    assert problems(text) == [(6, "rule.a.addresses[1]", "the same as rule.a.addresses[0], line 5")]


def test_deep_nesting_is_no_way_to_break_it() -> None:
    assert problems(f"a = {'[' * 100_000}") == [(0, "", "arrays or tables are nested too deep")]


def test_a_number_of_many_digits_is_no_way_either() -> None:
    ((line, _, text),) = problems(f"a = {'9' * 10_000}")

    assert line == 0
    assert text.startswith("it is no TOML: Exceeds the limit")


@pytest.mark.parametrize("number", ["9" * 400, f"-{'9' * 400}", "1e400", "inf"])
def test_nor_is_a_number_that_is_too_large_for_a_float(number: str) -> None:
    ((line, key, text),) = problems(f"watch.sweep = {number}")

    assert (line, key) == (1, "watch.sweep")
    assert text.endswith("is not a number of seconds from 0 to 86400")


# --- the example -----------------------------------------------------------------------------------------------------


def test_the_example_says_nothing_until_something_in_it_is_uncommented() -> None:
    assert parse(EXAMPLE).config == Config()


def test_the_example_says_what_holds_anyway() -> None:
    config = parse(uncommented(EXAMPLE)).config
    (rule,) = config.rules
    usual = {name: key.usual for name, key in RULE.keys.items() if not key.is_required}

    assert (config.daemon, config.watch, config.metrics) == (Config().daemon, Config().watch, Config().metrics)
    assert config.control.users == ()
    assert config.wanted("host") == Config().wanted("host")
    assert rule.name == BUILT_IN.name
    assert rule.namespaces == BUILT_IN.namespaces
    for name in ("enabled", "lo", "loopback", "addresses", "reaction", "yield_for", "drain", "adopt", "fast_flush"):
        assert getattr(rule, name) == usual[name], name
    assert rule.fights == Fights(*(key.usual for key in keys(Fights).values()))  # type: ignore[arg-type]


def test_the_example_has_every_key() -> None:
    said = parse(uncommented(EXAMPLE)).origins

    for name, key in SECTIONS.keys.items():
        assert isinstance(key.kind, Table)
        assert [f"{name}.{it}" for it in key.kind.keys if f"{name}.{it}" not in said] == []
    assert [name for name in RULE.keys if f"rule.host.{name}" not in said] == []


def test_the_instance_in_the_example_has_every_key_of_an_address() -> None:
    config = parse(instance(EXAMPLE)).config
    (rule,) = config.rules
    assert rule.addresses is not None

    said = [{name for name in keys(Address) if getattr(it, name) is not None} for it in rule.addresses]
    assert set.union(*said) == set(keys(Address))
    assert config.wanted("edge-1") is not None


def test_an_origin_is_a_file_and_a_line() -> None:
    assert parse(FULL, "f.toml").origins["rule.edge.addresses[2].metric"] == Origin("f.toml", 35)
