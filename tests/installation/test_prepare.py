"""The administrator and the token that `up` sees to before each start."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from django.utils import timezone

from commonfarm.accounts.interface import ApiToken, Role, SignInLink, User
from commonfarm.http.session import token_file
from commonfarm.installation.prepare import _sign_in
from commonfarm.lib.config import Config, Listen, default

pytestmark = pytest.mark.django_db


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return default("farm", tmp_path, tmp_path, tmp_path, Listen("127.0.0.1", 1, 2, 3, 4))


def holders(config: Config) -> tuple[User | None, User | None]:
    """Prepare; return who signs in by the link, and who the command line's token is of."""
    (link,) = parse_qs(urlsplit(_sign_in(config)).query)["token"]
    kept = token_file(config).read_text().strip()
    return SignInLink.redeem(link, timezone.now()), ApiToken.bearer(kept)


def test_the_first_start_makes_an_admin_and_a_token_that_stay(config: Config) -> None:
    first = holders(config)
    assert [one and (one.username, one.role) for one in first] == [("admin", Role.ADMIN)] * 2
    kept = token_file(config).read_text()
    assert token_file(config).stat().st_mode & 0o077 == 0
    assert holders(config) == first
    assert token_file(config).read_text() == kept


@pytest.mark.parametrize("what", ["closed", "demoted"])
def test_when_the_first_admin_is_no_more_another_takes_over(config: Config, what: str) -> None:
    holders(config)
    anna = User.add("anna", Role.ADMIN, who="user:admin")
    first = User.named("admin")
    if what == "closed":
        first.deactivate(who=anna.label, now=timezone.now())
    else:
        first.change_role(Role.READER, who=anna.label)
    assert holders(config) == (anna, anna)
