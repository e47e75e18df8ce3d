"""No path to green but the platform's word; and how an account stands follows from what was confirmed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redshank.enforcement import states

STEPS = ("take", "confirm", "fail", "cancel", "resend")


@given(st.lists(st.sampled_from(STEPS), max_size=12))
def test_whatever_happens_an_action_is_confirmed_only_after_the_platform_said_so(steps):
    state = "requested"
    for number, step in enumerate(steps):
        if states.may(state, step):
            state = states.after(state, step)
        if state == "confirmed":
            assert "confirm" in steps[: number + 1]
            assert not any(states.may(state, any_step) for any_step in STEPS)
        assert state != "canceled" or "cancel" in steps[: number + 1]


@pytest.mark.parametrize("step", ["take", "fail", "cancel", "resend"])
def test_a_step_that_leads_nowhere_says_why(step):
    with pytest.raises(states.WrongState, match="an action that is confirmed cannot be"):
        states.after("confirmed", step)


def harshest(done):
    """The same, said plainly: what was not taken back by a later restore."""
    held = [
        action.verb
        for place, action in enumerate(done)
        if action.verb != "restore"
        and not any(later.verb == "restore" and later.undoes in ("", action.id) for later in done[place + 1 :])
    ]
    return "suspended" if "suspend" in held else "restricted" if "restrict" in held else "active"


@given(st.data())
def test_an_account_stands_as_the_harshest_that_was_not_taken_back(data):
    done = []
    for number in range(data.draw(st.integers(0, 8))):
        verb = data.draw(st.sampled_from(("suspend", "restrict", "restore")))
        undoes = data.draw(st.sampled_from(["", *[one.id for one in done]])) if verb == "restore" else ""
        done.append(states.Done(f"act_{number}", verb, undoes))
    assert states.standing(done) == harshest(done)


def test_lifting_a_restriction_leaves_a_suspension():
    done = [states.Done("a", "restrict"), states.Done("b", "suspend"), states.Done("c", "restore", "a")]
    assert states.standing(done) == "suspended"
    assert states.standing([*done, states.Done("d", "restore", "b")]) == "active"
