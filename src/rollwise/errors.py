"""The exceptions that rollwise raises. Every message says what is wrong and what to do next."""


class RollwiseError(Exception):
    """The base class of every error that a user can cause or has to know about."""


class InputError(RollwiseError, ValueError):
    """Raised if rollwise cannot use a value that it was given: an argument, an option, a file or a reply."""


class UnknownNameError(InputError):
    """Raised if no registered component has the given name. The message lists the names that exist."""

    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        super().__init__(f"no {kind} is called {name!r}; there are: {', '.join(sorted(known))}")


class AllocationError(RollwiseError):
    """Raised if an allocator returns counts of the wrong shape, negative counts, or counts that do not sum to the
    width.
    """


class MissingExtraError(RollwiseError, ImportError):
    """Raised if a component needs a package that is not installed. The message names the extra to install."""

    def __init__(self, component: str, extra: str) -> None:
        super().__init__(f"{component} needs an extra: pip install 'rollwise[{extra}]'")


class EngineError(RollwiseError):
    """Raised if a policy, a reward model or an embedder fails to do its work."""
