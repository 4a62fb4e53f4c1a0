"""How far two answers of a network are from each other, and within what they must agree."""

import torch

TOLERANCE = 2e-5  # of the reference's largest magnitude
BFLOAT16_TOLERANCE = 2e-2  # relative L2
SIZES = ((28, 42), (42, 28), (28, 28))  # height, width


def outputs(prediction):
    return {
        "depth": prediction.depth.unsqueeze(-1),
        "depth_conf": prediction.depth_confidence,
        "rays": torch.cat([prediction.ray_directions, prediction.ray_origins], dim=-1),
        "world_points": prediction.points,
        "pose_enc": prediction.pose_encoding,
    }


def sampled(prediction, reference):
    """The outputs at the pixels that a file of reference numbers holds: every `stride`-th row and column, or all."""
    stride = int(reference["stride"]) if "stride" in reference else 1
    dense = outputs(prediction)
    pose_encoding = dense.pop("pose_enc")
    return {name: value[:, :, ::stride, ::stride] for name, value in dense.items()} | {"pose_enc": pose_encoding}


def largest_difference(found, expected):
    """Over all outputs, relative to each one's largest magnitude."""
    found, expected = outputs(found), outputs(expected)
    return max(float((found[name] - e).abs().max() / e.abs().max()) for name, e in expected.items())


def pictures(num_views=3, size=SIZES[0], seed=0):
    return torch.rand(1, num_views, 3, *size, generator=torch.Generator().manual_seed(seed))


def relative_l2(found, expected):
    """The larger one of depth's and the rays'."""
    found, expected = outputs(found), outputs(expected)
    return max(float((found[name] - expected[name]).norm() / expected[name].norm()) for name in ("depth", "rays"))
