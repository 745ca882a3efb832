"""Bad input is refused at the command line with a word a person can act on, and nothing is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from examples.first.command import StoryError
from examples.first.installation import Installation

from tests.stories.packages import make_source

pytestmark = [pytest.mark.root, pytest.mark.network, pytest.mark.story]


def refusal(installation: Installation, dsc: Path) -> str:
    """Hand in `dsc`, which must end with exit code 2 and leave no build; return what is said."""
    before = installation.json("builds")
    with pytest.raises(StoryError, match="ended with 2") as refused:
        installation.run("build", "submit", dsc)
    assert installation.json("builds") == before
    return str(refused.value)


def test_a_file_that_is_not_what_the_dsc_says(installation: Installation, tmp_path: Path) -> None:
    dsc = make_source(tmp_path, "altered")
    tarball = dsc.with_name("altered_1.0.tar.xz")
    data = bytearray(tarball.read_bytes())
    data[-1] ^= 1
    tarball.write_bytes(data)
    said = refusal(installation, dsc)
    assert "altered_1.0.tar.xz" in said
    assert "SHA-256" in said or "sha256" in said.lower()


def test_a_dsc_that_names_a_file_elsewhere(installation: Installation, tmp_path: Path) -> None:
    dsc = make_source(tmp_path, "wanderer")
    dsc.write_text(dsc.read_text().replace("wanderer_1.0.tar.xz", "../../etc/passwd"))
    assert "../../etc/passwd" in refusal(installation, dsc)


def test_a_source_that_is_not_there(installation: Installation) -> None:
    with pytest.raises(StoryError) as refused:
        installation.run("build", "submit", "no-such-package-anywhere")
    assert "no-such-package-anywhere" in str(refused.value)
    assert "Traceback" not in str(refused.value)
