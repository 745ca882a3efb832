"""The operator's word on where clients of a network are sent, from what is declared to the map."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from commonfarm.accounts.interface import Role, User
from commonfarm.journal.models import Entry
from commonfarm.lib.config import Config
from commonfarm.lib.errors import BadInputError, ForbiddenError, NotFoundError, RefusedError
from commonfarm.mirrors import explaining, overrides
from commonfarm.mirrors.holdings import record_check
from commonfarm.mirrors.models import Mirror, Override
from commonfarm.mirrors.steps import mapping, scan
from commonfarm.redirector import mirror_map
from commonfarm.redirector.mirror_map import DELTA, MirrorMap, load, read_key
from commonfarm.redirector.selection import Choice
from tests.archive.conftest import installation, world  # noqa: F401 - fixtures
from tests.archive.conftest import signer as signer_process  # noqa: F401 - a fixture
from tests.mirrors.conftest import DEB, NOW, Signer, Tree, register
from tests.mirrors.registered import jobs
from tests.mirrors.test_mapwriter import scanned, write
from tests.mirrors.web import Web

pytestmark = pytest.mark.django_db
NETWORK, LARGER = "198.51.100.0/24", "198.51.0.0/16"
DOCUMENTATION = ("192.0.2.", "198.51.100.", "203.0.113.")


@pytest.fixture
def user(db: None) -> User:
    return User.add("anna", Role.COORDINATOR, who="test")


@pytest.fixture
def mirrors(tree: Tree) -> dict[str, Mirror]:
    """Return three mirrors that everybody reaches and that have the file."""
    made = {}
    for name, country in (("north", "DE"), ("south", "ZA"), ("west", "US")):
        url = f"http://{name}.example.org/"
        made[name] = scanned(register(name, tree, url, country=country))
        Mirror.objects.filter(name=name).update(local=False)
        record_check(made[name], 1, [tree.number(DEB)], [], now=NOW)
    return made


def declare(user: User, network: str = NETWORK, **says: Any) -> Override:
    told: dict[str, Any] = {"country": "", "mirrors": [], "origin": False, "why": "they asked"}
    return overrides.declare(network, **(told | says), user=user)


def choose(the_map: MirrorMap, address: str, country: str = "") -> Choice:
    asked = explaining.Asked(f"demo/{DEB}", NOW.timestamp(), address, country)
    return explaining.explain(the_map, asked, {}).choice


def served_by(the_map: MirrorMap, address: str, country: str = "") -> str:
    choice = choose(the_map, address, country)
    return choice.mirror.name if choice.mirror else "origin"


# What may be said ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "what"),
    [
        ("198.51.100.7/24", "the network is 198.51.100.0/24"),
        ("2001:db8::1/32", "the network is 2001:db8::/32"),
        ("::ffff:198.51.100.0/120", "write 198.51.100.0/24"),
        ("::ffff:0:0/96", "write 0.0.0.0/0"),
        ("fe80::%eth0/64", "is no network"),
        ("example.org", "is no network"),
        ("198.51.100.0/33", "is no network"),
        ("", "is no network"),
    ],
)
def test_a_network_is_one_and_has_one_spelling(user: User, network: str, what: str) -> None:
    with pytest.raises(BadInputError, match=what):
        declare(user, network, origin=True)
    with pytest.raises(BadInputError, match=what):
        overrides.withdraw(network, user)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (" 198.51.100.7 ", "198.51.100.7/32"),
        ("198.51.100.0/255.255.255.0", NETWORK),
        ("2001:DB8:0::/32", "2001:db8::/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_other_spellings_are_the_same_network(user: User, typed: str, kept: str) -> None:
    assert declare(user, typed, origin=True).network == kept
    with pytest.raises(RefusedError, match=f"an override of {kept} already"):
        declare(user, kept, country="DE")
    overrides.withdraw(typed, user)
    with pytest.raises(NotFoundError, match="no override"):
        overrides.withdraw(typed, user)


def test_all_that_is_wrong_is_told_at_once(user: User, mirrors: dict[str, Mirror]) -> None:
    with pytest.raises(BadInputError) as refused:
        declare(user, "198.51.100.7/24", country="XX", mirrors=["nort"], origin=True, why=" ")
    assert str(refused.value).splitlines() == [
        "country: 'XX' is no country; write two letters, as in ISO 3166: DE",
        "mirrors: there is no mirror 'nort'; did you mean `north`?",
        "network: 198.51.100.7/24 is inside of a network; the network is 198.51.100.0/24",
        "network: an override has one of country, mirrors and origin; give just one",
        "why: nothing says why; say it: it is shown and kept",
    ]
    with pytest.raises(BadInputError, match="give just one"):
        declare(user)
    assert not Override.objects.exists() and not jobs()


def test_there_is_a_bound(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overrides, "MOST_OVERRIDES", 1)
    declare(user, origin=True)
    with pytest.raises(RefusedError, match="there are 1 overrides"):
        declare(user, LARGER, origin=True)


def test_only_coordinators_say_it(db: None) -> None:
    ben = User.add("ben", Role.SUBMITTER, who="test")
    with pytest.raises(ForbiddenError):
        declare(ben, origin=True)
    with pytest.raises(ForbiddenError):
        overrides.withdraw(NETWORK, ben)


def test_the_journal_keeps_what_was_said_and_why(user: User, mirrors: dict[str, Mirror]) -> None:
    declare(user, mirrors=["west", "north", "north"], why=" a cable was cut ")
    assert jobs() == ["mirrors.write_map"]
    overrides.withdraw(NETWORK, user, "mended")
    entries = Entry.objects.filter(subject=f"override:{NETWORK}").order_by("pk")
    assert [(one.what, one.who, one.why) for one in entries] == [
        ("override added", "user:anna", "a cable was cut"),
        ("override removed", "user:anna", "mended"),
    ]
    assert [one.details["mirrors"] for one in entries] == [["north", "west"]] * 2


# What the map says ---------------------------------------------------------------------------


def test_each_kind_counts_before_all_else(
    user: User, mirrors: dict[str, Mirror], signer: Signer
) -> None:
    write()
    asked, other = "198.51.100.7", "203.0.113.7"
    assert signer.map().overrides == ()
    before = [served_by(signer.map(), other, one) for one in ("DE", "US", "ZA")]
    assert before == ["north", "west", "south"]

    declare(user, mirrors=["south"])
    write()
    the_map = signer.map()
    assert the_map.full_generation == 1 and the_map.delta_problem == "", "a delta is enough"
    found = choose(the_map, asked, "DE")
    assert found.mirror is not None and found.mirror.name == "south"
    assert "the operator sends this network to it" in found.reason.text
    assert [one.mirror.name for one in found.ranked] == ["south", "north", "west"]
    assert served_by(the_map, other, "DE") == "north"

    overrides.withdraw(NETWORK, user)
    declare(user, country="us")
    write()
    assert served_by(signer.map(), asked) == "west"
    assert served_by(signer.map(), asked, "ZA") == "south", "who says where it is, is believed"

    overrides.withdraw(NETWORK, user)
    declare(user, origin=True)
    write()
    choice = choose(signer.map(), asked, "DE")
    assert (choice.mirror, choice.reason.code) == (None, "override")
    assert NETWORK in choice.reason.text

    overrides.withdraw(NETWORK, user)
    write()
    assert signer.map().overrides == ()
    assert [served_by(signer.map(), asked, one) for one in ("DE", "US", "ZA")] == before


def test_the_same_is_not_written_twice_and_full_maps_have_it(
    user: User, mirrors: dict[str, Mirror], signer: Signer
) -> None:
    write()
    declare(user, origin=True)
    write()
    write()
    assert signer.asked == [1, 2]
    assert mapping.write_full_map(NOW) == 3
    said = (mirror_map.Override(NETWORK, origin=True),)
    folder_has_delta = (mapping._folder() / DELTA).exists()
    assert (signer.map().overrides, folder_has_delta) == (said, False)
    overrides.withdraw(NETWORK, user)
    write()
    assert (signer.map().overrides, signer.map().full_generation) == ((), 3)


def test_the_smallest_network_that_holds_the_client_counts(
    user: User, mirrors: dict[str, Mirror], signer: Signer
) -> None:
    declare(user, LARGER, origin=True)
    declare(user, NETWORK, mirrors=["south"])
    declare(user, "198.51.100.7", mirrors=["west"])
    declare(user, "2001:db8::/32", country="ZA")
    assert overrides.nestings() == {
        LARGER: overrides.Nesting("", 2),
        NETWORK: overrides.Nesting(LARGER, 1),
        "198.51.100.7/32": overrides.Nesting(NETWORK, 0),
        "2001:db8::/32": overrides.Nesting("", 0),
    }
    write()
    the_map = signer.map()
    found = [served_by(the_map, one) for one in ("198.51.0.1", "198.51.100.6", "198.51.100.7")]
    assert found == ["origin", "south", "west"]


def test_a_mirror_that_is_removed_is_left_out_and_told(
    user: User, mirrors: dict[str, Mirror], signer: Signer, tree: Tree
) -> None:
    declare(user, LARGER, origin=True)
    row = declare(user, mirrors=["south", "west"])
    assert row.problem is None
    mirrors["south"].remove(NOW, who="user:anna")
    write()
    row = Override.of(NETWORK)
    assert row.names == ["south", "west"]
    assert row.problem is not None and row.problem.text == "south was removed"
    assert [one.mirrors for one in signer.map().overrides if one.mirrors] == [("west",)]
    assert served_by(signer.map(), "198.51.100.7", "DE") == "west"

    # Who registers another by that name is not sent them.
    again = scanned(register("south", tree, "http://other.example.org/", country="ZA"))
    assert again.pk != mirrors["south"].pk
    write()
    assert [one.mirrors for one in signer.map().overrides if one.mirrors] == [("west",)]

    mirrors["west"].remove(NOW, who="user:anna")
    write()
    row = Override.of(NETWORK)
    assert row.problem is not None
    assert row.problem.text == "south was removed, west was removed: clients are sent as others are"
    assert mirror_map.Override(NETWORK) in signer.map().overrides
    assert served_by(signer.map(), "198.51.100.7", "DE") == "north", "not as the larger one says"


def test_a_mirror_that_has_to_be_proved_anew_is_left_out_until_it_is(
    user: User, mirrors: dict[str, Mirror], signer: Signer
) -> None:
    declare(user, mirrors=["south"])
    mirrors["south"].edit({"http": "http://moved.example.org/"}, who="user:anna")
    write()
    problem = Override.of(NETWORK).problem
    assert problem is not None and "south is not proved" in problem.text
    assert signer.map().overrides == (mirror_map.Override(NETWORK),)
    mirrors["south"].prove(NOW, how="vouched", who="user:anna")
    write()
    assert Override.of(NETWORK).problem is None
    assert signer.map().overrides == (mirror_map.Override(NETWORK, mirrors=("south",)),)


networks = st.builds(
    lambda base, bits, length: str(ip_network((f"{base}{bits}", length), strict=False)),
    st.sampled_from(DOCUMENTATION),
    st.integers(0, 255),
    st.integers(8, 32),
)


@given(st.sets(networks, max_size=12))
@how(deadline=None, max_examples=60)
def test_nesting_is_as_by_comparing_each_with_each(some: set[str]) -> None:
    found = overrides.nested(some)
    parsed = {one: ip_network(one) for one in some}
    for name, own in parsed.items():
        larger = [one for one in some if one != name and own.subnet_of(parsed[one])]  # type: ignore[arg-type]
        smaller = [one for one in some if one != name and parsed[one].subnet_of(own)]  # type: ignore[arg-type]
        nearest = max(larger, key=lambda one: parsed[one].prefixlen, default="")
        assert found[name] == overrides.Nesting(nearest, len(smaller))


@pytest.mark.django_db(transaction=True)
def test_the_real_signer_agrees(
    signer_process: Config,  # noqa: F811
    web: Web,
) -> None:
    anna = User.add("anna", Role.COORDINATOR, who="test")
    tree = Tree()
    tree.publish(DEB)
    tree.fill(web)
    north = register("north", tree, web.url)
    assert scan.scan(north.pk, lambda: NOW) is not None
    declare(anna, mirrors=["north"])
    mapping.write_full_map(NOW)
    declare(anna, LARGER, country="DE")
    assert mapping.write_map(NOW) is False
    key = read_key(signer_process.public_keys / "statements.pub")
    the_map = load(signer_process.mirror_map.parent, key)
    assert (the_map.generation, the_map.delta_problem) == (2, "")
    assert the_map.overrides == (
        mirror_map.Override(LARGER, country="DE"),
        mirror_map.Override(NETWORK, mirrors=("north",)),
    )
