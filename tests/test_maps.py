"""Tests of `jaxdyn.maps`."""

import numpy as np
import pytest

from jaxdyn import maps
from jaxdyn.ops import patches
from jaxdyn.types import Route


def route(scale, depth):
    return Route(scale=np.array([scale], np.int32), depth=np.array([depth], np.int32))


def test_every_patch_has_the_colour_of_its_scale_and_the_strength_of_its_depth():
    # Two rows of three patches at 496x736: starts 0, 240 and 0, 240, 480.
    grid = route([[0, 1, 2], [0, 1, 2]], [[5, 5, 5], [1, 3, 0]])
    frame = np.full((496, 736, 3), 0.5, np.float32)
    picture = maps.draw(frame, grid)
    assert picture.dtype == np.uint8
    assert picture.shape == (496 + maps.LEGEND_HEIGHT, 736, 3)
    places = [(20, 20), (20, 300), (20, 600)]
    deep = np.array([picture[y, x] for y, x in places]) / 255
    grey = 0.8 * 0.5
    np.testing.assert_allclose(deep, 0.7 * maps.COLOURS + 0.3 * grey, atol=0.01)
    shallow = picture[300, 20] / 255
    np.testing.assert_allclose(shallow, 0.2 * maps.COLOURS[0] + 0.8 * grey, atol=0.01)
    np.testing.assert_allclose(picture[300, 700] / 255, grey, atol=0.01)  # exit 0: the frame's grey


def test_borders_lie_in_the_middle_of_overlaps():
    assert maps.cell_edges((0, 240, 480), 256, 736) == [0, 248, 488, 736]
    assert maps.cell_edges((0,), 256, 100) == [0, 100]


def test_labels():
    assert [maps.label(0, 5), maps.label(1, 3), maps.label(2, 1), maps.label(2, 0)] == ["1:5", "1/2:3", "1/4:1", "0"]


def test_uint8_frames_and_tiny_frames():
    one = route([[0]], [[1]])
    picture = maps.draw(np.zeros((2, 2, 3), np.uint8), one)
    assert picture.shape == (2, 2, 3)
    float_frame = np.full((64, 80, 3), 100 / 255, np.float32)
    np.testing.assert_array_equal(maps.draw(float_frame, one), maps.draw(np.full((64, 80, 3), 100, np.uint8), one))


def test_the_frame_is_not_changed_and_the_same_call_gives_the_same_picture():
    frame = np.random.default_rng(0).random((300, 300, 3), np.float32)
    before, grid = frame.copy(), route([[0, 1], [2, 0]], [[1, 2], [3, 4]])
    np.testing.assert_array_equal(maps.draw(frame, grid), maps.draw(frame, grid))
    np.testing.assert_array_equal(frame, before)


def test_a_mapping_is_a_route_too():
    frame = np.zeros((64, 64, 3), np.float32)
    values = {"scale": np.zeros((1, 1, 1), np.int32), "depth": np.ones((1, 1, 1), np.int32)}
    np.testing.assert_array_equal(maps.draw(frame, values), maps.draw(frame, Route(**values)))


@pytest.mark.parametrize(
    ("shape", "grid", "message"),
    [
        ((64, 64), route([[0]], [[1]]), r"\[H, W, 3\]"),
        ((600, 64, 3), route([[0, 0]], [[1, 1]]), r"\(1, 2\) patches.*\(3, 1\)"),
    ],
)
def test_errors(shape, grid, message):
    with pytest.raises(ValueError, match=message):
        maps.draw(np.zeros(shape, np.float32), grid)


@pytest.mark.parametrize("scale", [1, 4])
def test_every_patch_has_the_strength_of_the_share_of_its_blocks(scale):
    grid = patches.grid(96, 142, 48, 46)  # rows 0, 46, 48; columns 0, 46, 92, 94
    blocks = np.zeros((2, 10, *grid.shape), bool)
    blocks[..., 0, 0], blocks[0, ..., 0, 1], blocks[:, :1, 0, 2] = True, True, True
    picture = maps.draw_blocks(np.full((scale * 96, scale * 142, 3), 0.5, np.float32), blocks, grid)
    has_legend = scale * 142 >= maps.LEGEND_MIN_WIDTH
    assert picture.dtype == np.uint8
    assert picture.shape == (scale * 96 + maps.LEGEND_HEIGHT * has_legend, scale * 142, 3)
    for column, share in ((10, 1.0), (60, 0.5), (100, 0.1)):
        tint = 0.7 * share
        found = picture[scale * 10, scale * column] / 255
        np.testing.assert_allclose(found, tint * maps.BLOCK_COLOUR + (1 - tint) * 0.4, atol=0.01)
    np.testing.assert_allclose(picture[scale * 60, scale * 10] / 255, 0.4, atol=0.01)  # no block ran: the frame's grey


def test_cells_say_what_a_picture_shows():
    cells = maps.route_cells(496, 736, route([[0, 1, 2], [0, 1, 2]], [[5, 5, 5], [1, 3, 0]]))
    assert [(cell.top, cell.bottom, cell.left, cell.right) for cell in cells[:4]] == [
        (0, 248, 0, 248),
        (0, 248, 248, 488),
        (0, 248, 488, 736),
        (248, 496, 0, 248),
    ]
    assert [cell.label for cell in cells] == ["1:5", "1/2:5", "1/4:5", "1:1", "1/2:3", "0"]
    assert [round(cell.strength, 2) for cell in cells] == [0.7, 0.7, 0.7, 0.2, 0.45, 0]
    assert cells[4].colour == tuple(map(float, maps.COLOURS[1]))
    blocks = np.zeros((2, 2, 1, 2), bool)
    blocks[0, :, 0, 1] = True
    large = maps.block_cells(blocks, patches.grid(48, 94, 48, 46), scale=4)
    assert [(cell.bottom, cell.left, cell.right, cell.label) for cell in large] == [
        (192, 0, 188, "0%"),
        (192, 188, 376, "50%"),
    ]


def test_blocks_of_another_grid_or_frame():
    grid, blocks = patches.grid(48, 94, 48, 46), np.ones((2, 3, 1, 2), bool)
    with pytest.raises(ValueError, match=r"\[2, num_block, 1, 2\]; got \(2, 3, 2, 2\)"):
        maps.draw_blocks(np.zeros((48, 94, 3)), np.ones((2, 3, 2, 2), bool), grid)
    for shape in ((48, 94), (48, 95, 3), (24, 47, 3), (96, 94, 3)):
        with pytest.raises(ValueError, match="is no multiple of 48 x 94"):
            maps.draw_blocks(np.zeros(shape, np.float32), blocks, grid)
