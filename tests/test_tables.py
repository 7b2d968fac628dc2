"""Records as tables: what stands where, in every form."""

import csv
import io
import itertools
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval import tables
from eval.records import Row

CITED = "CAIN-SD, Table 1"
CAIN = Row("xiph-2k", "CAIN", "dense", psnr=35.1234, ssim={"uniform": 0.93}, size=(2048, 1080), flops=3.135e12)
OTHER = Row("xiph-2k", "SepConv", psnr=34.85, flops=2.078e12, source=CITED, notes=("old",))
PRINTED = Row("xiph-2k", "CAIN", "dense", psnr=35.21, flops=3.133e12, source=CITED, notes=("old", "odd"))


def cells(text: str) -> list[dict[str, str]]:
    """The lines of the first Markdown table, by header."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    header, _, *body = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [dict(zip(header, line, strict=True)) for line in body]


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_published_rows_stand_beside_the_measured_ones():
    lines = cells(tables.render([OTHER, PRINTED, CAIN]))
    assert [line["Method"] for line in lines] == ["SepConv [1]", "CAIN", "CAIN [1, 2]"]
    assert [line["Source"] for line in lines] == [f"published: {CITED}", "measured", f"published: {CITED}"]
    assert [line["PSNR (dB)"] for line in lines] == ["34.85", "35.12", "35.21"]


def test_both_flop_conventions_stand_beside_each_other_in_one_unit():
    one = Row("b", "one", flops=3.1e12, multiply_adds=1.5e12)
    two = Row("b", "two", multiply_adds=338.5e9)
    three = Row("b", "three", flops=1.305e12)
    lines = cells(tables.render([one, two, three]))
    assert list(lines[0])[-2:] == ["FLOPs (T)", "Multiply-adds (T)"]
    assert [list(line.values())[-2:] for line in lines] == [
        ["3.100", "1.500"],
        ["≈ 0.6770", "0.3385"],
        ["1.305", "≈ 0.6525"],
    ]
    assert read_csv(tables.render([three], "csv")) == [
        {"benchmark": "b", "method": "three", "flops": "1305000000000.0", "multiply_adds": "", "source": "measured"}
    ]


@pytest.mark.parametrize(
    ("flops", "header", "cell"),
    [
        (338.5e9, "FLOPs (G)", "338.5"),
        (17032e9, "FLOPs (T)", "17.03"),
        (5.3e6, "FLOPs (M)", "5.300"),
        (7, "FLOPs (M)", "0.000007000"),
    ],
)
def test_counts_have_four_digits(flops, header, cell):
    assert cells(tables.render([Row("b", "m", flops=flops)]))[0][header] == cell


def test_milliseconds_stand_beside_those_of_the_dense_network():
    row = Row(
        "b", "m", milliseconds={"cpu": 250.0}, dense_milliseconds={"cpu": 500.0, "gpu": 57.0}, peak_memory=3 << 20
    )
    (line,) = cells(tables.render([row]))
    assert line == {
        "Method": "m",
        "CPU (ms)": "250",
        "CPU, dense (ms)": "500",
        "CPU speed-up (dense / this)": "2.00",
        "GPU, dense (ms)": "57",
        "Peak memory (MiB)": "3",
    }


def test_what_all_rows_share_is_said_once_and_empty_columns_are_left_out():
    text = tables.render([CAIN, PRINTED], title="Xiph")
    assert text.startswith("**Xiph**\n\nBenchmark: xiph-2k.\n\n| Method |")
    assert {"Weights", "Frames", "Parameters (M)"}.isdisjoint(cells(text)[0])
    assert cells(text)[0]["Input (px)"] == "2048x1080"  # one row does not tell its size: not said once
    assert text.endswith("\n- [1] old\n- [2] odd\n")
    assert tables.render([PRINTED]).endswith("\n- old\n- odd\n")  # of all rows: no numbers


def test_every_table_prints_the_protocols_of_its_rows():
    rows = [Row("a", "m", psnr=30.0, protocol="a: RGB."), Row("a", "n", psnr=31.0, protocol="a: RGB."), OTHER]
    text = tables.render(rows)
    assert text.endswith("\n- a: RGB.\n- [1] old\n")
    assert r"\par\footnotesize a: RGB." in tables.render(rows, "latex")
    assert [row["protocol"] for row in read_csv(tables.render(rows, "csv"))] == ["a: RGB.", "a: RGB.", ""]


def test_a_row_that_was_counted_and_not_measured_says_so():
    counted, measured = Row("b", "m", flops=1e9), Row("b", "n", psnr=30.0)
    assert cells(tables.render([counted, OTHER]))[0]["Source"] == "counted"
    assert "Source: counted." in tables.render([counted])
    assert f"Source: published: {CITED}." in tables.render([PRINTED, OTHER])
    assert "Source" not in tables.render([measured])


def test_an_incomplete_benchmark_stands_beside_the_whole():
    rows = [Row("a", "m", source=CITED), Row("b", "m"), Row("a, incomplete", "m", psnr=30.0)]
    assert [row.benchmark for row in tables.beside(rows)] == ["a, incomplete", "a", "b"]


def test_a_grid_of_text_is_for_people():
    grid = {"block": "l", "%": "r"}, [["block 1", "5.0"]]
    assert tables.render_grid(*grid, title="t") == "**t**\n\n| block | % |\n| --- | ---: |\n| block 1 | 5.0 |\n"
    assert r"block 1 & 5.0 \\" in tables.render_grid(*grid, "latex")
    with pytest.raises(ValueError, match=r"form .='csv'. must be"):
        tables.render_grid(*grid, "csv")


def test_benchmarks_side_by_side():
    def row(benchmark, psnr, flops, source="measured", **fields):
        return Row(
            benchmark, "SkipVSR", "alpha 0", psnr=psnr, ssim={"gaussian": 0.8}, flops=flops, source=source, **fields
        )

    rows = [
        row("reds4", 30.6, 1e9, CITED),
        row("vid4-y", 26.54, 1e9, CITED),
        row("vid4-y", 26.5, 1e9),
        Row("vid4-y", "DUF"),
    ]
    lines = cells(tables.render_across(rows))
    assert [list(line.values()) for line in lines] == [
        ["SkipVSR", "alpha 0", "measured", "1.000", "≈ 0.5000", "", "26.50 / 0.8000"],
        ["SkipVSR", "alpha 0", f"published: {CITED}", "1.000", "≈ 0.5000", "30.60 / 0.8000", "26.54 / 0.8000"],
        ["DUF", "", "counted", "", "", "", ""],
    ]
    rows[0] = row("reds4", 30.6, 2e9, CITED)
    apart = cells(tables.render_across(rows))  # of other cost: a line of its own
    assert [line["FLOPs (G)"] for line in apart] == ["1.000", "2.000", "1.000", ""]


def test_clips_have_columns_of_their_own():
    row = Row("vid4-y", "bicubic", psnr=21.9, clips={"calendar": 20.31, "foliage": 23.49}, flops=1e9)
    assert cells(tables.render_clips([row])) == [
        {"Method": "bicubic", "PSNR (dB)": "21.90", "calendar (dB)": "20.31", "foliage (dB)": "23.49"}
    ]


def test_latex_is_escaped_and_has_booktabs():
    text = tables.render([Row("a_b", "50% & more", "x^2", flops=1e9, notes=("#1 <2>",))], "latex", "T_1")
    assert r"50\% \& more & x\textasciicircum{}2 & 1.000 & $\approx$ 0.5000 \\" in text
    assert r"\caption{T\_1. Benchmark: a\_b; Source: counted}" in text
    assert r"\begin{tabular}{llrr}" in text
    assert r"\par\footnotesize \#1 \textless{}2\textgreater{}" in text
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\end{table}")] == [1, 1, 1, 1]


def test_markdown_cells_are_escaped():
    assert "| a\\|b\\\\c d |" in tables.render([Row("b", "a|b\\c\nd")])


def test_json_is_the_records():
    row = Row("b", "m", psnr=math.inf, ssim={"gaussian": 1.0}, size=(8, 4), clips={"c": -math.inf})
    (read,) = json.loads(tables.render([row], "json"), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (
        Row(
            **{
                **read,
                "psnr": float(read["psnr"]),
                "clips": {"c": float(read["clips"]["c"])},
                "size": (8, 4),
                "notes": (),
            }
        )
        == row
    )


def test_csv_has_units_in_its_header_and_mappings_as_columns():
    rows = [
        Row("b", "m", psnr=30.123456, size=(8, 4), share=0.5, milliseconds={"cpu": 1.5}, peak_memory=7, num_frame=3),
        Row("b", "n, 2", ssim={"gaussian": 0.9}, clips={"a": 1.0}, counts={"exit 3": 4}, notes=("one", "two")),
    ]
    first, second = read_csv(tables.render(rows, "csv"))
    assert first == {
        "benchmark": "b",
        "method": "m",
        "psnr_db": "30.123456",
        "ssim_gaussian": "",
        "size_px": "8x4",
        "share_of_dense": "0.5",
        "milliseconds_cpu": "1.5",
        "peak_memory_bytes": "7",
        "source": "measured",
        "frames": "3",
        "clip_psnr_db_a": "",
        "counts_exit 3": "",
        "notes": "",
    }
    assert (second["method"], second["counts_exit 3"], second["notes"]) == ("n, 2", "4", "one; two")


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("mn"), st.sampled_from("pq"), st.booleans()), max_size=8)
)
def test_order_keeps_every_row_and_puts_pairs_together(keys):
    rows = [
        Row(b, m, p, source=CITED if is_published else "measured", num_frame=number)
        for number, (b, m, p, is_published) in enumerate(keys)
    ]
    ordered = tables.beside(rows)
    assert sorted(row.num_frame for row in ordered) == list(range(len(rows)))
    assert sum(line.startswith("|") for line in tables.render(rows).splitlines()) == (len(rows) + 2 if rows else 0)
    groups = [(row.benchmark, row.method, row.point) for row in ordered]
    starts = [group for number, group in enumerate(groups) if not number or groups[number - 1] != group]
    assert len(starts) == len(set(groups))  # each group is one run
    for row, after in itertools.pairwise(ordered):
        if (row.benchmark, row.method, row.point) == (after.benchmark, after.method, after.point):
            assert (row.source == CITED, row.num_frame) < (after.source == CITED, after.num_frame)


@pytest.mark.parametrize("form", ["markdown", "csv", "json", "latex"])
def test_no_rows_are_no_error(form):
    assert tables.render([], form).endswith("\n")


def test_another_form_is_refused():
    with pytest.raises(ValueError, match=r"form .='html'. must be 'markdown'"):
        tables.render([], "html")
