"""Every outcome of a change has a word: one without would end the controller's clock when it is counted."""

from __future__ import annotations

from typing import get_args

from portlb_app.metrics.tally import OUTCOMES
from portlb_app.reconcile.outcomes import Outcome, WishOutcome


def test_every_outcome_has_a_word() -> None:
    """None more, and none fewer."""
    assert OUTCOMES.keys() == {*get_args(Outcome), *get_args(WishOutcome)}
