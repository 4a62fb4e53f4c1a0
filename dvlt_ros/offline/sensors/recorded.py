"""What a recording has beside its images: odometry, several cameras and their mounts, measured depth, gravity."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import ConfigError, DataError
from ...mapping.config import MapperConfig
from ...mapping.sensors.gravity import Gravity
from ...mapping.sensors.odometry import OdometryConfig
from ...mapping.sensors.rig import Rig
from ...mapping.sensors.sparse_depth import SparseDepth
from ...mapping.sensors.suite import Sensors
from ...sources import Source, open_rig, open_source
from ...sources.bags.rig import RigSource, camera_names
from ...sources.odometry import open_odometry
from ...sources.open import FRAME_ID, is_bag
from .gravity import RecordedImu, gravity_of_mount
from .measured_depth import OPTION, RecordedDepth
from .mounts import RecordedMounts
from .odometry import CameraOdometry

Notify = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class RecordedSensors:
    """For the mapper, and for files and sentences."""

    sensors: Sensors
    odometry: CameraOdometry | None = None
    metres_by: tuple[str, ...] = ()  # topics, files and cameras that tell metres


def add_sensor_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sensors of the recording")
    group.add_argument(
        "--cameras", nargs="+", metavar="TOPIC", default=[],
        help="image topics of several cameras on one robot, instead of --topic; their mounts are in the bag's TF",
    )  # fmt: skip
    group.add_argument(
        "--odom", default="auto", metavar="auto|none|tf|TOPIC|FILE",
        help="where metres come from: a topic of the bag, its TF, or a TUM file of the camera's poses; "
        "auto: the bag's only odometry topic, else TF (default: auto)",
    )  # fmt: skip
    group.add_argument("--odom-frame", default="odom", help="of odometry in TF or a file (default: odom)")
    group.add_argument(
        OPTION, metavar="TOPIC",
        help="where metres come from, too: depth images with camera_info beside them, a point cloud or a laser scan",
    )  # fmt: skip
    group.add_argument(
        "--gravity", choices=("auto", "mount", "imu"), default="auto",
        help="where a new map has up from; mount: --base-frame in TF, taken to be level; auto: with odometry its "
        "frame, with several cameras their mounts, else the first image is taken to be level (default: auto)",
    )  # fmt: skip
    group.add_argument("--imu", metavar="TOPIC", help="of --gravity imu, where there are several")
    group.add_argument("--base-frame", default="base_link", help="of the robot, in TF (default: base_link)")
    group.add_argument(
        "--camera-frame",
        default=FRAME_ID,
        help=f"optical frame of images that come without a frame_id; others keep theirs (default: {FRAME_ID})",
    )


def set_camera_names(args: argparse.Namespace) -> None:
    """``cameras.names``, from the topics. Raises DataError: one topic alone, or one twice."""
    if args.cameras:
        args.cameras_names = camera_names(args.cameras)


def open_images(args: argparse.Namespace) -> Source:
    """Raises DataError: nothing that can be read, or topics that are asked for and are not there."""
    if args.cameras:
        if args.camera_info is not None:
            raise DataError(
                f"--camera-info {args.camera_info}: --cameras are several, each with a camera_info of its own"
            )
        return open_rig(args.source, args.cameras, args.camera_frame)
    return open_source(
        args.source,
        topic=args.topic,
        rate_hz=args.rate_hz,
        frame_id=args.camera_frame,
        camera_info=args.camera_info,
        mask_topic=args.mask_topic,
    )


def open_sensors(args: argparse.Namespace, config: MapperConfig, source: Source, notify: Notify) -> RecordedSensors:
    """What is asked for, and odometry if there is some.

    Raises:
        DataError: what is asked for by its name is not there, or cannot be used.
        ConfigError: gravity beside odometry, which has its own, or an IMU that nothing uses.
    """
    if args.imu and args.gravity != "imu":
        raise ConfigError(f"--imu {args.imu} needs --gravity imu, got --gravity {args.gravity}")
    first = next(iter(source))
    odometry = _odometry(args, config.odometry, first.frame_id, notify)
    look_up = None if odometry is None else odometry.camera
    names = [] if odometry is None else [odometry.name]
    rig, depth, gravity = None, None, None
    if args.cameras or args.measured_depth or args.gravity != "auto":
        _require_bag(args)
        mounts = RecordedMounts(args.source, config.odometry)
        if isinstance(source, RigSource):
            rig = _rig(source, config, mounts, args.base_frame)
            names.append("the mounts of the cameras")
        if args.measured_depth:
            topic = args.measured_depth
            recorded = RecordedDepth(args.source, topic, config.measured_depth, mounts, look_up, first.frame_id)
            depth = SparseDepth(recorded.points)
            names.append(topic)
        gravity = _gravity(args, config, mounts, first.frame_id, odometry, notify)
    return RecordedSensors(Sensors(rig, look_up, depth, gravity), odometry, tuple(names))


def _require_bag(args: argparse.Namespace) -> None:
    if not is_bag(args.source):
        asked = "--cameras" if args.cameras else OPTION if args.measured_depth else f"--gravity {args.gravity}"
        raise DataError(f"{args.source}: not a bag, which {asked} needs")


def _rig(source: RigSource, config: MapperConfig, mounts: RecordedMounts, base_frame: str) -> Rig:
    """Mounts are those at the first images; whoever has none is named at once."""
    stamps_ns: dict[str, int] = {}
    first = {camera: next(iter(images)) for camera, images in source.cameras.items()}
    for camera, image in first.items():
        if image.frame_id in stamps_ns:
            raise DataError(f"--cameras: '{camera}' and another camera have the same frame_id '{image.frame_id}'")
        mounts.check(base_frame, image.frame_id, f"--cameras: the mount of '{camera}' is not known")
        stamps_ns[image.frame_id] = image.stamp_ns
    for camera, images in source.cameras.items():
        if first[camera].lens is None:
            raise DataError(
                f"--cameras: '{camera}' needs a camera_info: {images.camera_problem or 'none is beside it'}"
            )
    first_ns = min(stamps_ns.values())

    def base_from_cam(frame_id: str) -> np.ndarray:
        return mounts.look_up(base_frame, frame_id, stamps_ns.get(frame_id, first_ns))

    return Rig(config.cameras.names, base_from_cam, config.cameras)


def _gravity(
    args: argparse.Namespace,
    config: MapperConfig,
    mounts: RecordedMounts,
    camera_frame: str,
    odometry: CameraOdometry | None,
    notify: Notify,
) -> Gravity | None:
    if args.gravity == "auto":
        return None
    if odometry is not None:
        raise ConfigError(
            f"--gravity must be auto beside odometry ({odometry.name}), whose frame is z up, got {args.gravity}; "
            "--odom none leaves it out"
        )
    if args.gravity == "mount":
        return gravity_of_mount(config.gravity, mounts, args.base_frame, camera_frame)
    imu = RecordedImu(args.source, args.imu, config.gravity, mounts, camera_frame, notify)
    return Gravity("imu", imu.level_from_cam, config.gravity)


def _odometry(
    args: argparse.Namespace, config: OdometryConfig, camera_frame: str, notify: Notify
) -> CameraOdometry | None:
    """None: metres are not asked for, or nobody tells them.

    Raises:
        DataError: what is asked for by its name cannot be used.
    """
    path: Path = args.source
    if args.odom == "none" or (args.odom == "auto" and not is_bag(path)):
        return None
    try:
        return CameraOdometry(open_odometry(path, args.odom, args.odom_frame, camera_frame), config, notify)
    except DataError as error:
        if args.odom != "auto":
            raise
        others = args.cameras or args.measured_depth
        notify(f"no odometry{'' if others else ', so no metres'}: {error}")
        return None
