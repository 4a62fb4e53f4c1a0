"""Stand-ins for other people's packages: their public interface, a known scene, and checkpoints as they name them.

Every network has one weight, ``factor``, by which it multiplies its lengths: a result in the right unit has come from
weights that were loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dvlt_ros.cameras import pose_encoding_from_cameras
from dvlt_ros.geometry import invert_pose, matrix_from_quaternion, pose_matrix, transform_points, unproject
from dvlt_ros.types import Cameras

FACTOR = 2.0  # of every checkpoint
CENTRED = ("vggt", "vggt-omega")  # they know fields of view, not principal points
ONE_FOCAL = ("mast3r",)


@dataclass
class Scene:
    """What a stand-in sees whatever it is shown, in half its unit, and what it was shown."""

    depth: Tensor  # (S, H, W)
    confidence: Tensor  # (S, H, W), from 1 upwards
    intrinsics: Tensor  # (S, 3, 3)
    world_from_cam: Tensor  # (S, 4, 4); no camera is the world
    shown: list[Tensor] = field(default_factory=list)

    @property
    def points_cam(self) -> Tensor:
        return unproject(self.depth, self.intrinsics)

    @property
    def points(self) -> Tensor:
        return transform_points(self.world_from_cam, self.points_cam)

    def scaled(self, factor: Tensor) -> Scene:
        poses = self.world_from_cam.clone()
        poses[:, :3, 3] *= factor
        return Scene(self.depth * factor, self.confidence, self.intrinsics, poses)


def make_scene(size: tuple[int, int], views: int = 3, centred: bool = False) -> Scene:
    """Random relief before random cameras; ``centred``: principal points in the middle."""
    height, width = size
    generator = torch.Generator().manual_seed(0)
    depth = 1 + torch.rand(views, height, width, generator=generator)
    confidence = 1.5 + torch.rand(views, height, width, generator=generator)
    intrinsics = torch.eye(3).repeat(views, 1, 1)
    intrinsics[:, 0, 0], intrinsics[:, 1, 1] = 1.1 * width, 1.2 * width
    intrinsics[:, :2, 2] = torch.tensor([width / 2, height / 2]) + (0.0 if centred else 1.25)
    rotation = matrix_from_quaternion(torch.randn(views, 4, generator=generator))
    return Scene(depth, confidence, intrinsics, pose_matrix(rotation, torch.randn(views, 3, generator=generator)))


class Network(nn.Module):
    """What all stand-ins have."""

    see: Callable[[Tensor], Scene]  # images (S, 3, H, W) as they arrive -> the scene

    def __init__(self, **_: object) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.zeros(()))

    def scene(self, images: Tensor) -> Scene:
        assert not self.training
        return type(self).see(images).scaled(self.factor)

    @classmethod
    def from_pretrained(cls, source: str) -> Network:
        network = cls()
        network.load_state_dict(load_file(Path(source) / "model.safetensors"), strict=False)  # as upstream does
        return network


class Vggt(Network):
    def __init__(self, enable_track: bool = True) -> None:
        super().__init__()
        if enable_track:
            self.track_head = nn.Linear(2, 2)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        scene = self.scene(images[0])
        cam_from_world = Cameras(invert_pose(scene.world_from_cam), scene.intrinsics)
        return {
            "pose_enc": pose_encoding_from_cameras(cam_from_world, *images.shape[-2:])[None],
            "depth": scene.depth[None, ..., None],
            "depth_conf": scene.confidence[None],
            "world_points": scene.points[None],
            "world_points_conf": scene.confidence[None],
        }


class VggtOmega(Vggt):
    def __init__(self) -> None:
        super().__init__(enable_track=False)

    @staticmethod
    def encoding_to_camera(encoding: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        translation, quaternion, fov = encoding.split([3, 4, 2], dim=-1)
        intrinsics = torch.eye(3).expand(*encoding.shape[:-1], 3, 3).clone()
        half = torch.tensor(size).flip(0) / 2  # x, y
        intrinsics[..., [0, 1], [0, 1]] = half / torch.tan(fov.flip(-1) / 2)
        intrinsics[..., :2, 2] = half
        return pose_matrix(matrix_from_quaternion(quaternion), translation)[..., :3, :], intrinsics


class DepthAnything3(Network):
    def forward(self, images: Tensor, use_ray_pose: bool = False, ref_view_strategy: str = "saddle_balanced") -> Any:
        assert use_ray_pose
        assert ref_view_strategy == "first"
        scene = self.scene(images[0])
        return {
            "depth": scene.depth[None],
            "depth_conf": scene.confidence[None],
            "extrinsics": invert_pose(scene.world_from_cam)[None, :, :3],
            "intrinsics": scene.intrinsics[None],
        }


class Pi3(Network):
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        scene = self.scene(images[0])
        return {
            "points": scene.points[None],
            "local_points": scene.points_cam[None],
            "conf": (scene.confidence - 1).log()[None, ..., None],
            "camera_poses": scene.world_from_cam[None],
        }


class Pi3X(Pi3):
    pass


class MapAnything(Network):
    def infer(self, views: list[dict[str, Any]], **options: bool) -> list[dict[str, Tensor]]:
        assert not any(options[name] for name in ("apply_mask", "mask_edges", "apply_confidence_mask"))
        assert all(view.keys() == {"img", "data_norm_type"} and view["data_norm_type"] == ["dinov2"] for view in views)
        scene = self.scene(torch.cat([view["img"] for view in views]))
        return [
            {
                "pts3d": scene.points[i, None],
                "depth_z": scene.depth[i, None, ..., None],
                "conf": scene.confidence[i, None] - 1,
                "camera_poses": scene.world_from_cam[i, None],
                "intrinsics": scene.intrinsics[i, None],
            }
            for i in range(len(views))
        ]


class Mast3r(Network):
    """The network; `align` stands for the alignment, whose scene is written to its cache."""

    @staticmethod
    def make_pairs(views: list[dict[str, Any]], scene_graph: str, prefilter: None, symmetrize: bool) -> list[Any]:
        assert scene_graph == "complete"
        assert symmetrize
        return [(a, b) for a in views for b in views if a["idx"] != b["idx"]]

    @staticmethod
    def align(names: list[str], pairs: list[Any], cache: str, network: Mast3r, **options: Any) -> Any:
        assert torch.is_grad_enabled()
        assert (options["lr1"], options["lr2"], options["niter1"], options["niter2"]) == (0.2, 0.02, 500, 500)
        views = {view["idx"]: view for pair in pairs for view in pair}
        assert all(tuple(view["true_shape"][0]) == view["img"].shape[-2:] for view in views.values())
        images = torch.cat([views[i]["img"] for i in range(len(names))])
        scene = network.scene(images.requires_grad_())
        scene.depth.sum().backward()  # it optimizes
        return Alignment(scene.scaled(torch.tensor(1.0)), Path(cache))


class Alignment:
    """What the alignment of MASt3R answers; its pixel (0, 0) is centred at (0, 0)."""

    def __init__(self, scene: Scene, cache: Path) -> None:
        self.scene, self.cache = scene, cache

    def get_im_poses(self) -> Tensor:
        return self.scene.world_from_cam

    def get_focals(self) -> Tensor:
        return self.scene.intrinsics[:, 0, 0]

    def get_principal_points(self) -> Tensor:
        return self.scene.intrinsics[:, :2, 2] - 0.5

    def get_dense_pts3d(self, clean_depth: bool) -> tuple[list[Tensor], list[Tensor], list[np.ndarray]]:
        assert clean_depth
        assert self.cache.is_dir()
        flat = self.scene.points.flatten(1, 2)
        confidence = (self.scene.confidence - 1).detach().numpy()
        return list(flat), list(self.scene.depth.flatten(1)), list(confidence)


STAND_INS: dict[str, type[Network]] = {
    "vggt": Vggt, "vggt-omega": VggtOmega, "da3-base": DepthAnything3, "da3-large": DepthAnything3,
    "da3-giant": DepthAnything3, "pi3": Pi3, "pi3x": Pi3X, "mapanything": MapAnything, "mast3r": Mast3r,
}  # fmt: skip


def install(monkeypatch: Any, name: str, see: Callable[[Tensor], Scene], folder: Path) -> Path:
    """Puts the stand-in where its package would be, and a checkpoint into ``folder``; gives the checkpoint."""
    network = type("Seeing", (STAND_INS[name],), {"see": staticmethod(see)})
    modules = {
        "vggt": {"vggt.models.vggt": {"VGGT": network}},
        "vggt-omega": {
            "vggt_omega.models": {"VGGTOmega": network},
            "vggt_omega.utils.pose_enc": {"encoding_to_camera": VggtOmega.encoding_to_camera},
        },
        "pi3": {"pi3.models.pi3": {"Pi3": network}},
        "pi3x": {"pi3.models.pi3x": {"Pi3X": network}},
        "mapanything": {"mapanything.models": {"MapAnything": network}},
        "mast3r": {
            "mast3r.model": {"AsymmetricMASt3R": network},
            "mast3r.image_pairs": {"make_pairs": Mast3r.make_pairs},
            "mast3r.cloud_opt.sparse_ga": {"sparse_global_alignment": Mast3r.align},
        },
    } | {
        f"da3-{size}": {
            "depth_anything_3.cfg": {"load_config": {f"{size}.yaml": network}.__getitem__, "create_object": _make},
            "depth_anything_3.registry": {"MODEL_REGISTRY": {f"da3-{size}": f"{size}.yaml"}},
        }
        for size in ("base", "large", "giant")
    }
    for path, attributes in modules[name].items():
        for parent in _parents(path):
            monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
        module = ModuleType(path)
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, path, module)
    stored = {"vggt": {"factor": ..., "track_head.weight": ...}}.get(name, {"factor": ...})
    prefix = "model." if name.startswith("da3") else ""
    checkpoint = folder / "model.safetensors"
    save_file({prefix + tensor: torch.tensor(FACTOR) for tensor in stored}, checkpoint)
    return checkpoint


def _make(network: type[Network]) -> Network:
    return network()


def _parents(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]
