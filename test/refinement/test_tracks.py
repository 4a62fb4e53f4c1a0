"""Tracks against the truth of a ray-cast room."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from textured_room import INTRINSICS, SIZE, cast, frames, pose, walk

from dvlt_ros.refinement.tracking.epipolar import plane_motions
from dvlt_ros.refinement.tracking.flow import FlowTracker
from dvlt_ros.refinement.tracking.tracks import TrackStore, linked, normalised
from dvlt_ros.refinement.window import WindowFrame


def true_places(pixels, mask, poses):
    """Distances (P, S) in pixels from where a track's first sight is seen in each frame; NaN where hidden."""
    away = np.full(mask.shape, np.nan)
    depths = [cast(p)[0] for p in poses]
    for p in range(len(mask)):
        first = int(mask[p].argmax())
        u, v = pixels[p, first]
        flat = np.array([*normalised(np.array([u, v]), INTRINSICS), 1.0])
        depth = depths[first][int(v), int(u)]
        around = depths[first][max(int(v) - 2, 0) : int(v) + 3, max(int(u) - 2, 0) : int(u) + 3]
        if np.ptp(around) > 0.05 * depth:
            continue
        world = poses[first][:3, :3] @ (depth * flat) + poses[first][:3, 3]
        for s in np.flatnonzero(mask[p]):
            local = poses[s][:3, :3].T @ (world - poses[s][:3, 3])
            away[p, s] = np.linalg.norm((INTRINSICS @ local)[:2] / local[2] - pixels[p, s])
    return away


@pytest.fixture(scope="module")
def window():
    poses = walk(5)
    return poses, frames(poses)


def test_followed_points_are_where_they_truly_are(window):
    poses, images = window
    tracks = TrackStore().followed(images)
    away = true_places(tracks.pixels, tracks.mask, poses)
    assert not tracks.far_apart
    assert tracks.textured
    assert (tracks.mask.sum(axis=1) == len(poses)).sum() >= 60
    assert np.nanmedian(away) < 0.3
    assert np.nanmean(away > 2) < 0.1


def test_only_new_frames_are_followed_and_tracks_keep_their_numbers(window, monkeypatch):
    _, images = window
    seen = []
    plain = FlowTracker.track
    monkeypatch.setattr(FlowTracker, "track", lambda self, image: seen.append(id(image)) or plain(self, image))
    store = TrackStore()
    before, after = store.followed(images[:3]), store.followed(images[1:])
    assert seen == [id(frame.image) for frame in images]
    assert len(np.intersect1d(before.numbers, after.numbers)) > 40


def test_exposure_that_changes_from_frame_to_frame_loses_no_track(window):
    _, images = window
    gains = (1.0, 0.6, 1.2, 0.7, 1.1)
    flickering = [
        WindowFrame(f.number, np.clip(g * f.image.astype(float), 0, 255).astype(np.uint8), f.intrinsics)
        for f, g in zip(images, gains, strict=True)
    ]
    steady, changed = (len(TrackStore().followed(window).mask) for window in (images, flickering))
    assert changed > 0.75 * steady


def test_frames_far_apart_are_matched_by_descriptors():
    poses = np.stack([pose((0.5 * i - 0.6, 0, 0.1 * i), 0.12 * i - 0.1) for i in range(4)])
    images, store = frames(poses), TrackStore()
    assert store.followed(images).far_apart
    tracks = store.matched(images, np.tile(INTRINSICS, (4, 1, 1)))
    assert len(tracks.mask) > 60
    assert np.nanmedian(true_places(tracks.pixels, tracks.mask, poses)) < 1.0


def test_no_track_is_twice_in_a_frame():
    pixels = [np.arange(8.0).reshape(4, 2)] * 3
    links = [(0, 1, np.array([[0, 0], [1, 1]])), (1, 2, np.array([[0, 0], [1, 2]])), (0, 2, np.array([[0, 3], [1, 2]]))]
    found, mask = linked(pixels, links)
    assert mask.tolist() == [[True] * 3] * 2
    assert sorted(found[:, 2, 0].tolist()) == [0.0, 4.0]  # the match that contradicts, 0 with 3, is left out


def test_a_blank_wall_has_no_texture():
    blank = [WindowFrame(i, np.full((*SIZE, 3), 128, dtype=np.uint8), INTRINSICS) for i in range(3)]
    tracks = TrackStore().followed(blank)
    assert not tracks.textured
    assert len(tracks.mask) == 0


def test_neighbours_that_share_too_little_are_named_with_what_they_share(window):
    _, images = window
    blank = replace(images[2], image=np.full((*SIZE, 3), 128, dtype=np.uint8))
    tracks = TrackStore().followed([*images[:2], blank, *images[3:]])
    assert tracks.why_apart.startswith("frames 1 and 2 share 0 tracks, of ")
    assert tracks.far_apart


def test_frames_of_several_cameras_are_not_followed_and_of_another_camera_begin_anew(window, monkeypatch):
    _, images = window
    store = TrackStore()
    left = store.followed(images[:2])
    rig = [replace(frame, number=10 + i, camera="lr"[i % 2]) for i, frame in enumerate(images)]
    other = [replace(frame, number=20 + i, camera="right") for i, frame in enumerate(images[:2])]
    right = store.followed(other)
    assert len(right.mask) == len(left.mask)
    assert not set(left.numbers) & set(right.numbers)
    store.reset()
    again = store.followed([replace(frame, number=40 + i, camera="right") for i, frame in enumerate(images[:2])])
    assert not set(again.numbers) & set(right.numbers)
    monkeypatch.delattr(FlowTracker, "track")
    assert store.num_to_follow(rig) == 0
    assert store.followed(rig).why_apart == "frames of 2 cameras are not followed"


def test_a_stream_of_another_size_begins_anew(window):
    _, images = window
    tracker = FlowTracker()
    first = tracker.track(images[0].image)
    other = tracker.track(cv2.resize(images[1].image, (240, 180)))
    assert not set(first.tracks) & set(other.tracks)


def test_matches_in_one_spot_tell_no_motion_that_is_not_rigid():
    """Their homography is nearly singular; some of its decompositions are no rotations."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        spots = [np.array(middle) + 1e-3 * rng.normal(size=(40, 2)) for middle in ((0.1, 0.2), (0.15, 0.22))]
        for motion in plane_motions(*spots, tolerance=3e-3):
            np.testing.assert_allclose(motion[:3, :3].T @ motion[:3, :3], np.eye(3), atol=1e-6)
