import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvlt_ros.errors import InputError
from dvlt_ros.geometry import pixel_centers
from dvlt_ros.model import prepare_images


def ramp(height: int, width: int) -> torch.Tensor:
    """An image whose red and green are its own pixel coordinates, scaled into [0, 1]."""
    coordinates = pixel_centers(height, width, like=torch.zeros(1)) / max(height, width)
    return torch.cat([coordinates, torch.zeros(height, width, 1)], dim=-1).permute(2, 0, 1)


@settings(max_examples=30, deadline=None)
@given(st.integers(100, 399), st.integers(100, 399), st.sampled_from([56, 112, 168]))
def test_the_mapping_says_where_every_pixel_came_from(height, width, image_size):
    prepared = prepare_images([ramp(height, width)], image_size)
    (mapping,) = prepared.mappings
    network_height, network_width = prepared.images.shape[-2:]
    assert network_height % 14 == network_width % 14 == 0
    assert max(network_height, network_width) <= image_size
    assert image_size - max(network_height, network_width) < 14

    expected = mapping.to_original(pixel_centers(network_height, network_width, like=prepared.images))
    found = prepared.images[0, 0, :2].permute(1, 2, 0) * max(height, width)
    inner = (slice(2, -2), slice(2, -2))  # an interpolation is not linear at the border
    torch.testing.assert_close(found[inner], expected[inner], rtol=0, atol=0.1)


def test_a_size_that_fits_is_left_alone():
    image = torch.rand(3, 42, 56)
    prepared = prepare_images([image], 56)
    assert torch.equal(prepared.images[0, 0], image)
    assert prepared.valid.all()
    assert prepared.mappings[0].scale == (1.0, 1.0)
    assert prepared.mappings[0].offset == (0, 0)


def test_pixels_and_intrinsics_go_there_and_back():
    (mapping,) = prepare_images([torch.rand(3, 375, 621)], 168).mappings
    pixels = torch.rand(20, 2) * 300
    torch.testing.assert_close(mapping.to_original(mapping.to_network(pixels)), pixels)
    intrinsics = torch.tensor([[700.0, 0, 300], [0, 710, 190], [0, 0, 1]])
    there = mapping.intrinsics_to_network(intrinsics)
    torch.testing.assert_close(mapping.intrinsics_to_original(there), intrinsics)
    point = torch.tensor([0.2, -0.1, 1.0])
    torch.testing.assert_close((there @ point)[:2], mapping.to_network((intrinsics @ point)[:2]))


def test_depth_goes_back_to_the_original_size_and_is_nan_where_the_crop_left_nothing():
    prepared = prepare_images([ramp(100, 150)], 112)  # 75 rows after the resize, 70 after the crop
    (mapping,) = prepared.mappings
    back = mapping.map_to_original(prepared.images[0, 0, 0], mode="bilinear")
    assert back.shape == (100, 150)
    covered = ~back.isnan()
    assert 0.9 < covered.float().mean() < 1
    assert not covered[0].any()
    assert covered[5:-5].all()
    torch.testing.assert_close(back[10:-10, 10:-10], ramp(100, 150)[0, 10:-10, 10:-10], rtol=0, atol=2e-3)

    nearest = mapping.map_to_network(ramp(100, 150)[0])
    torch.testing.assert_close(nearest, prepared.images[0, 0, 0], rtol=0, atol=1 / 150)


def test_unequal_sizes_are_padded_around_the_middle_and_marked():
    prepared = prepare_images([torch.ones(3, 112, 112), torch.ones(3, 56, 112), torch.ones(3, 112, 84)], 112)
    assert prepared.images.shape == (1, 3, 3, 112, 112)
    assert prepared.valid[0].float().mean(dim=(1, 2)).tolist() == [1.0, 0.5, 0.75]
    assert prepared.valid[0, 1, 28:84].all()
    assert torch.equal(prepared.images[0, :, 0] == 1, prepared.valid[0])
    on_padding = prepared.mappings[1].map_to_network(torch.ones(56, 112))
    assert torch.equal(on_padding.isnan(), ~prepared.valid[0, 1])


def test_arrays_and_tensors_uint8_and_float_agree():
    array = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    array.flags.writeable = False
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    variants = [array, array[:, ::-1][:, ::-1], tensor, tensor.float() / 255, (array / 255.0).astype(np.float64)]
    first, *others = (prepare_images([image], 112).images for image in variants)
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=1e-6)
    batched = prepare_images(tensor.expand(2, -1, -1, -1), 112)
    torch.testing.assert_close(batched.images[0, 1], first[0, 0], rtol=0, atol=1e-6)


def test_images_of_different_types_in_one_call_agree():
    image = torch.randint(0, 256, (3, 56, 56), dtype=torch.uint8)
    unit = image.float() / 255
    images = prepare_images([image, unit, unit.double(), image], 56).images[0]
    for other in images[1:]:
        torch.testing.assert_close(other, images[0], rtol=0, atol=1e-6)


def test_integer_pixels_are_mapped_without_truncation():
    (mapping,) = prepare_images([torch.rand(3, 375, 621)], 168).mappings
    pixels = torch.tensor([[30, 40]])
    torch.testing.assert_close(mapping.to_network(pixels), mapping.to_network(pixels.float()))


