"""The two ways in which a command ends badly that are not defects of Secateur."""

__all__ = ["BadInputError", "CheckFailedError"]


class BadInputError(ValueError):
    """What the user gave cannot be used: one sentence that names the thing, the rule, the way out.

    The command line prints the sentence and exits with 2.
    """


class CheckFailedError(RuntimeError):
    """A check of the product failed (simulation, synthesis, a tool): one sentence.

    The command line prints the sentence and exits with 1.
    """
