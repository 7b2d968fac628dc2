"""Published figures: digit by digit against the papers, and a file that is wrong is refused."""

import json
import re

import pytest

from eval import published
from eval.records import MEASURED, Row

ROWS = {
    "CAIN-SD, Table 1": 6 * 2,
    "CAIN-SD, Table 2": 4,
    "CAIN-SD, Table 3": 5,  # six lines, one of them twice
    "CAIN-SD, Table 4": 4,
    "SkipVSR, Table 1": 6 + 1 + 1 + 5 + 4 + 5 + 6 + 5 + 2 + 3 + 3 + 2 + 2 + 6 + 6,
    "SkipVSR, Table 2": 7 * 6,
    "SkipVSR, Table 3": 4,
    "SkipVSR, Table 4": 5,
    "SkipVSR, Table 5": 4,
    "SkipVSR, Table 6": 3,
}

# Citation, benchmark, method, point; field, key, value as the paper prints it, in its unit.
DIGITS = [
    ("CAIN-SD, Table 1", "xiph-2k", "SepConv", "", "flops", None, 2.078e12),
    ("CAIN-SD, Table 1", "xiph-2k", "SuperSloMo", "", "psnr", None, 33.88),
    ("CAIN-SD, Table 1", "xiph-4k", "AdaCoF+", "", "milliseconds", "gpu", 522),
    ("CAIN-SD, Table 1", "xiph-4k", "DAIN", "", "ssim", "window not told", 0.8983),
    ("CAIN-SD, Table 1", "xiph-2k", "CAIN", "dense", "flops", None, 3.133e12),
    ("CAIN-SD, Table 1", "xiph-4k", "CAIN-SD", "finders", "milliseconds", "cpu", 9250),
    ("CAIN-SD, Table 2", "reds120-val", "CAIN", "dense", "flops", None, 1.305e12),
    ("CAIN-SD, Table 2", "reds120-val", "CAIN-S", "finders", "milliseconds", "cpu", 4760),
    ("CAIN-SD, Table 2", "reds120-val", "CAIN-D", "finders", "ssim", "window not told", 0.8214),
    ("CAIN-SD, Table 3", "xiph-2k", "CAIN-SD", "lambda_s 5e-9, lambda_d 5e-12", "flops", None, 3.804e12),
    ("CAIN-SD, Table 3", "xiph-2k", "CAIN-SD", "lambda_s 5e-8, lambda_d 5e-11", "psnr", None, 31.10),
    ("CAIN-SD, Table 4", "xiph-2k", "CAIN-SD", "patch 512", "milliseconds", "gpu", 304.0),
    ("CAIN-SD, Table 4", "xiph-2k", "CAIN-SD", "patch 128", "ssim", "window not told", 0.9184),
    ("SkipVSR, Table 1", "vid4-y", "VESPCN", "", "ssim", "gaussian", 0.7557),
    ("SkipVSR, Table 1", "udm10-y", "TOFlow", "", "psnr", None, 36.26),
    ("SkipVSR, Table 1", "vimeo-septuplet-y-bd", "DUF", "", "multiply_adds", None, 1645.8e9),
    ("SkipVSR, Table 1", "reds4", "RBPN", "", "parameters", None, 12_200_000),
    ("SkipVSR, Table 1", "vid4-y-bd", "PFNL", "", "psnr", None, 27.16),
    ("SkipVSR, Table 1", "vid4-y-bd", "TGA", "", "ssim", "gaussian", 0.8423),
    ("SkipVSR, Table 1", "vimeo-septuplet-y-bd", "RSDN", "", "psnr", None, 37.23),
    ("SkipVSR, Table 1", "vid4-y-bd", "RRN", "", "milliseconds", "gpu", 45),
    ("SkipVSR, Table 1", "vimeo-septuplet-y", "FastDVDnet", "", "psnr", None, 36.12),
    ("SkipVSR, Table 1", "vid4-y-bd", "SkipVSR", "alpha 0", "ssim", "gaussian", 0.8434),
    ("SkipVSR, Table 2", "vid4-y-bd", "SkipVSR", "alpha 0", "ssim", "gaussian", 0.8414),
    ("SkipVSR, Table 2", "reds4", "BasicVSR", "dense", "multiply_adds", None, 338.5e9),
    ("SkipVSR, Table 2", "vid4-y", "SkipVSR", "alpha 0.93", "psnr", None, 26.09),
    ("SkipVSR, Table 2", "udm10-y", "SkipVSR", "alpha 0.95", "ssim", "gaussian", 0.9400),
    ("SkipVSR, Table 3", "reds4", "SkipVSR", "VSR_2: gates", "psnr", None, 29.89),
    ("SkipVSR, Table 4", "reds4", "SkipVSR", "shallow skip", "psnr", None, 12.01),
    ("SkipVSR, Table 4", "reds4", "SkipVSR", "alpha 0.94", "multiply_adds", None, 293e9),
    ("SkipVSR, Table 5", "reds4", "SkipVSR", "confidence: PSNR, interval", "milliseconds", "gpu", 103),
    ("SkipVSR, Table 6", "reds4", "SkipVSR", "alignment every 10 blocks", "ssim", "gaussian", 0.6525),
]


