"""Protocols: every one scores the right frames in the right way, on a small archive of the published layout."""

import functools

import cv2
import numpy as np
import pytest

from eval import interpolating, methods, points, protocols, samples
from eval.evaluate import evaluate
from jaxdyn import metrics
from jaxdyn.data import datasets, sequences
from jaxdyn.data.datasets import pictures
from jaxdyn.errors import UserError
from jaxdyn.ops import resample
from jaxdyn.types import Cost, Stage
from tests import archives

SIZE = (50, 59)
"""Height and width of a picture: enough for SSIM within a border of 8 px, and no multiples of 4."""

SMALL = (24, 30)
"""The same where there are hundreds."""

WAYS = {
    "xiph-2k": archives.xiph,
    "xiph-4k": archives.xiph,
    "reds120-val": archives.reds120,
    "vimeo-triplet": archives.vimeo_triplet,
    "middlebury": archives.middlebury,
    "snu-film-easy": archives.snu_film,
    "snu-film-medium": archives.snu_film,
    "snu-film-hard": archives.snu_film,
    "snu-film-extreme": archives.snu_film,
    "ucf101": archives.ucf101,
    "clips": lambda root: archives.folder(root, 8),
    "reds4": archives.reds,
    "redsval4": archives.reds,
    "vimeo-septuplet-y": archives.vimeo_septuplet,
    "vid4-y": archives.vid4,
    "udm10-y": archives.udm10,
    "vid4-y-crop8": lambda root: archives.vid4(root, (1, 2, 4, 7, 9, 12)),
    "clips-x4": lambda root: archives.folder(root, 3),
}
"""What makes the archive of each protocol."""

WHOLE = ("xiph-2k", "xiph-4k", "reds120-val", "clips", "clips-x4", "reds4", "redsval4")
"""Those whose small archive has as many samples as the published one."""

BY_TASK = {
    task: [name for name, protocol in protocols.PROTOCOLS.items() if protocol.task == task]
    for task in ("interpolate", "upscale")
}


