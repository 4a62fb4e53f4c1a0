"""COLMAP models, read back by COLMAP's own library and by the rules of its documentation."""

from __future__ import annotations

import numpy as np
import pytest
from room_scenes import IMAGE_INTRINSICS, IMAGE_SIZE, room_image, room_images, room_points

from dvlt_ros.errors import InputError
from dvlt_ros.export.scenes import ScenePoints, export_scene
from dvlt_ros.export.scenes.colmap import MOST_SEEN, seen_points

pycolmap = pytest.importorskip("pycolmap", reason="reads COLMAP models; pip install pycolmap")
VOXEL = 0.1


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("colmap") / "scene_0"
    export_scene(folder, room_images(), room_points(), VOXEL, ("colmap",))
    return folder


@pytest.fixture(params=["binary", "text"])
def model(request, scene):
    found = pycolmap.Reconstruction()
    getattr(found, f"read_{request.param}")(scene / "sparse" / "0")
    return found


def test_cameras_are_pinholes_in_the_pixels_of_the_images(model, scene):
    (camera,) = model.cameras.values()
    assert camera.model.name == "PINHOLE"
    assert (camera.height, camera.width) == IMAGE_SIZE
    np.testing.assert_allclose(camera.calibration_matrix(), IMAGE_INTRINSICS)
    assert {path.name for path in (scene / "images").iterdir()} == {image.name for image in model.images.values()}


def test_images_stand_where_their_cameras_are(model):
    for truth in room_images():
        image = model.find_image_with_name(truth.name)
        np.testing.assert_allclose(image.projection_center(), truth.world_from_cam[:3, 3], atol=1e-6)
        rotation = image.cam_from_world().rotation.matrix()
        np.testing.assert_allclose(rotation, truth.world_from_cam[:3, :3].T, atol=1e-6)


def test_points_and_their_colours_are_those_of_the_map(model):
    truth = room_points()
    ordered = [model.points3D[number] for number in sorted(model.points3D)]
    np.testing.assert_allclose([point.xyz for point in ordered], truth.points, atol=1e-6)
    np.testing.assert_array_equal([point.color for point in ordered], truth.colors)


def test_every_element_of_a_track_is_where_the_point_projects(model):
    """By COLMAP's own projection; tracks and the points of images name each other."""
    lengths = []
    for number, point in model.points3D.items():
        lengths.append(len(point.track.elements))
        for element in point.track.elements:
            image = model.images[element.image_id]
            seen = image.points2D[element.point2D_idx]
            assert seen.point3D_id == number
            in_camera = image.cam_from_world() * point.xyz
            assert np.abs(model.cameras[image.camera_id].img_from_cam(in_camera) - seen.xy).max() < 2e-3  # pixels
    assert max(lengths) == len(model.images)
    assert min(lengths) == 0  # behind every camera


def test_a_point_behind_a_surface_is_not_seen():
    (image,) = room_images(1)
    ahead = image.world_from_cam[:3, :3] @ [0.0, 0.0, 1.0]
    on_wall = image.world_from_cam[:3, 3] + image.sight().depth[12, 16] * ahead
    places = np.stack([on_wall, on_wall + 0.5 * ahead, on_wall - 0.5 * ahead, image.world_from_cam[:3, 3] - ahead])
    found = seen_points(places, image, image.sight())
    assert found.indices.tolist() == [0]


def test_an_image_sees_at_most_so_many_points():
    (image,) = room_images(1)
    middle = image.world_from_cam[:3, 3] + image.sight().depth[12, 16] * image.world_from_cam[:3, 2]
    found = seen_points(np.tile(middle, (MOST_SEEN + 5, 1)), image, image.sight())
    assert len(found.indices) == MOST_SEEN


def test_cameras_of_several_kinds_have_ids_of_their_own(tmp_path):
    first, second = room_images(2)
    other = type(second)(
        second.name, (50, 60), second.intrinsics / 2, second.world_from_cam, second.write, second.sight
    )
    export_scene(tmp_path / "scene", [first, other], room_points(), VOXEL, ("colmap",))
    model = pycolmap.Reconstruction(tmp_path / "scene" / "sparse" / "0")
    assert [model.cameras[model.images[number].camera_id].width for number in (1, 2)] == [IMAGE_SIZE[1], 60]


@pytest.mark.parametrize(
    ("images", "points", "reason"),
    [
        ([], room_points(), "at least one image"),
        (room_images(1) * 2, room_points(), "two images have one name, 000.png"),
        ([room_image(0, np.full((4, 4), np.nan))], room_points(), "the camera of 000.png is not finite"),
        (room_images(1), ScenePoints(np.full((1, 3), np.inf), np.zeros((1, 3), np.uint8)), "a point is not finite"),
    ],
)
def test_a_scene_that_cannot_be_is_refused_and_nothing_is_left(tmp_path, images, points, reason):
    with pytest.raises(InputError, match=reason):
        export_scene(tmp_path / "scene", images, points, VOXEL, ("colmap",))
    assert not list(tmp_path.iterdir())