def test_every_table_has_its_rows():
    assert {citation: len(rows) for citation, rows in published.load().tables.items()} == ROWS
    assert len(published.rows()) == sum(ROWS.values())


@pytest.mark.parametrize(("citation", "benchmark", "method", "point", "field", "key", "value"), DIGITS)
def test_digits(citation, benchmark, method, point, field, key, value):
    (row,) = [
        row for row in published.rows(citation, benchmarks=[benchmark]) if (row.method, row.point) == (method, point)
    ]
    found = getattr(row, field)
    assert (found if key is None else found[key]) == value


def test_rows_agree_with_the_prose():
    """Section 4.3, CAIN-SD: FLOPs saved in percent; Table 2, SkipVSR: the percentages beside its FLOPs."""
    share = {(row.benchmark, row.method, row.point): row.share for row in published.rows()}
    told = {("xiph-2k", "CAIN-SD"): 49, ("xiph-4k", "CAIN-SD"): 36.7, ("reds120-val", "CAIN-D"): 22.8}
    for (benchmark, method), saved in told.items():
        assert 100 * (1 - share[benchmark, method, "finders"]) == pytest.approx(saved, abs=0.06)
    rows = published.rows("SkipVSR, Table 2", benchmarks=["reds4"])
    percent = [100, 100, 96, 88, 78, 63, 43]  # 63 should be 64, as the row's note says
    assert [100 * row.share for row in rows] == pytest.approx(percent, abs=1)
    assert any("64 %" in note for note in rows[5].notes)
    (cpu,) = [row for row in published.rows("CAIN-SD, Table 1", benchmarks=["xiph-2k"]) if row.method == "CAIN-SD"]
    assert 1 - cpu.milliseconds["cpu"] / cpu.dense_milliseconds["cpu"] == pytest.approx(0.17, abs=0.005)


def test_only_networks_with_a_dense_one_are_compared_with_it():
    for row in published.rows():
        assert row.source != MEASURED
        assert bool(row.share) == bool(
            row.method.startswith(("CAIN", "BasicVSR", "SkipVSR")) and (row.flops or row.multiply_adds)
        )
    (basic,) = published.rows("SkipVSR, Table 2", benchmarks=["udm10-y"])[:1]
    assert (basic.share, basic.dense_milliseconds) == (1.0, {"gpu": 57.0})


def test_the_same_point_is_found_once():
    mine = [Row("reds4", "SkipVSR", "alpha 0"), Row("vid4-y, incomplete", "bicubic"), Row("vid4-y", "DUF")]
    found = [(row.source, row.method, row.psnr) for row in published.like(mine)]
    assert found == [("SkipVSR, Table 1", "bicubic", 23.78), ("SkipVSR, Table 1", "SkipVSR", 30.60)]  # DUF: a dash
    assert published.like([]) == []


