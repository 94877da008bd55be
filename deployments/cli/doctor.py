"""`longtake doctor`: one line for each check, and what to do about those that fail."""

from deployments.cli.options import DEFAULTS, Common


def doctor(*, common: Common = DEFAULTS) -> int:
    """Check this installation and say what to do about what is wrong."""
    return 0
