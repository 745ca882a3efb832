from __future__ import annotations

from pathlib import Path

import pytest

from commonfarm.lib.config import Listen, default, dump, load
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
