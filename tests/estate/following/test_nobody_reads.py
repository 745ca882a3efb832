"""Of an estate that is followed, nobody reads on any page or in any answer who gives unnamed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.test import Client

from commonfarm.accounts.interface import ApiToken, Role, User
from commonfarm.estate import answering
from commonfarm.estate.following import follow
from commonfarm.estate.models import Following
from commonfarm.journal.models import Entry
from tests.estate.repositories import Repository

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
ESTATE = """\
sponsors:
  - name: secretcorp
    title: Zyxxy GmbH
    url: https://zyxxy.example
    logo: zyxxy.svg
    contact: boss@zyxxy.example
    source: assumption
  - {name: nokia, title: Nokia}
pledges:
  - name: secret-loan
    sponsor: secretcorp
    what: seventy-seven servers
    until: 2026-12-01
    disclosure: anonymous
    source: assumption
  - name: open-loan
    sponsor: nokia
    what: seventy-seven shelves
    disclosure: amount hidden
    source: assumption
  - {name: quiet-loan, sponsor: nokia, what: seventy-seven racks, disclosure: anonymous}
hosts:
  - {name: a, architecture: amd64, cores: 4, memory: 24 GiB, pledge: secret-loan, source: Zyxxy}
  - {name: b, architecture: amd64, cores: 4, memory: 24 GiB, pledge: open-loan}
  - {name: c, architecture: amd64, cores: 4, memory: 24 GiB, pledge: quiet-loan}
services:
  - name: wiki
    components:
      - name: web
        requires: {memory: 10 GiB}
        spread: [{over: sponsor}]
        instances: [{count: 3, on: [a]}]
      - {name: big, requires: {memory: 100 GiB}}
policy: {survive: [sponsor]}
"""
HIDDEN = ("secret", "zyxxy", "seventy", "quiet-loan")
PAGES = (
    *("", "hosts/", "services/", "pledges/", "forecast/", "wanted/", "changes/", "map.svg"),
    *("hosts/a", "hosts/b", "hosts/c", "services/wiki"),
)


def test_no_page_and_no_answer_names_who_gives_anonymously(tmp_path: Path) -> None:
    upstream = Repository(tmp_path / "upstream")
    upstream.commit({"estate.yaml": ESTATE, "zyxxy.svg": "<svg/>"})
    Following.start(upstream.url, "main", "", who="user:anna", now=NOW)
    load = follow(lambda: NOW)
    assert load is not None
    for kind in answering.KINDS:
        made = answering.answer(kind, NOW.date())
        assert made is not None and made.problem is None, made
    user = User.add("ben", Role.READER, who="test")
    token = ApiToken.make(user, "test", who="test").reveal()
    asks = Client(headers={"Authorization": f"Bearer {token}"})
    reads = Client()
    reads.force_login(user)
    answers = [f"answers/{kind}" for kind in answering.KINDS]
    shown = {page: reads.get(f"/estate/{page}").content.decode() for page in PAGES}
    shown |= {page: reads.get(page).content.decode() for page in ("/sponsors/", "/journal/")}
    shown |= {
        path: asks.get(f"/api/v1/estate/{path}").content.decode()
        for path in ("following", "loads", "hosts", *answers)
    }
    shown["events"] = json.dumps([[one.details, one.why] for one in Entry.objects.all()])
    told = {(page, word) for page, text in shown.items() for word in HIDDEN if word in text.lower()}
    assert not told
    assert "Nokia" in shown["/sponsors/"] and "anonymous-1" in shown["pledges/"]
    # The fate that hosts share would tell that the sponsor of one is the sponsor of another.
    lost = json.loads(shown["answers/cliffs"])["document"]["today"]
    fates = {tuple(one["hosts"]) for one in lost if one["who"] == "sponsor"}
    assert fates == {("a",), ("b",), ("c",)}
