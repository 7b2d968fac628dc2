"""Decoded frames <-> RGB, by the source's own matrix and range.

    Y = (y - y0) / sy        Cb = (cb - c0) / sc        Cr = (cr - c0) / sc        (ITU-T H.273, 8.3)
    R = Y + 2 (1 - kr) Cr    B = Y + 2 (1 - kb) Cb      G = (Y - kr R - kb B) / (1 - kr - kb)

Everything is done in float32, so that 8 to 16 bits go through one path. RGB is clipped to [0, 1], as the models expect.
Chroma is taken as sited left (the default of H.264, HEVC and VP9), and the two directions are a matched pair: a picture
that is turned to RGB and back is the picture it was: an in-between frame of a still scene keeps its colours.
"""

import dataclasses

import av
import cv2
import numpy as np

# kr, kb by the matrix's number in H.273 (AVColorSpace).
MATRICES = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087)}
MATRICES |= {9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
UNSPECIFIED, FULL_RANGE, LIMITED_RANGE = 2, 2, 1


@dataclasses.dataclass(frozen=True)
class Colour:
    """The four colour tags of a stream, as H.273 numbers them (FFmpeg's AVColor* values)."""

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = UNSPECIFIED
    range: int = 0  # 0 not said, 1 limited, 2 full


SRGB = Colour(primaries=1, transfer=13, matrix=1, range=LIMITED_RANGE)  # how pictures from a folder are tagged


def colour_of(frame: av.VideoFrame) -> Colour:
    """The tags that a decoded frame carries."""
    return Colour(int(frame.color_primaries), int(frame.color_trc), int(frame.colorspace), int(frame.color_range))


def tag(frame: av.VideoFrame, colour: Colour) -> av.VideoFrame:
    """Writes the tags on a frame; its pixels stay as they are."""
    frame.color_primaries, frame.color_trc = colour.primaries, colour.transfer
    frame.colorspace, frame.color_range = colour.matrix, colour.range
    return frame


def bit_depth(format_name: str) -> int:
    """Bits of a sample of a pixel format."""
    return max(component.bits for component in av.VideoFormat(format_name, 16, 16).components)


def has_alpha(format_name: str) -> bool:
    """Whether a pixel format carries opacity."""
    video_format = av.VideoFormat(format_name, 16, 16)
    return video_format.has_palette or any(component.is_alpha for component in video_format.components)


def subsampling(format_name: str) -> tuple[int, int]:
    """(across, down): luma samples for each chroma sample; (1, 1) for RGB and grey."""
    chroma = [c for c in av.VideoFormat(format_name, 64, 64).components if c.is_chroma]
    return (64 // chroma[0].width, 64 // chroma[0].height) if chroma else (1, 1)


def to_rgb(frame: av.VideoFrame) -> np.ndarray:
    """Decoded frame -> RGB, float32 [H, W, 3] in [0, 1]. Opacity is left out."""
    name = frame.format.name
    if frame.format.is_rgb or frame.format.has_palette:
        deep = bit_depth(name) > 8
        pixels = frame.reformat(format="rgb48le" if deep else "rgb24").to_ndarray()  # [H, W, 3]
        return pixels.astype(np.float32) * np.float32(1 / (65535 if deep else 255))
    frame = _planar(frame)
    codes = _yuv444(frame)  # [H, W, 3 or 1]
    scale, offset = _code_scale(frame)
    if codes.shape[-1] == 1:
        return np.clip(np.repeat((codes - offset[0]) / scale[0], 3, axis=-1), 0, 1).astype(np.float32)
    matrix = _to_rgb_matrix(*_weights(colour_of(frame), frame.height)) / scale  # codes -> RGB
    rgb = cv2.transform(codes, np.column_stack([matrix, -matrix @ offset]))
    return np.clip(rgb, 0, 1, out=rgb)


def from_rgb(rgb: np.ndarray, format_name: str, colour: Colour, is_upsampled: bool = True) -> av.VideoFrame:
    """RGB -> a frame in a pixel format, tagged.

    Args:
      rgb: float32 [H, W, 3] in [0, 1].
      format_name: FFmpeg's name, for example "yuv420p10le".
      colour: matrix and range of the result (and the tags it gets).
      is_upsampled: the RGB came from this format, so its chroma has no finer detail to filter away.
    """
    height, width = rgb.shape[:2]
    if av.VideoFormat(format_name, 16, 16).is_rgb:
        top, dtype, name = (65535, np.uint16, "rgb48le") if bit_depth(format_name) > 8 else (255, np.uint8, "rgb24")
        frame = av.VideoFrame.from_ndarray(_rounded(rgb * np.float32(top), dtype), format=name)
        return tag(frame.reformat(format=format_name), colour)
    frame = tag(av.VideoFrame(width, height, format_name), colour)
    if not _is_plain(frame):
        frame = tag(av.VideoFrame(width, height, "yuv444p16le"), colour)
    scale, offset = _code_scale(frame)
    matrix = np.linalg.inv(_to_rgb_matrix(*_weights(colour, height))) * scale[:, None]  # RGB -> codes
    channels = min(3, len(frame.planes))
    codes = cv2.transform(rgb, np.column_stack([matrix, offset])[:channels])  # [H, W, 3], or [H, W] of grey
    _fill(frame, codes.reshape(height, width, channels), is_upsampled)
    return frame if frame.format.name == format_name else frame.reformat(format=format_name)


def to_444(frame: av.VideoFrame, format_name: str) -> av.VideoFrame:
    """The same picture with chroma at full size, for odd sizes; luma is untouched when the depth is kept."""
    source = _planar(frame)
    target = tag(av.VideoFrame(frame.width, frame.height, format_name), colour_of(frame))
    yuv = _yuv444(source) * np.float32(2.0 ** (bit_depth(format_name) - bit_depth(source.format.name)))
    _fill(target, yuv, is_upsampled=True)
    return target


def _planar(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame itself, or the same YUV in a plain planar format (nv12, yuyv, 4:1:1, big-endian, ...)."""
    if _is_plain(frame):
        return frame
    name = "gray16le" if len(frame.format.components) < 3 else "yuv444p16le"
    return tag(frame.reformat(format=name), colour_of(frame))


def _is_plain(frame: av.VideoFrame) -> bool:
    """Whether planes are one component each, in native byte order, chroma at half or full size."""
    name, planes = frame.format.name, frame.planes
    if frame.format.is_rgb or frame.format.is_big_endian or frame.format.is_bit_stream:
        return False
    if (
        not (name.startswith(("yuv", "gray")) and len(planes) == len(frame.format.components))
        or "f16" in name
        or "f32" in name
    ):
        return False
    return max(subsampling(name)) <= 2 and all(plane.line_size > 0 for plane in planes)


def _samples(plane: av.video.plane.VideoPlane, depth: int) -> np.ndarray:
    """View of a plane, [h, w] uint8 or uint16."""
    dtype = np.dtype(np.uint8 if depth <= 8 else np.uint16)
    rows = np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype.itemsize)
    return rows[: plane.height, : plane.width]


def _yuv444(frame: av.VideoFrame) -> np.ndarray:
    """Code values, float32 [H, W, 3 or 1], chroma brought to full size linearly from left-sited samples."""
    depth = bit_depth(frame.format.name)
    planes = [_samples(plane, depth).astype(np.float32) for plane in frame.planes[:3]]
    across, down = subsampling(frame.format.name)
    if len(planes) >= 3 and (across, down) != (1, 1):
        to_chroma = np.array([[1 / across, 0, 0], [0, 1 / down, 0.5 / down - 0.5]])  # luma position -> chroma position
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (frame.width, frame.height)
        planes[1:] = [
            cv2.warpAffine(p, to_chroma, size, flags=flags, borderMode=cv2.BORDER_REPLICATE) for p in planes[1:]
        ]
    return cv2.merge(planes) if len(planes) >= 3 else planes[0][..., None]


def _fill(frame: av.VideoFrame, yuv: np.ndarray, is_upsampled: bool) -> None:
    """Writes code values [H, W, 3 or 1] into a planar frame, chroma brought to its size."""
    depth = bit_depth(frame.format.name)
    dtype = np.uint8 if depth <= 8 else np.uint16
    across, down = subsampling(frame.format.name)
    for index, plane in enumerate(frame.planes[:3]):
        values = np.ascontiguousarray(yuv[..., index])
        if index and (across, down) != (1, 1):
            values = _shrink_chroma(values, across, down, is_upsampled)
        _samples(plane, depth)[...] = np.minimum(_rounded(values, dtype), 2**depth - 1)
    for plane in frame.planes[3:]:  # opaque
        _samples(plane, depth)[...] = 2**depth - 1


def _shrink_chroma(values: np.ndarray, across: int, down: int, is_upsampled: bool) -> np.ndarray:
    """Chroma at its own size. For a plane made by `_yuv444` this is the exact inverse of the interpolation there:

    across, every other column is a sample itself; down, where rows are 3/4 c[i] + 1/4 c[i-1] and 3/4 c[i] + 1/4 c[i+1],
    the taps (-1, 3, 3, -1) / 4 give c[i] again. For RGB with detail of its own: (1, 2, 1) / 4 across, (1, 1) / 2 down.
    """
    one = np.ones(1)
    if is_upsampled and down == 2 and len(values) % 2 and len(values) > 1:  # the row that an odd height cuts off
        values = np.concatenate([values, np.repeat(1.5 * values[-1:] - 0.5 * values[-2:-1], 2, axis=0)])
        rows = (len(values) - 1) // 2
    else:
        rows = (len(values) + down - 1) // down
    if is_upsampled:
        taps_x, taps_y = one, np.array([0, -1, 3, 3, -1]) / 4
    else:
        taps_x, taps_y = np.array([1, 2, 1]) / 4, np.array([0, 1, 1]) / 2
    taps_x, taps_y = taps_x if across == 2 else one, taps_y if down == 2 else one
    return cv2.sepFilter2D(values, -1, taps_x, taps_y, borderType=cv2.BORDER_REPLICATE)[::down, ::across][:rows]


def _rounded(values: np.ndarray, dtype: type) -> np.ndarray:
    """Rounded to uint8 or uint16, clipped to what they hold."""
    return cv2.add(values, 0, dtype=cv2.CV_8U if dtype is np.uint8 else cv2.CV_16U).reshape(values.shape)


def _is_full(frame: av.VideoFrame) -> bool:
    return "yuvj" in frame.format.name or int(frame.color_range) == FULL_RANGE


def _code_scale(frame: av.VideoFrame) -> tuple[np.ndarray, np.ndarray]:
    """(scale, offset) of Y, Cb, Cr: code = scale * value + offset."""
    depth = bit_depth(frame.format.name)
    if _is_full(frame):
        scale, offset = np.full(3, 2.0**depth - 1), np.array([0, 2 ** (depth - 1), 2 ** (depth - 1)])
    else:
        scale, offset = np.array([219, 224, 224]) * 2.0 ** (depth - 8), np.array([16, 128, 128]) * 2 ** (depth - 8)
    return scale, offset


def _weights(colour: Colour, height: int) -> tuple[float, float]:
    """kr, kb. A matrix that is not said is BT.709 from 720 lines on and BT.601 under that, as players assume."""
    return MATRICES.get(colour.matrix, MATRICES[1 if height >= 720 else 6])


def _to_rgb_matrix(kr: float, kb: float) -> np.ndarray:
    kg = 1 - kr - kb
    red, blue = 2 * (1 - kr), 2 * (1 - kb)
    return np.array([[1, 0, red], [1, -kb * blue / kg, -kr * red / kg], [1, blue, 0]])
