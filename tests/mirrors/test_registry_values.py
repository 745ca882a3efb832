"""Whatever may be registered can stand in a mirror map: no mirror keeps the others out of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from commonfarm.accounts.interface import Role, User
from commonfarm.estate.interface import ReleaseTree
from commonfarm.lib.errors import BadInputError, ForbiddenError, RefusedError
from commonfarm.mirrors import registering
from commonfarm.mirrors.addresses import Policy
from commonfarm.redirector.mirror_map import Mirror, Tree, parse
from commonfarm.redirector.mirror_map.writing import Columns, Head, build

POLICY = Policy(loopback_allowed=False, own_ports=frozenset())
IN_MAP = (
    *("subtree", "http", "https", "country", "latitude", "longitude", "as_number", "prefixes"),
    *("only_countries", "only_networks", "weight", "budget_bytes", "sponsor"),
)

texts = st.text(max_size=30)
networks = st.lists(
    st.one_of(
        texts,
        st.ip_addresses().map(lambda one: f"{one}/{32 if one.version == 4 else 128}"),
        st.sampled_from(["192.0.2.0/24", "2001:db8::/32", "192.0.2.1/24", "0/0"]),
    ),
    max_size=4,
)
odd = st.text(alphabet="ab./:[]@%!~-_'()*+,;=$&#?\\|\"<> é\x00\u2028", max_size=20)
urls = st.builds(
    lambda scheme, host, path: f"{scheme}://{host}{path}",
    st.sampled_from(["http", "https", "HTTP", "Https", "ftp"]),
    st.sampled_from(["example.org", "example.org:80", "[2a00::1]", "EXAMPLE.org", "a_b.org", "x"]),
    odd.map(lambda path: f"/{path}"),
)
fields = st.fixed_dictionaries(
    {"country": st.one_of(st.sampled_from(["de", "DE", "ZZ"]), texts)},
    optional={
        "http": st.one_of(urls, texts, st.just("")),
        "https": st.one_of(urls, st.just("")),
        "subtree": st.one_of(odd, st.sampled_from(["a/b", "/a/", "a//b", "../a"])),
        "latitude": st.one_of(st.none(), st.floats()),
        "longitude": st.one_of(st.none(), st.floats()),
        "as_number": st.integers(-1, 2**33),
        "prefixes": networks,
        "only_countries": st.lists(st.sampled_from(["de", "FR", "x", "ß1"]), max_size=3),
        "only_networks": networks,
        "weight": st.integers(0, 1002),
        "budget_bytes": st.integers(-1, 2**63),
        "sponsor": st.one_of(texts, odd),
        "sponsor_url": st.one_of(urls, texts),
    },
)


@pytest.fixture(scope="module")
def people(django_db_setup: None, django_db_blocker: Any) -> Any:
    with django_db_blocker.unblock():
        yield User(username="anna", role=Role.COORDINATOR), ReleaseTree(name="empty", pk=2**40)


@pytest.mark.django_db
@given(given_fields=fields)
@example(given_fields={"country": "DE", "http": "http://example.org/a[1]/"})
@example(given_fields={"country": "DE", "http": "HTTP://example.org/"})
@example(given_fields={"country": "\u0131\u0131", "http": "http://example.org/"})
@settings(
    deadline=None,
    max_examples=80,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_what_is_accepted_can_stand_in_a_map(people: Any, given_fields: dict[str, Any]) -> None:
    user, tree = people
    try:
        checked = registering.check(given_fields, POLICY, tree, user, None)
    except (BadInputError, RefusedError, ForbiddenError) as error:
        assert str(error)
        return
    told: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in checked.items()
        if name in IN_MAP
    }
    head = Head(1, "2026-11-21", [Mirror(name="x", tree="t", **told)], [Tree("t", 1, {}, {})])
    read = parse(bytes(build(head, Columns.of({}, 1)))).mirrors[0]
    assert {name: getattr(read, name) for name in told} == told
