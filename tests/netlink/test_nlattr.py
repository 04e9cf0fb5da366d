"""Attributes against policies: what is let through, what is refused, and what is said of it."""

from errno import EINVAL, ERANGE
from struct import pack

import pytest

from addrsvc.errors import KernelError
from addrsvc.netlink.nlattr import (
    NL_VALIDATE_DEPRECATED_STRICT,
    NL_VALIDATE_LIBERAL,
    NL_VALIDATE_STRICT,
    NLA_F_NESTED,
    NLA_NUL_STRING,
    NLA_REJECT,
    NLA_S32,
    NLA_STRING,
    NLA_U8,
    NLA_U16,
    NLA_U32,
    NLA_UINT,
    Attrs,
    ExtAck,
    NlaPolicy,
    Policies,
    nla_parse,
    nlmsg_parse,
    policy_tlv,
)


def nla(type_: int, payload: bytes) -> bytes:
    return pack("=HH", 4 + len(payload), type_) + payload + bytes(-len(payload) % 4)


def parse(attrs: bytes, policy: Policies, validate: int = NL_VALIDATE_LIBERAL, maxtype: int = 9) -> Attrs:
    return nla_parse(attrs, 0, len(attrs), maxtype, policy, validate, ExtAck())


def refusal(attrs: bytes, policy: Policies, validate: int = NL_VALIDATE_LIBERAL) -> tuple[int | None, ExtAck]:
    extack = ExtAck()
    with pytest.raises(KernelError) as refused:
        nla_parse(attrs, 0, len(attrs), 9, policy, validate, extack)
    assert refused.value.extack == extack.msg
    return refused.value.errno, extack


def test_of_two_attributes_alike_the_last_counts() -> None:
    assert parse(nla(1, b"abcd") + nla(1, b"efghi"), {}) == {1: (12, 5)}


def test_the_nested_bit_is_no_part_of_the_type() -> None:
    assert parse(nla(1 | NLA_F_NESTED, b""), {}) == {1: (4, 0)}


def test_an_unknown_type_is_passed_over_by_liberal_checks_and_refused_by_strict_ones() -> None:
    attrs = nla(1, b"") + nla(10, b"")

    assert parse(attrs, {}) == {1: (4, 0)}
    errno, extack = refusal(attrs, {}, NL_VALIDATE_DEPRECATED_STRICT)
    assert (errno, extack) == (EINVAL, ExtAck("Unknown attribute type", 4))


def test_bytes_left_over_are_told_by_liberal_checks_and_refused_by_strict_ones() -> None:
    extack = ExtAck()
    nla_parse(nla(1, b"") + b"\0", 0, 5, 9, None, NL_VALIDATE_LIBERAL, extack)

    assert extack == ExtAck("bytes leftover after parsing attributes")
    assert refusal(nla(1, b"") + b"\0", {}, NL_VALIDATE_DEPRECATED_STRICT) == (EINVAL, extack)


def test_a_length_that_lies_ends_the_attributes() -> None:
    extack = ExtAck()
    data = nla(1, b"") + pack("=HH", 9, 2) + b"\0\0\0\0"

    assert nla_parse(data, 0, len(data), 9, None, NL_VALIDATE_LIBERAL, extack) == {1: (4, 0)}
    assert extack.msg == "bytes leftover after parsing attributes"


U32 = NlaPolicy(NLA_U32)
FAILED = "Attribute failed policy validation"


@pytest.mark.parametrize(
    ("policy", "payload", "errno", "words"),
    [
        (U32, b"abc", ERANGE, FAILED),
        (NlaPolicy.range(NLA_U8, 1, 3), b"\x04", ERANGE, "integer out of range"),
        (NlaPolicy.at_least(NLA_U16, 3), b"\2\0", ERANGE, "integer out of range"),
        (NlaPolicy.at_most(NLA_S32, -1), b"\0\0\0\0", ERANGE, "integer out of range"),
        (NlaPolicy.masked(NLA_U8, 0x0F), b"\x10", EINVAL, "reserved bit set"),
        (NlaPolicy.exact_len(4), b"abc", ERANGE, "binary attribute size out of range"),
        (NlaPolicy.exact_len(4), b"abcde", ERANGE, "binary attribute size out of range"),
        (NlaPolicy.min_len(4), b"abc", ERANGE, "binary attribute size out of range"),
        (NlaPolicy.exact_len_warn(4), b"abc", ERANGE, "binary attribute size out of range"),
        (NlaPolicy(NLA_STRING, len=3), b"", ERANGE, FAILED),
        (NlaPolicy(NLA_STRING, len=3), b"abcd", ERANGE, FAILED),
        (NlaPolicy(NLA_NUL_STRING, len=3), b"abc", EINVAL, FAILED),
        (NlaPolicy.bitfield32(1), pack("=II", 2, 2), EINVAL, FAILED),
        (NlaPolicy.bitfield32(3), pack("=II", 2, 1), EINVAL, FAILED),
        (NlaPolicy(NLA_REJECT), b"", EINVAL, FAILED),
        (NlaPolicy(NLA_UINT), b"abcde", EINVAL, "invalid attribute length"),
        (NlaPolicy.nest(9, {}), b"abc", ERANGE, FAILED),
    ],
)
def test_even_liberal_checks_refuse(policy: NlaPolicy, payload: bytes, errno: int, words: str) -> None:
    refused, extack = refusal(nla(1, b"") + nla(2, payload), {2: policy})

    told = None if policy.mask and policy.type != 16 else policy
    assert (refused, extack) == (errno, ExtAck(words, 4, told))


