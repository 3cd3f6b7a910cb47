"""Parts that offer the required members only get the protocol's defaults; nothing else about them changes."""

import pytest

from rollwise.core import Policy, PolicySession, RewardModel, RewardSession, Usage, completed


class Bare:
    """A reward model that knows of no optional ability."""

    parameters = 7

    def open(self, problem: object, seed: int) -> "Bare":
        return self


class Frank(Bare):
    """The same, with two abilities of its own."""

    remarks = ("slow",)

    @property
    def reads_certainty(self) -> bool:
        return False


class Inheriting(RewardModel):
    """A reward model that subclasses the protocol."""

    parameters = 1

    def open(self, problem: object, seed: int) -> RewardSession:
        raise NotImplementedError


def test_defaults_stand_in_for_what_a_part_leaves_out() -> None:
    bare, frank = completed(Bare(), RewardModel), completed(Frank(), RewardModel)
    assert (bare.remarks, bare.reads_certainty, bare.states_concentration) == ((), True, False)
    assert (frank.remarks, frank.reads_certainty, frank.states_concentration) == (("slow",), False, False)
    assert bare.parameters == frank.parameters == 7


def test_a_subclass_is_returned_as_it_is() -> None:
    part = Inheriting()
    assert completed(part, RewardModel) is part
    assert not part.states_concentration


async def test_default_methods_work_on_any_session() -> None:
    class Session:
        usage, room = Usage(), 10

    session = completed(Session(), PolicySession)
    assert await session.prepare() is None  # type: ignore[func-returns-value]
    assert session.as_grown([]) is None
    assert not session.in_process


def test_what_is_required_is_never_made_up() -> None:
    with pytest.raises(AttributeError, match="extend"):
        _ = completed(object(), PolicySession).extend
    with pytest.raises(AttributeError, match="parameters"):
        _ = completed(object(), Policy).parameters


def test_a_fault_inside_an_ability_is_not_taken_for_its_absence() -> None:
    class Broken(Bare):
        @property
        def remarks(self) -> list[str]:
            raise ValueError("a fault of the part's own")

    with pytest.raises(ValueError, match="own"):
        _ = completed(Broken(), RewardModel).remarks
