"""The form by which a mirror is registered and edited: texts as people write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms

from commonfarm.accounts.interface import Role, User
from commonfarm.estate.interface import ReleaseTree
from commonfarm.lib.errors import BadInputError, CommonfarmError, ForbiddenError
from commonfarm.lib.units import parse_bytes
from commonfarm.mirrors.models import Mirror, Push
from commonfarm.mirrors.registering import NAME, THE_PROJECTS
from commonfarm.mirrors.shown import EDITABLE
from commonfarm.mirrors.wording import exact

LISTS = ("prefixes", "only_countries", "only_networks")
_ROOM = 20_000


def _text(label: str, help_text: str = "", most: int = 500, **more: Any) -> forms.CharField:
    return forms.CharField(
        label=label, help_text=help_text, max_length=most, required=False, **more
    )


def _lines(label: str, help_text: str) -> forms.CharField:
    widget = forms.Textarea(attrs={"rows": 2})
    return _text(label, help_text, _ROOM, widget=widget)


class MirrorForm(forms.Form):
    """What is registered of a mirror. Meaning is checked by `registering`, here only the form."""

    name = forms.RegexField(
        NAME,
        max_length=100,
        label="Name",
        help_text="Small letters, digits, dots, hyphens.",
        error_messages={"invalid": "Use small letters, digits, dots and hyphens, such as north-1."},
    )
    tree = forms.ModelChoiceField(ReleaseTree.objects.none(), to_field_name="name", label="Tree")
    subtree = _text("Folder of the tree", "Only if it carries no more than that.")
    https = _text("https address", "https://HOST/PATH/ of the tree, or of that folder.")
    http = _text("http address", "http://HOST/PATH/, if it answers by http too.")
    rsync_url = _text("rsync address", "rsync://HOST/MODULE/: it is scanned by that, fastest.")
    country = _text("Country", "Two letters, as DE.", 2, widget=forms.TextInput({"size": 3}))
    latitude = forms.FloatField(label="Latitude", required=False, help_text="Degrees north.")
    longitude = forms.FloatField(label="Longitude", required=False, help_text="Degrees east.")
    as_number = forms.IntegerField(label="AS", required=False, min_value=0, help_text="As 680.")
    budget_bytes = _text("Most bytes a day", "As 500 GB; empty: no limit.", 40)
    prefixes = _lines("Nearest for", "Networks, as 192.0.2.0/24.")
    only_countries = _lines("Only for countries", "As DE AT CH; empty: for all.")
    only_networks = _lines("Only for networks", "Empty: for all.")
    weight = forms.IntegerField(
        label="Weight", required=False, min_value=1, max_value=1000, help_text="100 is usual."
    )
    sponsor = _text("Sponsor", "As users see it.", 200)
    sponsor_url = _text("Web address of the sponsor")
    logo = forms.FileField(label="Logo", required=False, help_text="PNG, JPEG, WebP or SVG.")
    pledge = _text("Pledge of the estate", "", 100)
    push = forms.ChoiceField(
        label="Told to pull by",
        required=False,
        choices=[(Push.NONE, "nothing"), (Push.WEBHOOK, "webhook"), (Push.SSH, "ssh")],
    )
    push_to = _text("Told at", "The webhook's address, or ssh://USER@HOST.")

    def __init__(self, *arguments: Any, user: User, mirror: Mirror | None = None, **more: Any):
        """Make the form for `user`, filled from `mirror` if one is edited."""
        if mirror is not None:
            more["initial"] = _initial(mirror)
        super().__init__(*arguments, **more)
        trees = ReleaseTree.objects.filter(retired_at=None).order_by("name")
        field = self.fields["tree"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = trees
        if len(trees) == 1:
            field.initial = trees[0].name
        if mirror is not None:
            del self.fields["name"], self.fields["tree"]
        if not user.may(Role.COORDINATOR):
            for name in THE_PROJECTS:
                del self.fields[name]

    def values(self) -> dict[str, Any]:
        """Return the fields as `registering` takes them."""
        found = {name: self.cleaned_data[name] for name in EDITABLE if name in self.cleaned_data}
        for name in LISTS:
            found[name] = found[name].replace(",", " ").split()
        budget = found["budget_bytes"].strip()
        found["budget_bytes"] = parse_bytes(budget) if budget else 0
        found["as_number"] = found["as_number"] or 0
        if "weight" in found:
            found["weight"] = found["weight"] or 100
        return {
            key: value.strip() if isinstance(value, str) else value for key, value in found.items()
        }

    def clean_budget_bytes(self) -> str:
        """Refuse a budget that is no size."""
        text = str(self.cleaned_data["budget_bytes"])
        if text.strip():
            try:
                parse_bytes(text)
            except ValueError as error:
                raise forms.ValidationError(str(error)) from None
        return text

    def carried_out(self, act: Callable[[], object]) -> bool:
        """Do it, and say whether it went well; what is refused stands at the fields then."""
        try:
            act()
        except BadInputError as error:
            for one in error.problems:
                place = one.file if one.file in self.fields else None
                self.add_error(place, f"{one.what}; {one.to_do}" if one.to_do else one.what)
        except ForbiddenError:
            raise
        except CommonfarmError as error:
            self.add_error(None, str(error))
        else:
            return True
        return False


def _initial(mirror: Mirror) -> dict[str, Any]:
    found = {name: getattr(mirror, name) for name in EDITABLE}
    for name in LISTS:
        found[name] = " ".join(found[name])
    found["budget_bytes"] = exact(mirror.budget_bytes)
    found["as_number"] = mirror.as_number or None
    return found
