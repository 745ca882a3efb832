"""The public names of the accounts."""

from commonfarm.accounts.models import ApiToken, Role, SignInLink, User

__all__ = ["ApiToken", "Role", "SignInLink", "User"]
