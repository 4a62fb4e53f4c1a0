"""What the status says of the mapper's own choices."""

from dvlt_ros.health import Level
from dvlt_ros.mapping.status import steps_health


def test_more_steps_than_trained_are_warned_of_with_what_was_measured():
    assert steps_health(8, 8) == steps_health(2, 8) == {}
    health = steps_health(16, 8)["steps"]
    assert health.level == Level.WARN
    assert "budget.k_max 16 is 2.0 times the 8 steps that were trained" in health.text
    assert "rotations worsen first" in health.text
