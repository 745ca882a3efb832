"""The mirrors' pages: what each says first, who sees what, and who may do what."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from commonfarm.accounts.interface import Role
from commonfarm.archive.models import TreeFile
from commonfarm.estate.interface import ReleaseTree
from commonfarm.mirrors import arriving, sharing
from commonfarm.mirrors.coverage import coverage, of_tree, thin
from commonfarm.mirrors.models import Arrival, FileCount, Holdings, Mirror, MirrorCount
from commonfarm.mirrors.wording import percent
from commonfarm.redirector.reasons import NOT_IN_MAP
from commonfarm.store.interface import put_bytes
from tests.mirrors.registered import FILES, NOW, Browser, published, registered, scanned
from tests.redirector.world import file_of, public_pem, write_map
from tests.redirector.world import mirror as in_map

pytestmark = pytest.mark.django_db
TURTLE, PAINT, ISO = FILES


@pytest.fixture
def demo(db: None) -> ReleaseTree:
    return published()


@pytest.fixture
def anna(db: None) -> Browser:
    return Browser("anna", Role.COORDINATOR)


@pytest.fixture
def ben(db: None) -> Browser:
    return Browser("ben")


def holds(mirror: Mirror, *paths: str) -> None:
    numbers = TreeFile.objects.filter(path__in=paths).values_list("pk", flat=True)
    first = TreeFile.objects.order_by("pk")[0].pk
    bits = bytearray(1)
    for number in numbers:
        bits[0] |= 1 << number - first
    Holdings.objects.create(mirror=mirror, first=first, bits=bytes(bits), seen_at=NOW)


def counted(mirror: str, size: int, day: date, country: str = "DE", downloads: int = 1) -> None:
    MirrorCount.objects.create(
        day=day, tree="demo", mirror=mirror, country=country, downloads=downloads, size=size
    )


# The list ------------------------------------------------------------------------------------


def test_without_mirrors_the_pages_say_how_to_begin(anna: Browser) -> None:
    assert "commonfarm mirror add NAME" in anna.see("/mirrors/")
    assert "commonfarm mirror replay ACCESS_LOG" in anna.see("/mirrors/downloads/")
    assert "Nothing was published yet" in anna.see("/mirrors/releases/")
    assert "No release tree is declared" in anna.see("/mirrors/files/")
    assert "No mirrors serve at present" in anna.see("/mirrors/public/")
    assert "Give a file" in anna.see("/mirrors/explain/")


def test_what_needs_a_person_stands_first(anna: Browser, demo: ReleaseTree) -> None:
    for number in range(38):
        scanned(registered(demo, f"m{number}", "FR"))
    registered(demo, "liar", quarantine="piece 3 of x differs", quarantined_at=NOW)
    registered(demo, "dead", answers=0, probe_problem="it answers 404")
    scanned(registered(demo, "stale"), ok=False, problem="connection refused")
    registered(demo, "off", enabled=False)
    page = anna.see("/mirrors/")
    assert "3 of 42 mirrors need a person." in page
    needs = page.partition('class="needs"')[2].partition("</ul>")[0]
    for text in ("liar is quarantined", "piece 3 of x differs", "dead is down", "it answers 404"):
        assert text in needs
    assert "stale cannot be scanned" in needs
    assert "off" not in needs
    assert page.index("France") < page.index("Germany")


def test_why_is_only_for_those_who_run_it(ben: Browser, demo: ReleaseTree) -> None:
    registered(demo, "dead", answers=0, probe_problem="it answers 404").administrators.add(ben.user)
    registered(demo, "other", answers=0, probe_problem="a secret")
    page = ben.see("/mirrors/")
    assert "1 of 2 mirrors needs a person." in page
    assert "it answers 404" in page
    assert "a secret" not in page
    assert "You run" in page


def test_the_overview_names_them_and_not_why(demo: ReleaseTree) -> None:
    registered(demo, "dead", answers=0, probe_problem="it answers 404")
    registered(demo, "liar", quarantine="piece 3 of x differs", quarantined_at=NOW)
    registered(demo, "new", proved_at=None)
    scanned(registered(demo, "stale"), ok=False, problem="connection refused")
    page = Browser("carl").see("/")
    assert page.index("Mirror liar is quarantined") < page.index("Mirror dead is down")
    assert "Mirror stale cannot be scanned" in page
    for text in ("piece 3", "404", "refused", "new"):
        assert f">{text}" not in page and f"{text}</p>" not in page


def test_three_hundred_mirrors_take_few_queries(
    anna: Browser, demo: ReleaseTree, django_assert_max_num_queries: Any
) -> None:
    Mirror.objects.bulk_create(
        Mirror(
            name=f"m{number}",
            tree=demo,
            country=("DE", "FR", "US")[number % 3],
            https=f"https://m{number}.example.org/",
            added_by="user:anna",
            proved_at=NOW,
            probed_at=NOW,
            answers=12,
        )
        for number in range(300)
    )
    with django_assert_max_num_queries(15):
        assert anna.see("/mirrors/").count("<tr>") > 300
    with django_assert_max_num_queries(15):
        anna.see("/mirrors/files/")


# Downloads -----------------------------------------------------------------------------------


def test_shares_of_mirrors_and_of_ourselves(
    anna: Browser, demo: ReleaseTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commonfarm.mirrors.views.today", lambda: NOW)
    today = NOW.date()
    registered(demo, "north")
    counted("north", 970, today)
    counted("", 30, today, "FR")
    counted("north", 9_000, today - timedelta(days=29))
    counted("north", 10**9, today - timedelta(days=30))
    FileCount.objects.create(day=today, tree="demo", path=ISO, downloads=2, size=1000)
    day, month = sharing.shares(today), sharing.shares(today, 30)
    assert (day.mirrors.percent, day.ours.percent) == ("97.0%", "3.0%")
    assert (month.size, month.of("north").size) == (10_000, 9_970)
    assert month.of("nobody").size == 0
    assert [one.name for one in sharing.countries(today)] == ["DE", "FR"]
    page = anna.see("/mirrors/downloads/")
    assert "<strong>97.0%</strong> of 1000 B today" in page
    assert f"demo/{ISO}" in page
    assert anna.client.get("/mirrors/downloads/days.svg")["Content-Type"] == "image/svg+xml"


def test_days_without_downloads_are_days_too(db: None) -> None:
    today = date(2026, 11, 21)
    counted("", 5, today - timedelta(days=2))
    rows = sharing.by_day(today, 4)
    assert [one.ours for one in rows] == [0, 5, 0, 0]
    assert rows[-1].day == today
    assert "<script" not in sharing.draw_days(rows)
    sharing.draw_days(sharing.by_day(today - timedelta(days=99), 4))


@pytest.mark.parametrize(
    ("part", "text"),
    [(0, "0.0%"), (1e-9, "under 0.1%"), (0.04, "4.0%"), (1 - 1e-9, "over 99.9%"), (1, "100.0%")],
)
def test_little_is_not_nothing(part: float, text: str) -> None:
    assert percent(part) == text


# Files ---------------------------------------------------------------------------------------


def test_files_with_too_few_mirrors(anna: Browser, demo: ReleaseTree) -> None:
    for name, paths in (("a", FILES), ("b", (TURTLE,)), ("c", ())):
        mirror = registered(demo, name)
        scanned(mirror)
        holds(mirror, *paths)
    down = registered(demo, "down", answers=0)
    scanned(down)
    holds(down, *FILES)
    page = anna.see("/mirrors/files/")
    assert "<strong>2</strong> of 3 files of demo" in page
    assert "on fewer than 2 mirrors; 3 serve." in page
    assert page.index(ISO) < page.index(PAINT)
    assert f"?path=demo/{ISO}" in page
    assert TURTLE not in page


@given(
    st.lists(
        st.tuples(st.integers(1, 60), st.integers(0, 1000)),
        max_size=40,
        unique_by=lambda one: one[0],
    ),
    st.lists(st.sets(st.integers(1, 70)), max_size=9),
)
@how(deadline=None, max_examples=60)
def test_coverage_counts_as_sets_do(files: list[tuple[int, int]], held: list[set[int]]) -> None:
    holdings = []
    for one in held:
        first = min(one, default=0)
        bits = np.zeros(max(one, default=0) - first + 1, np.uint8)
        bits[[number - first for number in one]] = 1
        holdings.append((first, np.packbits(bits, bitorder="little").tobytes()))
    numbers = np.array([number for number, _ in files], np.int64)
    sizes = np.array([size for _, size in files], np.int64)
    found = coverage(numbers, sizes, holdings)
    expected = {number: sum(number in one for one in held) for number, _ in files}
    assert (found.files, found.mirrors) == (len(files), len(held))
    assert dict(found.thin) == {number: count for number, count in expected.items() if count < 2}
    assert sum(step.files for step in found.steps) == len(files)
    assert found.few_size == sum(size for number, size in files if expected[number] < 2)
    assert [count for _, count in found.thin] == sorted(count for _, count in found.thin)


def test_what_was_seen_later_counts_at_once(demo: ReleaseTree) -> None:
    mirror = registered(demo, "a")
    holds(mirror, TURTLE)
    assert of_tree(demo, [mirror]).few == 3
    assert [one.path for one in thin(of_tree(demo, [mirror]))] == [ISO, PAINT, TURTLE]
    Holdings.objects.update(bits=b"\x07", seen_at=NOW + timedelta(seconds=1))
    assert of_tree(demo, [mirror], enough=1).few == 0


# Releases ------------------------------------------------------------------------------------


def test_a_release_on_its_way(anna: Browser, demo: ReleaseTree) -> None:
    mirrors = [registered(demo, name) for name in ("a", "b", "c", "d")]
    for mirror in mirrors:
        scanned(mirror)
    for mirror, minutes in zip(mirrors, (1, 3, 40), strict=False):
        Arrival.objects.create(mirror=mirror, revision=1, seen_at=NOW + timedelta(minutes=minutes))
    [release] = arriving.releases(mirrors)
    assert (release.files, release.size) == (3, 6000)
    assert [mirror.name for mirror, _ in release.there] == ["a", "b", "c"]
    assert release.missing == (mirrors[3],)
    assert release.half_seconds == 180
    page = anna.see("/mirrors/releases/")
    assert "<strong>3 of 4</strong> mirrors; half had it after 3 min" in page
    drawn = anna.client.get("/mirrors/releases/demo/1.svg")
    assert b"3 of 4 mirrors have it" in drawn.content
    assert b"<script" not in drawn.content
    assert anna.client.get("/mirrors/releases/demo/2.svg").status_code == 404
    # The clock may be behind what was seen.
    for later in (timedelta(hours=-1), timedelta(0), timedelta(minutes=7), timedelta(days=400)):
        arriving.draw(release, NOW + later)


# The public list -----------------------------------------------------------------------------


def test_everybody_sees_those_that_serve(demo: ReleaseTree) -> None:
    logo = put_bytes(b"<svg xmlns='x'><script>alert(1)</script></svg>")
    scanned(registered(demo, "north", sponsor="<b>North</b>", logo=logo))
    registered(demo, "dead", answers=0)
    registered(demo, "new", proved_at=None, logo=logo)
    nobody = Browser()
    answer = nobody.client.get("/mirrors/public/").content.decode()
    assert "https://north.example.org/pub/" in answer
    assert "&lt;b&gt;North&lt;/b&gt;" in answer
    assert "dead" not in answer and "new.example.org" not in answer
    picture = nobody.client.get("/mirrors/north/logo")
    assert picture["Content-Type"] == "image/svg+xml"
    assert "sandbox" in picture["Content-Security-Policy"]
    nobody.see("/mirrors/new/logo", 404)
    nobody.see("/mirrors/dead/logo", 404)
    page = nobody.see("/mirrors/north")
    assert "Health" not in page and "Weight" not in page
    assert 'href="/mirrors/public/"' in page
    nobody.see("/mirrors/dead", 404)
    assert nobody.client.get("/mirrors/").headers["Location"] == "/mirrors/public/"
    for path in ("/mirrors/downloads/", "/mirrors/register/", "/mirrors/north/edit"):
        assert nobody.client.get(path).status_code == 302, path


# Where to ------------------------------------------------------------------------------------


@pytest.fixture
def the_map() -> Iterator[None]:
    key = Ed25519PrivateKey.generate()
    config = settings.COMMONFARM
    public: Path = config.public_keys / "statements.pub"
    public.parent.mkdir(parents=True, exist_ok=True)
    public.write_bytes(public_pem(key))
    mirrors = [in_map("de"), in_map("us", country="US"), in_map("off", problem="down: 404")]
    write_map(config.mirror_map.parent, key, mirrors, {f"demo/{TURTLE}": file_of(b"x", 0, 1, 2)})
    yield
    public.unlink()
    config.mirror_map.unlink()


def test_where_a_client_would_be_sent_and_why(anna: Browser, the_map: None) -> None:
    asked = f"/mirrors/explain/?path=demo/{TURTLE}"
    page = anna.see(f"{asked}&country=us")
    assert ">us</a></strong>: us (US) has it: in the same country" in page
    assert "United States" in page
    assert f"http://us.example.org/demo/{TURTLE}" in page
    assert "down: 404" in page
    assert "it has no https" in anna.see(f"{asked}&from=8.8.8.8&https=1")
    said = anna.see("/mirrors/explain/?path=demo/none")
    assert f"<strong>By ourselves</strong>: {NOT_IN_MAP.text}." in said
    assert f"What would help: {NOT_IN_MAP.lifted_by}." in said
    for wrong in ("from=nowhere", "country=<x>", "as=99999999999999999999"):
        anna.see(f"{asked}&{wrong}")
    assert "'nowhere' is not an address" in anna.see(f"{asked}&from=nowhere")


def test_without_a_map_the_page_says_so(anna: Browser) -> None:
    assert "cannot be used" in anna.see("/mirrors/explain/?path=demo/x")