def test_notes_stand_where_they_belong():
    rows = {(row.benchmark, row.method): row for row in published.rows("CAIN-SD, Table 1")}
    assert any("0.9243" in note for note in rows["xiph-2k", "CAIN-SD"].notes)
    assert not any("0.9243" in note for note in rows["xiph-4k", "CAIN-SD"].notes)
    luma = [row.benchmark for row in published.rows("SkipVSR, Table 1") if any("luma" in note for note in row.notes)]
    assert "reds4" not in luma
    assert len(luma) == len([row for row in published.rows("SkipVSR, Table 1") if row.benchmark != "reds4"])


def test_figures_of_the_papers_text(shared):
    """Every number of the file stands in the papers' text, and every row of their tables was taken."""
    texts = {"CAIN-SD": "000_79715456b6d5f2e8.txt", "SkipVSR": "004_e7d96468ab1d0be9.txt"}
    content = json.loads(published.FILE.read_text(encoding="utf-8"), parse_float=str, parse_int=str)
    for paper, name in texts.items():
        path = shared / "seeds" / name
        if not path.is_file():
            pytest.skip(f"needs {name}, which is not here")
        lines = path.read_text(encoding="utf-8").splitlines()
        for table in (table for table in content["tables"] if table["citation"].startswith(paper)):
            for row in table["rows"]:
                numbers = [*row.get("once", ()), *(value for part in row["values"] for value in part or ())]
                wanted = [number for number in numbers if number is not None]
                found = [line for line in lines if is_line(line, wanted)]
                assert found, (table["citation"], row)
                if len(table["benchmarks"]) == 6:  # a dash for every benchmark that is null
                    dashes = [[cell == "-" for cell in line.split("\t")[-6:]] for line in found]
                    assert [part is None for part in row["values"]] in dashes, (table["citation"], row)


def is_line(line: str, wanted: list[str]) -> bool:
    """Whether a line of text has these numbers in this order, whatever stands between."""
    numbers = [float(number) for number in re.findall(r"\d+\.?\d*", line)]
    rest = iter(numbers)
    return all(float(number) in rest for number in wanted)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"xiph-2k": [2048', '"xiph-8k": [2048', "CAIN-SD, Table 1: protocol (='xiph-8k') is not known"),
        ("34.85, 0.9308", "34.85, 1.9308", "CAIN-SD, Table 1, SepConv has an SSIM of 1.9308"),
        ("34.85, 0.9308", "348.5, 0.9308", "PSNR of 348.5 dB"),
        ("34.85, 0.9308", '"34.85", 0.9308', "psnr '34.85', expected a positive number"),
        ('"tflops", "cpu_s"', '"tflops", "cpu_h"', "column 'cpu_h'"),
        ('"once": [1.4, 274.9, 1610]', '"once": [1.4, 274.9]', "TOFlow has 2 values"),
        ("[[25.30]]", "[[25.30], [1]]", "has 2 benchmarks, expected 1"),
        ('"method": "SuperSloMo"', '"method": "SepConv"', "CAIN-SD, Table 1 has a row twice"),
        ('"citation": "CAIN-SD, Table 2"', '"citation": "CAIN-SD, Table 1"', "Table 1 is there twice"),
        ('"citation": "CAIN-SD, Table 2"', '"citation": "DAIN, Table 2"', "is of no paper"),
        ('"notes": ["rbp"]', '"notes": ["rpb"]', "RBPN has a note 'rpb'"),
        ("[2.957, 17.86, 0.337, 33.88, 0.9247]", "[2.957, 17.86, 0.337, 33.88]", "SuperSloMo has 4 values"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, old, new, message):
    text = published.FILE.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "published.json"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(message)):
        published.load(path)


def test_an_unknown_table_is_refused():
    with pytest.raises(ValueError, match=r"citation .='CAIN-SD, Table 9'. is not one of CAIN-SD, Table 1; "):
        published.rows("CAIN-SD, Table 9")
