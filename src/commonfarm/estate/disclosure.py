"""What an estate shows of itself: as its sponsors allowed, and not more. Pure.

All that others see (pages, drawings, answers that the hub keeps) is made of veiled facts, so no
place of them can forget it. Names are exchanged one for one: what is computed from veiled facts is
what would be computed from the facts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from commonfarm.estate.facts import Assumption, Facts, Host, Pledge, Sponsor

ANONYMOUS = "anonymous"


def veiled(facts: Facts) -> Facts:
    """Return the facts without who gives anonymously, and without amounts that are hidden.

    A sponsor who also gives openly keeps the name there; the hosts of both go by another, since
    they share their fate.
    """
    names = _Names(facts)
    if not names.sponsors and all(one.disclosure == "public" for one in facts.pledges.values()):
        return facts
    pledges = {one.name: one for one in map(names.pledge, facts.pledges.values())}
    givers = {one.sponsor for one in pledges.values()}
    sponsors = {
        name: one
        for name, one in facts.sponsors.items()
        if name not in names.sponsors or name in givers
    }
    for name in names.sponsors.values():
        sponsors[name] = Sponsor(name, "Anonymous sponsor", None, None, None, "")
    return replace(
        facts,
        sponsors=dict(sorted(sponsors.items())),
        pledges=dict(sorted(pledges.items())),
        hosts={name: names.host(one) for name, one in facts.hosts.items()},
        assumptions=tuple(map(names.assumption, facts.assumptions)),
    )


def hidden_names(facts: Facts) -> frozenset[tuple[str, str]]:
    """Return what others do not hear of: (`sponsor` or `pledge`, its name)."""
    names = _Names(facts)
    open_givers = {one.sponsor for one in facts.pledges.values() if one.disclosure != ANONYMOUS}
    sponsors = {("sponsor", name) for name in names.sponsors if name not in open_givers}
    return frozenset(sponsors | {("pledge", name) for name in names.pledges})


class _Names:
    """The names that are not shown, and by which they go instead."""

    def __init__(self, facts: Facts) -> None:
        anonymous = [one for one in facts.pledges.values() if one.disclosure == ANONYMOUS]
        taken = {*facts.sponsors, *facts.pledges}
        self.sponsors = _exchange(sorted({one.sponsor for one in anonymous}), taken)
        self.pledges = _exchange([one.name for one in anonymous], taken)
        shown = {**self.sponsors, **self.pledges}
        longest_first = sorted(shown, key=len, reverse=True)
        inside = "|".join(map(re.escape, longest_first))
        self._shown = shown
        self._pattern = re.compile(rf"(?<![\w.+-])(?:{inside})(?![\w+-])") if inside else None

    def pledge(self, pledge: Pledge) -> Pledge:
        """Return a pledge as it is shown."""
        if pledge.disclosure == "public":
            return pledge
        if pledge.name not in self.pledges:
            return replace(pledge, what="")
        name, sponsor = self.pledges[pledge.name], self.sponsors[pledge.sponsor]
        return replace(pledge, name=name, sponsor=sponsor, what="", where="", source=None)

    def host(self, host: Host) -> Host:
        """Return a host as it is shown."""
        pledge = self.pledges.get(host.pledge or "", host.pledge)
        sponsor = self.sponsors.get(host.sponsor or "", host.sponsor)
        return replace(host, pledge=pledge, sponsor=sponsor)

    def assumption(self, assumption: Assumption) -> Assumption:
        """Return an assumption as it is shown."""
        if self._pattern is None or not self._pattern.search(assumption.what):
            return assumption
        what = self._pattern.sub(lambda found: self._shown[found[0]], assumption.what)
        return Assumption("", what)


def _exchange(names: Iterable[str], taken: set[str]) -> Mapping[str, str]:
    """Return another name for each of `names`, none of them `taken`."""
    free = (f"{ANONYMOUS}-{number}" for number in range(1, len(taken) * 2 + 2))
    unused = (name for name in free if name not in taken)
    found = dict(zip(names, unused, strict=False))
    taken.update(found.values())
    return found
