"""Scenes of a saved map: kept images, their cameras and what they see agree with the world that they were taken in."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from configs import mapper_config
from lap import EAGER, EXACT, LAP, RecognizingPredictor, lap_poses
from room import FRAME_NS, WALLS, FakePredictor, picture, walk
from room_scenes import colors_at, world_points

from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.export.scenes import check_formats
from dvlt_ros.mapping.data.frames import Frame, Picture
from dvlt_ros.mapping.data.views import Anchor, View
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.mapping.maps import saved_scene
from dvlt_ros.mapping.submaps.config import ConfidenceConfig
from dvlt_ros.mapping.submaps.submap import StoredSubmap, full_intrinsics, thinned_intrinsics
from dvlt_ros.model import prepare_images

EDGE = 140  # of the network's images
TRUST_ALL = ConfidenceConfig(cut_share=0.0)


def depth_of(world_from_cam, intrinsics, size):
    """(h, w) metres to the walls of the room."""
    directions = world_points(np.ones(size), intrinsics, world_from_cam) - world_from_cam[:3, 3]
    hits = (np.where(directions > 0, WALLS[1], WALLS[0]) - world_from_cam[:3, 3]) / directions
    return hits.min(axis=-1)


def a_view(number, world_from_cam, size, confidence=1.0):
    """A photo of the room, and what an exact network finds in it."""
    height, width = size
    known = np.array([[0.8 * width, 0, 0.52 * width], [0, 0.8 * width, 0.47 * height], [0, 0, 1]])
    points = world_points(depth_of(world_from_cam, known, size), known, world_from_cam)
    photo = Picture(colors_at(points), known)
    mapping = prepare_images([photo.image], EDGE).mappings[0]
    intrinsics = mapping.intrinsics_to_network(torch.from_numpy(known)).numpy()
    depth = depth_of(world_from_cam, intrinsics, mapping.network_size).astype(np.float32)
    frame = Frame((number + 1) * FRAME_NS, "camera", 0, lambda: photo)
    return Anchor(View(number, frame, photo), depth, np.full_like(depth, confidence), intrinsics, world_from_cam)


@pytest.mark.parametrize("size", [(150, 210), (210, 151), (53, 70)], ids=["cropped", "upright", "smaller"])
def test_kept_images_their_cameras_and_their_depth_agree(size, tmp_path):
    anchors = [a_view(number, pose, size) for number, pose in enumerate(walk(4)[1:])]
    submap = StoredSubmap.of(0, anchors, EDGE, np.zeros((1, 1), np.float32))
    images = list(saved_scene._images([submap], TRUST_ALL))
    assert [image.name for image in images] == [f"0.{number}00000000.jpg" for number in (1, 2, 3)]
    for image, anchor in zip(images, anchors, strict=True):
        by = np.array(image.size[::-1]) / size[::-1]
        assert by.max() <= 1
        np.testing.assert_allclose(image.intrinsics[:2], by[:, None] * anchor.view.picture.intrinsics[:2], rtol=1e-5)
        sight = image.sight()
        points = world_points(sight.depth, sight.intrinsics, image.world_from_cam)
        assert np.abs(points[..., None, :] - WALLS).min(axis=(2, 3)).max() < 1e-4  # metres to a wall
        inner = np.s_[2:-2, 2:-2]
        off = np.abs(sight.colors[inner].astype(int) - colors_at(points)[inner])
        assert np.median(off) <= 2  # of 255
        image.write(tmp_path / image.name)
        assert cv2.imread(str(tmp_path / image.name)).shape[:2] == image.size


def test_depth_that_is_not_trusted_is_not_seen():
    anchor = a_view(0, walk(2)[1], (150, 210))
    anchor.confidence[:, :70] = 9
    submap = StoredSubmap.of(0, [anchor], EDGE, np.zeros((1, 1), np.float32))
    for minimum, most in ((1.0, 1.0), (5.0, 0.6)):
        (image,) = saved_scene._images([submap], ConfidenceConfig(min=minimum, cut_share=0.0))
        assert 0.4 < np.isfinite(image.sight().depth).mean() <= most


def test_full_intrinsics_undo_thinning():
    intrinsics = np.array([[50.0, 0, 31.0], [0, 60.0, 17.0], [0, 0, 1.0]])
    for stride in (1, 2, 5):
        np.testing.assert_allclose(full_intrinsics(thinned_intrinsics(intrinsics, stride), stride), intrinsics)


def driven(predictor, config, count):
    mapper = Mapper(config, predictor)
    for number in range(1, count + 1):
        mapper.add(Frame(number * FRAME_NS, "camera", 0, lambda number=number: picture(number)))
    list(mapper.finish())
    return mapper


def test_a_map_is_saved_with_its_scene(tmp_path):
    pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install 'dvlt_ros[loops]'` runs this")
    config = mapper_config(keyframes_min_change=0.0, map_voxel_size=0.05, **EAGER, **EXACT)
    mapper = driven(RecognizingPredictor(lap_poses(range(1, LAP))), config, LAP // 2)
    saved = mapper.save(tmp_path, ("nerfstudio", "splats"))
    scene = saved.with_suffix(".scene")
    frames = json.loads((scene / "transforms.json").read_text())["frames"]
    assert len(frames) >= 3
    assert all((scene / frame["file_path"]).is_file() for frame in frames)
    assert (scene / "splats.ply").is_file()
    assert mapper.open(tmp_path)[1].stored_submaps  # it can be loaded as ever


def test_without_kept_images_the_map_is_saved_and_the_reason_said(tmp_path):
    poses = {number * FRAME_NS: pose for number, pose in enumerate(walk(9))}
    mapper = driven(FakePredictor(poses), mapper_config(loops_mode="never", keyframes_min_change=0.0, **EXACT), 8)
    with pytest.raises(InputError, match=r"no image of this map is kept.*the map is saved: .*\.ply"):
        mapper.save(tmp_path, ("colmap",))
    assert list(tmp_path.glob("map_*.ply"))


def test_an_unknown_format_is_named():
    with pytest.raises(ConfigError, match=r"maps.export must be of colmap, nerfstudio, splats, got obj"):
        check_formats(("colmap", "obj"), "maps.export")
