"""The reference numbers in the repository: complete, described, and part of the full set where that is at hand."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

PARITY = Path(__file__).parents[1] / "data" / "parity"
FULL = Path(__file__).resolve().parents[3] / "shared" / "parity"
FILES = sorted(path.name for path in PARITY.glob("*.*") if path.suffix != ".md")
MOST_BYTES = 3_000_000


def kept(name, value, reference):
    """The part of a full file's array that the repository keeps."""
    if "stride" in reference and "/" in name and not name.endswith("pose_enc"):
        return value[:, :, :: int(reference["stride"]), :: int(reference["stride"])]
    return value[:, reference["views"]] if "views" in reference else value


def test_the_readme_describes_every_file():
    assert set(re.findall(r"^\| `(\S+)`", (PARITY / "README.md").read_text(), re.MULTILINE)) == set(FILES)
    assert {f"model_{name}.npz" for name in json.loads((PARITY / "state_dicts.json").read_text())} <= set(FILES)
    assert sum((PARITY / name).stat().st_size for name in FILES) < MOST_BYTES


def test_the_stride_reaches_every_place_within_a_patch():
    for path in PARITY.glob("model_*.npz"):
        with np.load(path) as reference:
            stride, sides = int(reference["stride"]), reference["images"].shape[-2:]
        for side in sides:
            assert {pixel % 14 for pixel in range(0, side, stride)} == set(range(14)), path.name


@pytest.mark.skipif(not FULL.is_dir(), reason="the full reference numbers are not here; ../shared/parity runs this")
def test_every_number_is_in_the_full_set():
    for name in FILES:
        if name.endswith(".json"):
            assert json.loads((PARITY / name).read_text()) == json.loads((FULL / name).read_text())
            continue
        with np.load(PARITY / name) as reference, np.load(FULL / name) as full:
            assert set(reference.files) - {"stride", "views"} == set(full.files), name
            for key in full.files:
                np.testing.assert_array_equal(reference[key], kept(key, full[key], reference), err_msg=f"{name} {key}")
