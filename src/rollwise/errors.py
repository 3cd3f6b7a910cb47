"""One tree of exceptions. Every message says what is wrong and what to do next."""


class RollwiseError(Exception):
    """Base of every error a user can cause or has to know about."""


class InputError(RollwiseError, ValueError):
    """Something given to rollwise cannot be used as it is."""


class UnknownNameError(InputError):
    """A name that no registered component carries.

    The message lists the names that exist.
    """

    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        super().__init__(f"no {kind} is called {name!r}; there are: {', '.join(sorted(known))}")


class AllocationError(RollwiseError):
    """An allocator broke its contract: wrong shape, negative counts, or a sum that is not the width."""


class MissingExtraError(RollwiseError, ImportError):
    """A component needs a package that is not installed."""

    def __init__(self, component: str, extra: str) -> None:
        super().__init__(f"{component} needs an extra: pip install 'rollwise[{extra}]'")


class EngineError(RollwiseError):
    """A policy, reward model or embedder could not do its work."""
