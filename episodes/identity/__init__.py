"""Identity by value: two things are the same if and only if they behave the same, in every process.

Stored rows, results and checkpoints are found again by the identity of what made them. It consists of everything
that decides the behaviour: values, settings at every depth, weights, the code of functions and of the functions
they call. It does not depend on addresses, file locations, the order of sets or ``PYTHONHASHSEED``. Code of
libraries (installed packages and the standard library) is known by name and version; all other code by what it
compiles to, so that comments and formatting do not count, and a file edited while it runs does not either. What
cannot be known is refused, never guessed.
"""

from episodes.identity.content import UnknownIdentityError, canonical, digest_array
from episodes.identity.values import describe, describe_architecture, digest, digest_weights

__all__ = [
    "UnknownIdentityError",
    "canonical",
    "describe",
    "describe_architecture",
    "digest",
    "digest_array",
    "digest_weights",
]
