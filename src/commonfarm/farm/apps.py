"""Registers this room with Django."""

from django.apps import AppConfig


class FarmConfig(AppConfig):
    """The room `farm`."""

    name = "commonfarm.farm"
    label = "farm"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Fill the ports of the rooms below."""
        from commonfarm.archive.interface import ports as archive
        from commonfarm.farm import leases, vouching
        from commonfarm.fleet.interface import ports as fleet

        fleet.generation_ended.fill(leases.end_generation)
        fleet.work_of.fill(leases.work_of)
        archive.vouch.fill(vouching.vouch)
