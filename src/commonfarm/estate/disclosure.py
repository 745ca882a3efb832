"""What an estate shows of itself: as its sponsors allowed, and not more. Pure.

All that others see (pages, drawings, answers that the hub keeps) is made of veiled facts, so no
place of them can forget it. Names are exchanged one for one: what is computed from veiled facts is
what would be computed from the facts, but for sponsors who give both openly and anonymously.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import count

from commonfarm.estate.facts import Assumption, Facts, Host, Pledge, Sponsor

ANONYMOUS = "anonymous"


def veiled(facts: Facts) -> Facts:
    """Return the facts without who gives anonymously, and without amounts that are hidden.

    A sponsor who also gives openly keeps the name there, and counts as another sponsor than the
    anonymous one: hosts that fail together would tell who it is.
    """
    return _veiled(facts, _Names(facts))


def alike(before: Facts, after: Facts) -> tuple[Facts, Facts]:
    """Return both veiled; what is anonymous in one of them goes by the same other name in both."""
    names = _Names(after, before)
    return _veiled(before, names), _veiled(after, names)


def hidden_words(facts: Facts) -> set[str]:
    """Return the names of what is given anonymously, and names and titles of who gives so only."""
    return _Names(facts).words()


def _veiled(facts: Facts, names: _Names) -> Facts:
    if not names.sponsors and all(one.disclosure == "public" for one in facts.pledges.values()):
        return facts
    pledges = {one.name: one for one in map(names.pledge, facts.pledges.values())}
    sponsors = {name: one for name, one in facts.sponsors.items() if name not in names.hidden}
    for known, name in names.sponsors.items():
        if known in facts.sponsors:
            sponsors[name] = Sponsor(name, "Anonymous sponsor", None, None, None, "")
    return replace(
        facts,
        sponsors=dict(sorted(sponsors.items())),
        pledges=dict(sorted(pledges.items())),
        hosts={name: names.host(one) for name, one in facts.hosts.items()},
        assumptions=tuple(map(names.assumption, facts.assumptions)),
    )


class _Names:
    """The names that are not shown, and by which they go instead."""

    def __init__(self, *estates: Facts) -> None:
        pledges = [one for facts in estates for one in facts.pledges.values()]
        quiet = {one.name for one in pledges if one.disclosure == ANONYMOUS}
        taken = {one for facts in estates for one in (*facts.sponsors, *facts.pledges)}
        self.sponsors: dict[str, str] = {}
        self.pledges: dict[str, str] = {}
        # Those of the first estate come first: they are called as if it stood alone.
        for facts in estates:
            own = [one for one in facts.pledges.values() if one.disclosure == ANONYMOUS]
            _exchange((one.sponsor for one in own), self.sponsors, taken)
            _exchange((one.name for one in own), self.pledges, taken)
        givers = [one.sponsor for one in pledges if one.name in quiet]
        _exchange(givers, self.sponsors, taken)
        self.hidden = set(givers) - {one.sponsor for one in pledges if one.name not in quiet}
        self._untold = {f"pledge {one.name}" for one in pledges if one.disclosure != "public"}
        self._untold |= {f"sponsor {name}" for name in self.hidden}
        shown = {name: self.sponsors[name] for name in self.hidden}
        shown |= {
            facts.sponsors[name].title: self.sponsors[name]
            for facts in estates
            for name in self.hidden
            if name in facts.sponsors
        }
        shown |= self.pledges
        longest_first = sorted(shown, key=len, reverse=True)
        inside = "|".join(map(re.escape, longest_first))
        self._shown = shown
        self._pattern = re.compile(rf"(?<![\w.+-])(?:{inside})(?![\w+-])") if inside else None

    def words(self) -> set[str]:
        """Return what may stand in no text."""
        return set(self._shown)

    def pledge(self, pledge: Pledge) -> Pledge:
        """Return a pledge as it is shown."""
        if pledge.name in self.pledges:
            name, sponsor = self.pledges[pledge.name], self.sponsors[pledge.sponsor]
            return replace(pledge, name=name, sponsor=sponsor, what="", where="", source=None)
        if pledge.disclosure == "public":
            return pledge
        return replace(pledge, what="", source=None)

    def host(self, host: Host) -> Host:
        """Return a host as it is shown: of an anonymous pledge, without who says so, and where."""
        if host.pledge not in self.pledges:
            return host
        pledge, sponsor = self.pledges[host.pledge], self.sponsors.get(host.sponsor or "")
        return replace(host, pledge=pledge, sponsor=sponsor, where="", source=None)

    def assumption(self, assumption: Assumption) -> Assumption:
        """Return an assumption as it is shown: of what is not told, nothing but that it is one."""
        what, _, _ = assumption.what.partition(":")
        if what not in self._untold:
            what = assumption.what
        if self._pattern is None or not self._pattern.search(what):
            return replace(assumption, what=what)
        return Assumption("", self._pattern.sub(lambda found: self._shown[found[0]], what))


def _exchange(names: Iterable[str], known: dict[str, str], taken: set[str]) -> None:
    """Make another name known for each of `names` that has none, one that is not `taken`."""
    numbers = count(1)
    for name in names:
        if name not in known:
            free = (f"{ANONYMOUS}-{number}" for number in numbers)
            known[name] = next(one for one in free if one not in taken)
            taken.add(known[name])
