"""What a recording has beside its images, for the mapper: odometry, cameras and mounts, measured depth, gravity."""

from .odometry import CameraOdometry, Link
from .recorded import RecordedSensors, add_sensor_options, open_images, open_sensors, set_camera_names

__all__ = [
    "CameraOdometry",
    "Link",
    "RecordedSensors",
    "add_sensor_options",
    "open_images",
    "open_sensors",
    "set_camera_names",
]
