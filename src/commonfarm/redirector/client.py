"""Who asks, as far as the choice of a mirror looks at it."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network

from commonfarm.redirector.countries import COUNTRIES
from commonfarm.redirector.mirror_map import Override
from commonfarm.redirector.networks import TOGETHER, Address, Prefixes
from commonfarm.redirector.places import NOWHERE, Places


@dataclass(frozen=True, slots=True)
class Client:
    """Address, country (two capital letters or `ZZ`), and the scheme it spoke to us.

    `as_number` is 0 where it is unknown. `point`, latitude and longitude in degrees, is None where
    no more than the country is known.
    """

    address: Address
    country: str = NOWHERE
    scheme: str = "http"
    as_number: int = 0
    point: tuple[float, float] | None = None

    @property
    def region(self) -> str:
        """The continent of its country, empty where that is unknown."""
        found = COUNTRIES.get(self.country)
        return found.region if found else ""

    @property
    def network(self) -> str:
        """The /24 or /48 of the address: what stays together."""
        return str(ip_network((self.address, TOGETHER[self.address.version]), strict=False))


def locate_client(
    address: Address,
    scheme: str,
    places: Places,
    overrides: Prefixes[Override] | None = None,
    country: str | None = None,
    as_number: int | None = None,
) -> Client:
    """Return who asks from `address`.

    `country` and `as_number` are what the client says of itself (`?country=`, `?as=`): they count
    before the operator's `overrides`, and these before `places`. Where the country is another than
    that of `places`, the coordinates there are wrong, too; where the client said so, also the AS.
    A country that there is not is as good as none.
    """
    place = places.find(address)
    asked = country if country in COUNTRIES else None
    found = overrides.find(address) if overrides is not None else None
    said = asked or (found[1].country if found else "") or place.country
    point = place.point if said == place.country else None
    number = place.as_number if asked in (None, place.country) else 0
    return Client(address, said, scheme, number if as_number is None else as_number, point)
