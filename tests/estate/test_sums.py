"""What all hosts together have room for."""

from __future__ import annotations

from datetime import date, timedelta

from commonfarm.estate.answers.forecast import forecast
from tests.estate.futures import growth
from tests.estate.making import facts, host, instance
from tests.estate.test_forecast import outlook

DAY = date(2009, 5, 1)


def test_more_instances_need_more_of_all_hosts_together_but_not_of_one() -> None:
    estate = facts(
        host("a", cores=3),
        host("b", cores=3),
        instance("builder/app/production/1", on="a", cores=1),
        instance("builder/app/production/2", on="b", cores=1),
        growth=(growth("builder", "1", DAY, "instances", days=30),),
    )
    ahead = forecast(estate, DAY)
    # 2 * 2^(t/30) > 6: log2(3) * 30 = 47.5 days.
    assert outlook(ahead, "estate", "all hosts", "cores").out.likely == DAY + timedelta(days=48)
    assert outlook(ahead, "host", "a", "cores").out.likely is None


def test_hosts_on_which_none_of_it_can_run_are_no_room_for_it() -> None:
    builders = [
        instance(f"builder/app/production/{n}", cores=4, architectures=("armhf",)) for n in (1, 2)
    ]
    amd64 = [host(f"x{n}", cores=64) for n in range(3)]
    ahead = forecast(facts(*amd64, host("arm", cores=4, architecture="armhf"), *builders), DAY)
    found = outlook(ahead, "estate", "all hosts", "cores")
    assert (found.today.likely, found.capacity) == (8000, ((DAY, 4000),))
    assert found.reason and found.reason.code == "full-already"
    # What may run anywhere may run on all of them.
    anywhere = [*builders, instance("wiki", cores=4)]
    ahead = forecast(facts(*amd64, host("arm", cores=4, architecture="armhf"), *anywhere), DAY)
    assert outlook(ahead, "estate", "all hosts", "cores").capacity == ((DAY, 196_000),)
