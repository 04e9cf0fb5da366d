"""addrsvc.keeper.places: what namespaces are called."""

import pytest

from addrsvc.errors import ControlError
from addrsvc.keeper.places import Place
from addrsvc.keeper.rules import is_about
from addrsvc.keeper.settings import Rule

PLACES = {
    "host": ("", "host", "/proc/thread-self/ns/net"),
    "blue": ("/run/netns", "blue", "/run/netns/blue"),
    "docker:1-ab": ("/run/docker/netns", "1-ab", "/run/docker/netns/1-ab"),
    "pid:7": ("/proc", "7", "/proc/7/ns/net"),
    "/srv/red": ("/srv", "red", "/srv/red"),
    "/red": ("/", "red", "/red"),
    "/run/netns/host": ("/run/netns", "host", "/run/netns/host"),
    "/run/netns/pid:7": ("/run/netns", "pid:7", "/run/netns/pid:7"),
}


@pytest.mark.parametrize(("label", "parts"), PLACES.items(), ids=PLACES)
def test_a_label_tells_where_to_look_and_back(label: str, parts: tuple[str, str, str]) -> None:
    place = Place.of(label)

    assert (place.directory, place.name, place.path) == parts
    assert place.label == label


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/run/netns/blue", "blue"),
        ("/var/run/netns/blue", "blue"),
        ("/run/docker/netns/x", "docker:x"),
        ("/proc/7/ns/net", "pid:7"),
        ("//srv/./x/../red", "/srv/red"),
    ],
)
def test_a_path_that_has_a_shorter_name_is_called_by_that(path: str, label: str) -> None:
    assert Place.of(path).label == label


@pytest.mark.parametrize(
    "text", ["", "/", ".", "..", "a/b", "docker:", "docker:a/b", "pid:", "pid:x", "pid:*", "pid:-1"]
)
def test_what_is_no_namespace_is_refused(text: str) -> None:
    with pytest.raises(ControlError):
        Place.of(text)


@pytest.mark.parametrize(
    ("selector", "label"),
    [("*", "blue"), ("b?ue", "blue"), ("docker:*", "docker:x"), ("/srv/*", "/srv/red"), ("host",) * 2],
)
def test_a_selector_means_what_it_matches(selector: str, label: str) -> None:
    assert is_about(Rule("it", namespaces=(selector,)), label)


@pytest.mark.parametrize(
    ("selector", "label"),
    [
        ("*", "host"),
        ("*", "docker:x"),
        ("*", "pid:7"),
        ("*", "/srv/red"),
        ("docker:*", "x"),
        ("*", "/run/netns/host/x"),
    ],
)
def test_a_selector_means_nothing_of_another_kind(selector: str, label: str) -> None:
    assert not is_about(Rule("it", namespaces=(selector,)), label)
