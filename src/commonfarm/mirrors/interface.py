"""The public names of the mirrors."""

from commonfarm.mirrors.models import Mirror
from commonfarm.mirrors.shown import Standing, standings

__all__ = ["Mirror", "Standing", "standings"]
