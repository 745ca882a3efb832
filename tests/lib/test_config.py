from __future__ import annotations

from pathlib import Path

import pytest

from commonfarm.lib.config import Listen, Public, default, dump, load
from commonfarm.lib.errors import BadInputError


def written(tmp_path: Path) -> Path:
    file = tmp_path / "farm.toml"
    config = default(
        "farm",
        file,
        tmp_path / 'a "quoted" place',
        tmp_path / "run",
        Listen("127.0.0.1", 1, 2, 3, 4),
    )
    file.write_text(dump(config))
    return file


def test_what_is_dumped_is_what_is_loaded(tmp_path: Path) -> None:
    config = load(written(tmp_path))
    assert config.state == tmp_path / 'a "quoted" place'
    assert config.listen == Listen("127.0.0.1", 1, 2, 3, 4)
    assert config.url("scheduler") == "http://127.0.0.1:3"
    assert dump(config) == written(tmp_path).read_text()


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('name = "farm"', 'name = "../farm"', "the name '../farm' is not allowed"),
        ("hub = 1", "hub = true", "listen.hub is True, not a number; set listen.hub"),
        ("hub = 1\n", "", "listen.hub is None"),
        ("[paths]", "[paths", ":4: is not TOML"),
        ("embedded = true", 'embedded = "yes"', "database.embedded is 'yes'"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    file = written(tmp_path)
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(BadInputError) as error:
        load(file)
    assert str(error.value).startswith(str(file))
    assert complaint in str(error.value)


def test_where_nothing_is_told_the_outside_is_the_inside(tmp_path: Path) -> None:
    config = load(written(tmp_path))
    assert "[public]" not in config.file.read_text()
    assert config.public_url("live") == config.url("live") == "http://127.0.0.1:2"


def test_a_public_address_is_kept_and_leaves_the_inside_as_it_is(tmp_path: Path) -> None:
    file = written(tmp_path)
    file.write_text(file.read_text() + '[public]\nhub = "https://farm.example.org"\n')
    config = load(file)
    assert config.public == Public(hub="https://farm.example.org")
    assert config.public_url("hub") == "https://farm.example.org"
    assert config.url("hub") == "http://127.0.0.1:1"
    assert config.public_url("live") == "http://127.0.0.1:2"
    file.write_text(dump(config))
    assert load(file) == config


@pytest.mark.parametrize(
    "address",
    [
        "farm.example.org",
        "ftp://farm.example.org",
        "https://farm.example.org/",
        "https://farm.example.org/farm",
        "https://anna@farm.example.org",
        "https://farm.example.org?x",
        "https://farm.example.org; script-src *",
        "https://",
        "https://farm.example.org:99999",
        "https://*.example.org",
    ],
)
def test_a_public_address_that_could_do_harm_is_refused(tmp_path: Path, address: str) -> None:
    file = written(tmp_path)
    file.write_text(file.read_text() + f'[public]\nlive = "{address}"\n')
    with pytest.raises(BadInputError, match=r"public\.live is .*write it as https://HOST"):
        load(file)


def test_a_public_address_of_nothing_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path)
    file.write_text(file.read_text() + '[public]\nweb = "https://farm.example.org"\n')
    with pytest.raises(BadInputError, match=r"public\.web is not known; use hub, live"):
        load(file)


def test_trusted_proxies_are_kept(tmp_path: Path) -> None:
    file = written(tmp_path)
    file.write_text(file.read_text() + '[public]\ntrusted_proxies = ["::1", "10.1.0.0/16"]\n')
    config = load(file)
    assert config.public == Public(trusted_proxies=("::1", "10.1.0.0/16"))
    file.write_text(dump(config))
    assert load(file) == config


@pytest.mark.parametrize(
    "proxies", ['"127.0.0.1"', '["proxy.example.org"]', "[1]", '["10.1.2.3/8"]']
)
def test_a_trusted_proxy_that_is_no_network_is_refused(tmp_path: Path, proxies: str) -> None:
    file = written(tmp_path)
    file.write_text(file.read_text() + f"[public]\ntrusted_proxies = {proxies}\n")
    with pytest.raises(
        BadInputError, match=r"public\.trusted_proxies (is .*not a list|has .*no net)"
    ):
        load(file)


def test_an_address_of_ipv6_is_written_as_urls_have_it(tmp_path: Path) -> None:
    config = default("farm", tmp_path, tmp_path, tmp_path, Listen("::1", 1, 2, 3, 4))
    assert config.url("hub") == "http://[::1]:1"


def test_a_relative_path_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path)
    file.write_text(
        file.read_text()
        .replace(f'store = "{tmp_path}/', 'store = "')
        .replace('store = "a \\"quoted\\" place/store"', 'store = "store"')
    )
    with pytest.raises(BadInputError, match="which is relative; write an absolute path"):
        load(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be read: No such file"):
        load(tmp_path / "none.toml")