@pytest.mark.parametrize(
    ("policy", "payload"),
    [
        (U32, b"abcdefgh"),
        (NlaPolicy(NLA_STRING, len=3), b"abc\0"),
        (NlaPolicy(NLA_NUL_STRING, len=3), b"a\0b"),
        (NlaPolicy.exact_len_warn(4), b"abcde"),
        (NlaPolicy.range(NLA_U32, 1, 3), b"\3\0\0\0abcd"),
        (NlaPolicy.nest(9, {1: U32}), b""),
        (NlaPolicy(NLA_UINT), bytes(4)),
        (NlaPolicy.bitfield32(3), pack("=II", 2, 3)),
    ],
)
def test_liberal_checks_let_pass(policy: NlaPolicy, payload: bytes) -> None:
    assert parse(nla(2, payload), {2: policy}) == {2: (4, len(payload))}


def test_a_rejection_says_its_own_words_without_the_policy() -> None:
    assert refusal(nla(1, b""), {1: NlaPolicy.refuse("no such thing")}) == (EINVAL, ExtAck("no such thing", 0))


def test_strict_checks_want_the_exact_length_the_nested_bit_and_a_policy() -> None:
    nest = NlaPolicy.nest(9, {})

    assert refusal(nla(1, bytes(8)), {1: U32}, NL_VALIDATE_STRICT)[1] == ExtAck("invalid attribute length", 0, U32)
    assert refusal(nla(1, b""), {1: nest}, NL_VALIDATE_STRICT)[1] == ExtAck("NLA_F_NESTED is missing", 0, nest)
    assert refusal(nla(1 | NLA_F_NESTED, bytes(4)), {1: U32}, NL_VALIDATE_STRICT)[1] == ExtAck(
        "NLA_F_NESTED not expected", 0, U32
    )
    assert refusal(nla(1, b""), {}, NL_VALIDATE_STRICT)[1] == ExtAck("Unsupported attribute", 0)


def test_from_strict_start_type_on_every_check_is_strict() -> None:
    policy = {0: NlaPolicy(strict_start_type=3), 2: U32, 3: U32}

    assert parse(nla(2, bytes(8)), policy) == {2: (4, 8)}
    assert refusal(nla(2, bytes(8)) + nla(3, bytes(8)), policy) == (EINVAL, ExtAck("invalid attribute length", 12, U32))


def test_the_attribute_inside_of_a_nest_is_blamed() -> None:
    policy = {1: NlaPolicy.nest(9, {2: U32})}

    assert refusal(nla(1, nla(2, b"ab")), policy) == (ERANGE, ExtAck(FAILED, 4, U32))


def test_an_element_of_an_array_is_empty_or_holds_attributes() -> None:
    policy = {1: NlaPolicy.array(9, {2: U32})}

    assert parse(nla(1, nla(0, b"") + nla(7, nla(2, bytes(4)))), policy) == {1: (4, 16)}
    assert refusal(nla(1, nla(0, b"ab")), policy) == (ERANGE, ExtAck("Array element too short", 4, NlaPolicy()))
    assert refusal(nla(1, nla(0, nla(2, b""))), policy) == (ERANGE, ExtAck(FAILED, 8, U32))


def test_a_policy_that_contains_itself_is_followed_ten_deep() -> None:
    policy: dict[int, NlaPolicy] = {}
    policy[1] = NlaPolicy.nest(9, policy)
    attrs = b""
    for _ in range(9):
        attrs = nla(1, attrs or nla(2, b""))

    assert parse(attrs, policy)
    assert refusal(nla(1, attrs), policy) == (EINVAL, ExtAck("allowed policy recursion depth exceeded"))


def test_a_message_shorter_than_its_header_is_refused() -> None:
    extack = ExtAck()
    with pytest.raises(KernelError, match="Invalid header length") as refused:
        nlmsg_parse(bytes(23), 8, 9, None, NL_VALIDATE_LIBERAL, extack)

    assert (refused.value.errno, extack) == (EINVAL, ExtAck("Invalid header length"))
    assert nlmsg_parse(bytes(17), 1, 9, None, NL_VALIDATE_STRICT, extack) == {}


def test_what_is_told_of_a_policy() -> None:
    assert policy_tlv(NlaPolicy(NLA_U8)) == pack("=HHQHHQHHI", 12, 4, 0, 12, 5, 255, 8, 1, 2)
    assert policy_tlv(NlaPolicy.range(NLA_S32, -1, 2)) == pack("=HHqHHqHHI", 12, 2, -1, 12, 3, 2, 8, 1, 8)
    assert policy_tlv(NlaPolicy.masked(NLA_U8, 3)) == pack("=HHQHHI", 12, 12, 3, 8, 1, 2)
    assert policy_tlv(NlaPolicy(NLA_STRING, len=15)) == pack("=HHIHHI", 8, 7, 15, 8, 1, 11)
    assert policy_tlv(NlaPolicy.exact_len(4)) == pack("=HHIHHIHHI", 8, 6, 4, 8, 7, 4, 8, 1, 10)
    assert policy_tlv(NlaPolicy(NLA_REJECT)) == b""
