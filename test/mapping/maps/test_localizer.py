"""Which recognized places are believed."""

from __future__ import annotations

import numpy as np
import pytest
from room import pose

from dvlt_ros.alignment import Sim3
from dvlt_ros.mapping.maps.localizer import Localizer, Sighting
from dvlt_ros.mapping.pose_graph.config import LoopClosure, PoseGraphConfig
from dvlt_ros.refinement import MotionDeviation


def sighting(first, second, moved=0.0, is_expected=False, scale=2.0, motion=None):
    """The visual map lies ``moved`` units of the saved map along x, as told at a camera that has driven on."""
    place = Sim3.of(scale, np.eye(3), np.array([moved, 0.0, 0.0]))
    loop = LoopClosure(first, second, place, 0.01, motion=motion)
    return Sighting(loop, pose((0.0, 0.0, 0.5 * second)), 3.0, second, is_expected)


@pytest.fixture
def localizer():
    localizer = Localizer()
    localizer.load(-1)
    return localizer


def x_of(saved_from_visual):
    return saved_from_visual.translation[0].item()


def test_one_place_tells_nothing_and_a_second_one_that_agrees_tells_all(localizer):
    assert localizer.see(sighting(5, 20), None) is None
    found = localizer.see(sighting(6, 21, moved=0.1), None)
    assert x_of(found) == 0.1
    assert (found.scale, localizer.num_sightings) == (2.0, 1)


@pytest.mark.parametrize(
    "second",
    [sighting(6, 20), sighting(5, 21), sighting(6, 21, moved=5.0), sighting(6, 21, scale=2.6)],
    ids=["seen from one place", "of one place", "elsewhere", "in another unit"],
)
def test_two_that_do_not_agree_or_are_one_tell_nothing(localizer, second):
    localizer.see(sighting(5, 20), None)
    assert localizer.see(second, None) is None


def test_where_a_hint_has_it_one_place_is_enough(localizer):
    assert x_of(localizer.see(sighting(5, 20, moved=1.0, is_expected=True), None)) == 1.0


def test_later_ones_that_agree_correct_half_of_the_difference(localizer):
    found = localizer.see(sighting(5, 20, is_expected=True), None)
    corrected = localizer.see(sighting(6, 21, moved=0.2), found)
    assert x_of(corrected) == pytest.approx(0.1)


@pytest.mark.parametrize(("times", "corrected_by"), [(0.1, 0.1), (1.0, 0.1), (2.0, 0.2 / 5), (3.0, 0.2 / 10)])
@pytest.mark.parametrize("of", ["turn", "shift"])
def test_a_sighting_counts_by_what_the_tracks_of_its_joint_window_tell(localizer, times, corrected_by, of):
    usual = {"turn": np.radians(PoseGraphConfig().loop_rotation_deg), "shift": PoseGraphConfig().loop_translation}
    told = MotionDeviation(**{name: usual[name] * (times if name == of else 0.1) for name in usual})
    found = localizer.see(sighting(5, 20, is_expected=True), None)
    assert x_of(localizer.see(sighting(6, 21, moved=0.2, motion=told), found)) == pytest.approx(corrected_by)


def test_a_robot_that_was_carried_is_believed_to_be_elsewhere_after_two_places_there(localizer):
    found = localizer.see(sighting(5, 20, is_expected=True), None)
    assert localizer.see(sighting(9, 21, moved=9.0), found) is None
    assert x_of(localizer.see(sighting(10, 22, moved=9.0), found)) == 9.0


def test_another_visual_map_forgets_what_waits(localizer):
    localizer.see(sighting(5, 20), None)
    localizer.begin()
    assert localizer.see(sighting(6, 21), None) is None