def picture(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Squares of colours that only this number has, uint8 [*size, 3]."""
    squares = np.random.RandomState(number).randint(0, 256, (7, 8, 3)).astype(np.uint8)
    return squares.repeat(8, 0).repeat(8, 1)[: size[0], : size[1]]


@pytest.fixture(autouse=True)
def larger_pictures(request, monkeypatch):
    """Pictures that metrics can tell apart; Xiph's are reduced to the same size, and cropped by nothing."""
    size = SMALL if "middle_frames" in request.node.name else SIZE
    encode = lambda number: cv2.imencode(".png", picture(number, size)[..., ::-1])[1].tobytes()  # noqa: E731
    monkeypatch.setattr(archives, "png", functools.cache(encode))
    monkeypatch.setattr(pictures, "XIPH_SOURCE", size[::-1])
    monkeypatch.setattr(pictures, "XIPH_SIZE", size[::-1])
    monkeypatch.setattr(pictures, "crop_4k", lambda frame: frame)


def mean_of(protocol, by_clip):
    """The mean over frames, or over clips; the scores of a clip are a list."""
    every = [value for values in by_clip.values() for value in values]
    return np.mean(every) if protocol.average == "frames" else np.mean([np.mean(values) for values in by_clip.values()])


def naive_psnr(image, truth, channel="rgb", border=0):
    """As the papers write it: image in [0, 1], truth uint8."""
    rounded, truth = np.rint(np.clip(image, 0, 1).astype(np.float64) * 255), truth.astype(np.float64)
    difference = (rounded - truth)[border : len(truth) - border, border : truth.shape[1] - border]
    if channel == "y":
        difference = difference @ np.array([65.481, 128.553, 24.966]) / 255
    return 10 * np.log10(255**2 / np.mean(difference**2))


def check(row, protocol, psnr, ssim):
    """A row against scores by clip."""
    complete = protocol.name in WHOLE
    assert row.benchmark == protocol.name + ("" if complete else ", incomplete")
    assert ("Incomplete" in row.protocol) != complete
    assert row.num_frame == sum(map(len, psnr.values()))
    assert list(row.clips) == list(row.clips_ssim) == list(psnr)
    np.testing.assert_allclose(row.psnr, mean_of(protocol, psnr), atol=1e-4)
    np.testing.assert_allclose(list(row.clips.values()), [np.mean(values) for values in psnr.values()], atol=1e-4)
    assert list(row.ssim) == list(protocol.windows)
    for window in protocol.windows:
        np.testing.assert_allclose(row.ssim[window], mean_of(protocol, ssim[window]), atol=1e-5, err_msg=window)


def test_every_protocol_is_tested():
    assert set(WAYS) == set(protocols.PROTOCOLS)
    assert {protocol.dataset for protocol in protocols.PROTOCOLS.values()} == set(datasets.DATASETS)


@pytest.mark.parametrize("name", BY_TASK["interpolate"])
def test_middle_frames_of_an_archive(name, tmp_path):
    protocol = protocols.named(name)
    rows = WAYS[name](tmp_path)[0][protocol.split]
    if name == "clips":  # clips of 8: frames 1, 3 and 5 lie between even ones
        rows = [(clip, *numbers[k : k + 3]) for clip, *numbers in rows for k in (0, 2, 4)]
    psnr, ssim = {}, {window: {} for window in protocol.windows}
    for clip, *numbers in rows:
        first, truth, last = (picture(number, SMALL) for number in numbers)
        made = (first / np.float32(255) + last / np.float32(255)) / 2
        psnr.setdefault(clip, []).append(naive_psnr(made, truth))
        for window, value in metrics.scores(made, truth, windows=protocol.windows).ssim.items():
            ssim[window].setdefault(clip, []).append(value)
    given = samples.open_samples(protocol, tmp_path, is_partial=name not in WHOLE)
    (row,) = evaluate(given, [interpolating.Averaging()])
    check(row, protocol, psnr, ssim)
    assert row.size == SMALL[::-1]
    assert row.share is None  # of nothing
    assert (row.method, row.flops, row.multiply_adds) == ("frame averaging", 2 * 3 * np.prod(SMALL), 0)


@pytest.mark.parametrize("name", [*BY_TASK["upscale"], "vid4-y-bd", "udm10-y-bi"])
def test_large_frames_of_an_archive(name, tmp_path):
    protocol = protocols.named(name)
    make = WAYS.get(name) or WAYS[name.rpartition("-")[0]]
    psnr, ssim = {}, {window: {} for window in protocol.windows}
    scored = {"vimeo-septuplet-y": slice(3, 4), "vid4-y-crop8": slice(2, -2)}.get(name, slice(None))
    border = 8 if name == "vid4-y-crop8" else 0
    channel = "rgb" if name.startswith("reds") else "y"
    degradation = "bd" if name in ("udm10-y", "vid4-y-bd") else "bi"
    for clip, *numbers in make(tmp_path)[0][protocol.split]:
        for number in numbers[scored]:
            truth = picture(number)[:48, :56]
            small = np.asarray(sequences.degrade(truth, degradation)) / np.float32(255)
            made = np.asarray(resample.imresize(small, 4))
            psnr.setdefault(clip, []).append(naive_psnr(made, truth, channel, border))
            value = metrics.scores(made, truth, channel, border).ssim["gaussian"]
            ssim["gaussian"].setdefault(clip, []).append(value)
    given = samples.open_samples(protocol, tmp_path, is_partial=name not in WHOLE)
    (row,) = evaluate(given, points.build("upscale", [], ["bicubic"], protocol.length))
    check(row, protocol, psnr, ssim)
    assert row.size == (14, 12)


@pytest.mark.parametrize("name", ["vimeo-triplet", "middlebury", "vid4-y", "vimeo-septuplet-y"])
def test_records_give_the_rows_of_their_archive(name, tmp_path):
    protocol = protocols.named(name)
    WAYS[name](tmp_path / "archive")
    datasets.build(datasets.named(protocol.dataset), tmp_path / "archive", tmp_path / "records")
    rows = ["averaging" if protocol.task == "interpolate" else "bicubic"]
    archive, records = (
        evaluate(
            samples.open_samples(protocol, tmp_path / data, is_partial=True), points.build(protocol.task, [], rows)
        )
        for data in ("archive", "records")
    )
    assert archive == records


class Numbered:
    """Enlarges to grey: the level is the frame's place in its window."""

    label, dense, overlap = methods.Label("numbered"), None, 0

    def tune(self, windows):
        raise AssertionError("there is no budget")

    def window_length(self, height, width):
        return 14

    def window(self, frames, starts, keep):
        assert starts.tolist() == [True] + [False] * (len(frames) - 1)
        height, width = frames.shape[1:3]
        grey = [np.full((4 * height, 4 * width, 3), (2 * k) ** 2 / 255, np.float32) for k in range(*keep)]
        return [methods.Made(frame, Cost((Stage("one", 10.0, 5.0),)), {"made": 1}) for frame in grey]


def test_septuplets_are_mirrored_and_averaged(tmp_path):
    archives.vimeo_septuplet(tmp_path)
    given = samples.open_samples(protocols.named("vimeo-septuplet-y"), tmp_path, is_partial=True)
    method = Numbered()
    method.tune = lambda windows: None
    (row,) = evaluate(given, [method])
    level = ((2 * 3) ** 2 + (2 * 10) ** 2) / 2  # frame 4 comes fourth, and eleventh in reverse
    truth = picture(13)[:48, :56]
    np.testing.assert_allclose(row.psnr, naive_psnr(np.full(truth.shape, level / 255), truth, "y"), atol=1e-4)
    assert (row.num_frame, row.counts, row.flops) == (1, {"made": 14}, 10.0)
    method.window_length = lambda height, width: 13
    with pytest.raises(ValueError, match="more frames than the window of 13"):
        evaluate(given, [method])


def test_names_are_known_or_the_nearest_is_told():
    with pytest.raises(UserError, match="did you mean vid4-y or vid4-y-crop8"):
        protocols.named("vid4")
    with pytest.raises(UserError, match=r"there are xiph-2k, .*, clips-x4\."):
        protocols.named("qqqq")
    assert protocols.named("vid4-y-bd").degradation == "bd"
    assert protocols.named("udm10-y-bd") is protocols.PROTOCOLS["udm10-y"]
    with pytest.raises(UserError, match="middlebury"):
        protocols.named("middlebury-bd")  # it has no degradation


@pytest.mark.parametrize("name", [*protocols.PROTOCOLS, "vid4-y-bd"])
def test_a_sentence_says_everything(name):
    protocol = protocols.named(name)
    sentence = protocol.sentence()
    assert sentence.startswith(f"{name}: ")
    assert sentence.count(".") == sentence.rstrip(".").count(".") + 1
    words = ["rounded to 8 bits", " Y PSNR" if protocol.channel == "y" else " RGB PSNR"]
    words += [protocols.WINDOWS[window] for window in protocol.windows]
    words.append("mean over all frames" if protocol.average == "frames" else "then over clips")
    words.append("8 px left out" if protocol.border else "whole frames")
    words += ["(BD)"] if protocol.degradation == "bd" else ["(BI)"] if protocol.degradation else []
    words += ["first 41 frames"] if name == "clips" else []
    words += ["followed by its reverse"] if name == "vimeo-septuplet-y" else []
    words.append("papers count " + ("FLOPs" if protocol.task == "interpolate" else "multiply-adds"))
    assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("middlebury", r"middlebury: .* holds 2 of 12 triplets; get other-color-twoframes\.zip .*--partial"),
        (
            "vid4-y",
            r"vid4-y: .* holds 2 of 4 clips, no city and no foliage, 3 of 41 frames of calendar, "
            r"3 of 47 frames of walk; get Vid4 of https",
        ),
        ("snu-film-easy", r"holds 2 of 310 triplets; get the frames and the lists"),
    ],
)
def test_what_is_missing_of_a_benchmark_is_told(name, expected, tmp_path):
    WAYS[name](tmp_path)
    with pytest.raises(UserError, match=expected):
        samples.open_samples(protocols.named(name), tmp_path)


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(
        UserError, match=r"xiph_2k: .*-001\.png.* is not in .*media\.xiph\.org.* records of .*train.prepare"
    ):
        samples.open_samples(protocols.named("xiph-2k"), tmp_path)
    with pytest.raises(UserError, match="a video, or a folder of images, is not in"):
        samples.open_samples(protocols.named("clips"), tmp_path)


def test_an_archive_may_lie_under_its_name(tmp_path):
    archives.middlebury(tmp_path / "middlebury")
    archives.vid4(tmp_path / "vid4")
    for name, clips in (("middlebury", ["Beanbags", "Walking"]), ("vid4-y", ["calendar", "walk"])):
        given = samples.open_samples(protocols.named(name), tmp_path, is_partial=True)
        assert [clip.name for clip in given] == clips
        assert len(given) == 2


def test_pictures_of_16_bits_are_refused(tmp_path):
    archives.middlebury(tmp_path)
    deep = tmp_path / "other-gt-interp" / "Walking" / "frame10i11.png"
    cv2.imwrite(str(deep), picture(0).astype(np.uint16) * 257)
    given = samples.open_samples(protocols.named("middlebury"), tmp_path, is_partial=True)
    with pytest.raises(UserError, match=r"frame10i11\.png: is of 16 bit, expected 8"):
        evaluate(given, [interpolating.Averaging()])
