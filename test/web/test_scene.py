"""What is shown of a scene: points, colours, cameras and pictures."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.web.files import write_scene
from dvlt_ros.web.pictures import confidence_overlays, data_url, depth_overlays, thumbnail
from dvlt_ros.web.scene import Scene, ShowOptions


@settings(max_examples=25, deadline=None)
@given(
    max_points=st.integers(1_000, 8_000), percentile=st.floats(0, 100), more=st.integers(0, 2_000),
    lower=st.floats(0, 1),
)  # fmt: skip
def test_a_larger_choice_keeps_the_points_of_a_smaller_one(scene, max_points, percentile, more, lower):
    small = scene.select(ShowOptions(max_points=max_points, percentile=percentile))
    large = scene.select(ShowOptions(max_points=max_points + more, percentile=percentile))
    all_of_them = scene.select(ShowOptions(max_points=2_000_000, percentile=percentile * lower))
    assert 0 < len(small.points) <= max_points
    assert np.array_equal(large.points[: len(small.points)], small.points)
    rows = {row.tobytes() for row in all_of_them.points}
    assert all(row.tobytes() in rows for row in small.points)
    least = [np.percentile(own[usable], percentile) for own, usable in zip(scene.confidence, scene.usable, strict=True)]
    assert small.confidence.min() >= min(least) - 1e-6


def test_the_checkpoint_says_how_much_is_left_out_until_the_slider_does(scene):
    graded = 1 + np.random.default_rng(0).random(scene.confidence.shape).astype(np.float32)
    graded = Scene(**(vars_of(scene) | {"confidence": graded, "cut_share": 0.3}))
    for options, share in ((ShowOptions(), 0.3), (ShowOptions(percentile=0), 0.0), (ShowOptions(percentile=60), 0.6)):
        assert graded.percentile(options) == pytest.approx(100 * share)
        assert graded.certain(options).sum() / graded.usable.sum() == pytest.approx(1 - share, abs=0.01)


def test_points_have_the_colours_of_their_pixels(scene):
    chosen = scene.select(ShowOptions(max_points=1_000))
    first = zip(scene.points[0].reshape(-1, 3), scene.images[0].reshape(-1, 3), strict=True)
    places = {point.tobytes(): color for point, color in first}
    found = {point.tobytes(): color for point, color in zip(chosen.points, chosen.colors, strict=True)}
    known = [(places[place], color) for place, color in found.items() if place in places]
    assert len(known) > 100
    assert all(np.array_equal(wanted, color) for wanted, color in known)


def test_what_the_network_has_not_seen_is_not_shown(scene):
    usable = scene.usable.copy()
    usable[1] = False
    hidden = Scene(**(vars_of(scene) | {"usable": usable}))
    chosen = hidden.select(ShowOptions(percentile=0, max_points=2_000_000))
    assert len(chosen.points) == usable.sum()
    with pytest.raises(InputError, match="no depth in any of 3 views"):
        Scene(**(vars_of(scene) | {"usable": np.zeros_like(usable)}))


def vars_of(scene):
    return {name: getattr(scene, name) for name in Scene.__dataclass_fields__}


def test_frusta_grow_with_the_scene_and_with_their_slider(scene):
    larger = Scene(**(vars_of(scene) | {"points": 3 * scene.points, "world_from_cam": scaled(scene.world_from_cam, 3)}))
    assert larger.extent == pytest.approx(3 * scene.extent, rel=1e-5)
    assert scene.frustum_size(ShowOptions(frustum_percent=2)) == pytest.approx(0.02 * scene.extent)
    assert scene.frustum_size(ShowOptions(frustum_percent=0)) == 0


def scaled(poses, factor):
    poses = poses.copy()
    poses[:, :3, 3] *= factor
    return poses


@pytest.mark.parametrize(
    "wrong", [{"max_points": 10}, {"percentile": -1.0}, {"percentile": 101.0}, {"frustum_percent": 6.0}]
)
def test_sliders_beyond_their_ends_are_refused(wrong):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} must be from"):
        ShowOptions(**wrong)


def test_overlays_are_the_photo_where_nothing_is_known(scene):
    depth = scene.depth.copy()
    depth[:, :5] = np.nan
    partial = Scene(**(vars_of(scene) | {"depth": depth}))
    overlay = depth_overlays(partial)[0]
    assert overlay.shape == (*scene.size, 3)
    assert np.array_equal(overlay[:5], scene.images[0][:5])
    assert (overlay[5:] != scene.images[0][5:]).any()
    assert len(confidence_overlays(scene)) == 3
    assert thumbnail(np.zeros((100, 400, 3), np.uint8), 40).shape == (10, 40, 3)
    assert data_url(overlay).startswith("data:image/jpeg;base64,/9j/")


def test_what_is_downloaded_for_other_programs_is_the_scene(scene, tmp_path):
    """Splats, a COLMAP model and nerfstudio's folder: in the same frame, with as many cameras."""
    pycolmap = pytest.importorskip("pycolmap", reason="reads COLMAP models; pip install pycolmap")
    plyfile = pytest.importorskip("plyfile", reason="reads PLY files; pip install plyfile")
    options = ShowOptions(percentile=20)
    for kind in ("splats.ply", "colmap.zip", "nerfstudio.zip"):
        write_scene(tmp_path / f"scene.{kind}", scene, options)
        if kind.endswith("zip"):
            shutil.unpack_archive(tmp_path / f"scene.{kind}", tmp_path / kind)
    vertices = plyfile.PlyData.read(tmp_path / "scene.splats.ply")["vertex"]
    splats = np.stack([vertices[axis] for axis in "xyz"], axis=1)
    every = scene.points[scene.usable]
    assert 1_000 < len(splats) <= len(scene.select(ShowOptions(max_points=2_000_000, percentile=20)).points)
    np.testing.assert_allclose(splats.mean(axis=0), every.mean(axis=0), atol=0.05 * scene.extent)
    model = pycolmap.Reconstruction(tmp_path / "colmap.zip" / "scene" / "sparse" / "0")
    centers = [model.images[number].projection_center() for number in sorted(model.images)]
    np.testing.assert_allclose(centers, scene.world_from_cam[:, :3, 3], atol=1e-6)
    frames = json.loads((tmp_path / "nerfstudio.zip/scene/transforms.json").read_text())["frames"]
    assert [(tmp_path / "nerfstudio.zip/scene" / frame["file_path"]).is_file() for frame in frames] == [True] * 3
    assert len(list(tmp_path.iterdir())) == 5
    with pytest.raises(InputError, match=r"must end in .*\.splats\.ply"):
        write_scene(tmp_path / "scene.obj", scene, options)
