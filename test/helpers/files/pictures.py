"""Pictures of noise: in folders, as videos, and compared with what a source gives."""

from __future__ import annotations

import cv2
import numpy as np
import yaml

from dvlt_ros.demo import DEMO_SEQUENCE

HEIGHT, WIDTH = 48, 64


def picture(index: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """Noise, so that no two pictures are alike, (H, W, 3) RGB."""
    return np.random.default_rng(index).integers(0, 256, (*size, 3), dtype=np.uint8)


def save(path, index: int = 0, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(picture(index, **options), cv2.COLOR_RGB2BGR))


def write_camera_info(folder, **changes) -> None:
    content = yaml.safe_load((DEMO_SEQUENCE / "camera_info.yaml").read_text())
    content |= {"image_width": WIDTH, "image_height": HEIGHT} | changes
    (folder / "camera_info.yaml").write_text(yaml.safe_dump(content))


def check(source, indices, stamps_ns) -> None:
    """Two rounds, both complete."""
    for _ in range(2):
        images = list(source)
        assert [image.stamp_ns for image in images] == list(stamps_ns)
        for image, index in zip(images, indices, strict=True):
            np.testing.assert_array_equal(image.image, picture(index))


def write_video(path, frames):
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25.0, (width, height))
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def make_video(path):
    """20 frames of one colour each."""
    frames = [np.full((HEIGHT, WIDTH, 3), (10 * index, 120, 10), np.uint8) for index in range(20)]
    return write_video(path, frames)