def test_what_rounding_leaves_around_the_unit_range_is_clamped():
    image = torch.rand(3, 56, 56)
    image[0, 0, 0], image[0, 0, 1] = 1 + 1e-6, -9e-4
    assert torch.equal(prepare_images([image], 56).images[0, 0], image.clamp(0, 1))
    assert prepare_images([image], 28).images.max() <= 1


@pytest.mark.parametrize("dtype", [torch.int16, torch.uint16, torch.int32, torch.bool, torch.float16], ids=str)
def test_maps_of_any_type_are_mapped_as_float32_with_nan_outside(dtype):
    (mapping, _) = prepare_images([torch.zeros(3, 56, 112), torch.zeros(3, 112, 112)], 112).mappings
    values = (torch.rand(56, 112) * 2000).to(dtype)
    there = mapping.map_to_network(values)
    assert there.dtype == torch.float32
    inside = ~there.isnan()
    assert inside.float().mean() == 0.5
    assert torch.equal(there[inside], values.float().flatten())
    assert torch.equal(mapping.map_to_original(there), values.float())
    assert mapping.map_to_original(torch.ones(112, 112, dtype=dtype)).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.float64], ids=str)
def test_intrinsics_of_any_type_go_there_and_back(dtype):
    (mapping,) = prepare_images([torch.rand(3, 375, 621)], 168).mappings
    intrinsics = torch.tensor([[700.0, 0, 300], [0, 710, 190], [0, 0, 1]]).to(dtype)
    exact = mapping.intrinsics_to_network(intrinsics.double())
    there = mapping.intrinsics_to_network(intrinsics)
    assert there.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(there.double(), exact, rtol=1e-6, atol=0)
    torch.testing.assert_close(mapping.intrinsics_to_original(there).double(), intrinsics.double(), rtol=1e-6, atol=0)
    assert mapping.intrinsics_to_original(intrinsics).dtype == there.dtype


def test_images_on_several_devices_need_a_choice():
    images = [torch.zeros(3, 56, 56, dtype=torch.uint8), torch.zeros(3, 56, 56, dtype=torch.uint8, device="meta")]
    with pytest.raises(InputError, match="images lie on cpu and meta; choose one with device="):
        prepare_images(images, 56)
    assert prepare_images(images, 56, device="meta").images.device.type == "meta"


def test_downscaling_is_antialiased():
    stripes = torch.zeros(3, 280, 280)
    stripes[:, :, ::2] = 1
    for interpolation in ("bilinear", "bicubic"):
        prepared = prepare_images([stripes], 56, interpolation=interpolation).images
        assert (prepared - 0.5).abs().max() < 0.15
        assert prepared.min() >= 0
        assert prepared.max() <= 1


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "no images"),
        ([np.zeros((20, 30), np.uint8)], r"image 0 must be RGB, \(H, W, 3\), got \(20, 30\)"),
        ([np.zeros((20, 30, 4), np.uint8)], "image 0 must be RGB"),
        ([torch.zeros(20, 30, 3)], r"image 0 must be RGB, \(3, H, W\)"),
        ([np.zeros((0, 30, 3), np.uint8)], "image 0 must be RGB"),
        ([np.zeros((20, 30, 3), np.int32)], "uint8 or floating point, got int32"),
        ([torch.zeros(3, 20, 30, dtype=torch.int64)], "uint8 or floating point, got torch.int64"),
        (["picture.png"], "NumPy array or a tensor, got str"),
        ([torch.zeros(3, 56, 56), torch.full((3, 56, 56), torch.nan)], "image 1 has NaN or infinite pixels"),
        ([np.full((56, 56, 3), np.inf)], "image 0 has NaN or infinite pixels"),
        ([torch.full((3, 56, 56), 255.0)], r"image 0 is floating point and must be in \[0, 1\], got 255 to 255"),
        ([torch.full((3, 56, 56), 1.002)], r"image 0 .* in \[0, 1\], got 1.002 to 1.002"),
        ([torch.full((3, 56, 56), -0.002)], r"image 0 .* in \[0, 1\], got -0.002 to -0.002"),
        (None, "must be a sequence of images, got NoneType"),
        (7, "must be a sequence of images, got int"),
        ("picture.png", "image 0 must be a NumPy array or a tensor, got str"),
        (np.zeros((56, 56, 3), np.uint8), r"must be a sequence, .*, got \(56, 56, 3\); is it one image\?"),
        (torch.zeros(3, 56, 56), r"must be a sequence, .*, got \(3, 56, 56\); is it one image\?"),
        ([np.zeros((10, 2000, 3), np.uint8)], "image 0 of 10 x 2000 pixels is too elongated"),
    ],
)
def test_bad_images_are_refused_by_index(images, message):
    with pytest.raises(InputError, match=message):
        prepare_images(images, 56)


BAD_SIZES = [500, 0, -14, 504.0, True, "504", None]
BAD_OPTIONS = [{"image_size": size} for size in BAD_SIZES] + [{"interpolation": "area"}]


@pytest.mark.parametrize("options", BAD_OPTIONS, ids=str)
def test_bad_options_are_refused_by_name(options):
    with pytest.raises(InputError, match=next(iter(options))):
        prepare_images([torch.zeros(3, 56, 56)], **options)
