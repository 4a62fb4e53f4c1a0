"""The benchmark of mesh and grid on a short drive: what it claims of 60 m holds for 9."""

from simulation.robot import make_robot
from surfaces import Score, run, with_people


def test_mesh_and_grid_are_true_and_people_leave_no_trace():
    robot = with_people(make_robot(0, 9.0))
    assert len(robot.people()) > 10
    drive = run(robot, 0)
    score = Score.of(drive)
    assert score.mesh_m[0] < 0.03
    assert score.num_triangles > 10_000
    assert score.known_right >= 0.97
    assert score.num_known > 2000
    assert score.traces == (0, 0)
    assert max(drive.num_bytes) < 100e6
