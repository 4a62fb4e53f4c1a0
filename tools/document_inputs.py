"""Writes docs/reference/inputs.md, the table of everything that is read, from the code that reads it.

python tools/document_inputs.py
"""

from __future__ import annotations

from pathlib import Path

from dvlt_ros.imaging.encodings import DEPTH_ENCODINGS, ENCODINGS
from dvlt_ros.imaging.files import INSTALL_HEIF
from dvlt_ros.imaging.grey_levels import SENSOR_BITS
from dvlt_ros.imaging.headers import KINDS, MAX_PIXELS
from dvlt_ros.lens import COEFFICIENTS, MODEL_NAMES, WITHOUT_DISTORTION
from dvlt_ros.sources.bags.files import PACKED_SUFFIXES, SUFFIXES
from dvlt_ros.sources.calibration import CAMERA_INFO
from dvlt_ros.sources.containers import IMAGE_SUFFIXES, VIDEOS
from dvlt_ros.sources.folder import LISTING, RAW_SUFFIXES, UNREAD_SUFFIXES
from dvlt_ros.sources.recording import CAMERA_INFO as INFO_TYPE
from dvlt_ros.sources.recording import IMAGES, ODOMETRY, TF
from dvlt_ros.sources.times import UNITS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "inputs.md"
HEAD = """# What is read

The same readers serve the node, the offline tool, the web page and Python. Files are told by their content, not by
their name. What cannot be read is refused by name and with its cause, and the rest goes on.

<!-- Written by tools/document_inputs.py from the code; do not edit. -->

| input | what is read | remarks |
| --- | --- | --- |
"""


def code(*names: object) -> str:
    return ", ".join(f"`{name}`" if str(name) else "empty" for name in names)


def rows() -> list[tuple[str, str, str]]:
    return [*_message_rows(), *_file_rows(), *_camera_rows(), *_pose_rows()]


def _message_rows() -> list[tuple[str, str, str]]:
    layouts: dict[str, list[str]] = {}
    for name, encoding in ENCODINGS.items():
        layouts.setdefault(encoding.layout, []).append(name)
    bits = ", ".join(map(str, SENSOR_BITS[:-1])) + f" or {SENSOR_BITS[-1]}"
    remarks = {
        "colour": "without a meaning of their own (`8UC3`, ...): blue first",
        "grey": f"16 bits are scaled by the sensor's range, {bits} bits, which is kept over the stream",
        "Bayer": "16 bits as grey ones",
        "YUV 4:2:0": "width and height must be even",
    }
    found = [(f"raw images, {layout}", code(*names), remarks.get(layout, "")) for layout, names in layouts.items()]
    return [
        *found,
        ("rows", "any `step`, big- and little-endian", "padding is left out; the last row may lack it"),
        ("compressed images", ", ".join(KINDS), "8 and 16 bits, with and without alpha"),
        ("depth images", code(*DEPTH_ENCODINGS), "metres (`32FC1`) or millimetres; also PNG in `compressedDepth`"),
    ]


def _file_rows() -> list[tuple[str, str, str]]:
    packed = code(*(f"{suffix}{packed}" for suffix in sorted(SUFFIXES) for packed in sorted(PACKED_SUFFIXES)))
    return [
        (
            "image files", ", ".join(KINDS),
            f"usual suffixes: {code(*sorted(IMAGE_SUFFIXES))}; at most {MAX_PIXELS // 10**6} million pixels; "
            f"turned as EXIF says, together with the lens; HEIC needs `{INSTALL_HEIF}`",
        ),
        ("raw photos", "none", f"{code(*sorted(RAW_SUFFIXES))} are refused by name"),
        ("other image formats", "none", f"{code(*sorted(UNREAD_SUFFIXES))} are refused by name"),
        ("times of image files", f"`{LISTING}`, or names that are times", "else one every 1 / `rate_hz`"),
        ("videos", ", ".join(VIDEOS), "frames at the container's own times; turned as it says; no play lists, no URLs"),
        (
            "bags", "MCAP, SQLite (db3)",
            "a folder or a file; without metadata.yaml the parts in order of name; a cut one up to the cut",
        ),
        ("compressed bags", packed, "also MCAP chunks (lz4, zstd) and single messages (zstd)"),
        ("bags of ROS 1", "none", "`rosbags-convert` makes one of ROS 2"),
    ]  # fmt: skip


def _camera_rows() -> list[tuple[str, str, str]]:
    others: dict[str, list[str]] = {}
    for other, model in MODEL_NAMES.items():
        others.setdefault(model, []).append(other)
    lenses = []
    for model, counts in COEFFICIENTS.items():
        also = f"; also called {code(*others[model])}" if model in others else ""
        amount = " or ".join(map(str, counts))
        lenses.append((f"lens {code(model)}", f"{amount} coefficients", f"zeros at the end say nothing{also}"))
    return [
        ("cameras", f"{code(INFO_TYPE)}, `{CAMERA_INFO}`", "binning and region of interest are applied"),
        *lenses,
        ("lens without distortion", code(*WITHOUT_DISTORTION), "only with coefficients that are 0"),
    ]


def _pose_rows() -> list[tuple[str, str, str]]:
    return [
        ("topics", code(*IMAGES, INFO_TYPE, ODOMETRY, TF), "frame names with and without a leading slash"),
        (
            "trajectories", "time, x y z, quaternion x y z w (TUM)",
            f"spaces or commas; times in {', '.join(UNITS)}, told by their magnitude",
        ),
    ]  # fmt: skip


def page() -> str:
    return HEAD + "".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in rows())


if __name__ == "__main__":
    PAGE.write_text(page())
