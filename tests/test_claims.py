"""Comparisons of variants: every declared one can be built, and a tiny one is trained, scored and gone on with."""

import argparse
import dataclasses

import jax
import numpy as np
import pytest

from configs import skipvsr as configuration
from eval import claims, points
from eval.methods import Weights, load_weights
from jaxdyn import models, pretrained
from tests import clips
from train import loop


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two clips, small enough to train on and to score."""
    folder = tmp_path_factory.mktemp("clips")
    for seed in range(2):
        clips.write_clip(folder / f"pan{seed}.mp4", clips.pan(6, 64, 96, seed))
    return folder


def write(path, **fields):
    """A weights file of the tiny network with random parameters."""
    model, random = models.build("skipvsr", **{**configuration.TINY, **fields}), np.random.RandomState(0)
    draw = lambda leaf: (0.05 * random.standard_normal(leaf.shape)).astype(np.float32)  # noqa: E731
    pretrained.save(path, model, {"params": jax.tree.map(draw, pretrained.parameter_shapes(model))}, {})
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


TASKS = {"cain_sd": "interpolate", "skipvsr": "upscale"}

TINY = claims.Claim(
    "what is compared",
    "what is said",
    *("skipvsr", "tiny"),
    (
        claims.Variant("as it is"),
        claims.Variant("the other rule", fields={"rule": "below"}, rows=("alpha0.5",)),
    ),
    ("bicubic", "alpha0"),
    stages=("gates",),
)


@pytest.mark.parametrize("name", claims.CLAIMS)
def test_variants_are_configurations_and_networks_that_there_are(name):
    claim = claims.CLAIMS[name]
    assert set(claim.shared) <= set(claims.config_of(claim, claim.base).stages)
    words = [variant.words for variant in claim.variants]
    assert len(set(words)) == len(words)
    for variant in claim.variants:
        config = claims.config_of(claim, variant.name or claim.base)
        assert set(claim.stages) <= set(config.stages)
        assert claim.stages or not variant.name, "another variant is trained otherwise"
        model = models.build(config.name, **config.model).clone(**variant.fields)
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), pretrained.parameter_shapes(model))
        assert set(claim.fresh) <= set(zeros)
        own = Weights(variant.words, model, {"params": zeros})
        rows = variant.rows or claim.rows
        assert len(points.build(TASKS[claim.config], [own], rows)) == len(rows)


def test_a_claim_trains_its_variants_and_goes_on(folder, weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(claims.CLAIMS, "policies", TINY)
    command = ["policies", "--data", str(folder), "--weights", str(weights)]
    command += ["--train", str(folder), "--workdir", str(tmp_path / "work")]
    first, second = tmp_path / "first.md", tmp_path / "second.md"
    assert claims.main([*command, "--out", str(first)]) == 0
    table = [line for line in first.read_text().splitlines() if line.startswith("|")]
    assert "what is compared. Claim: what is said." in first.read_text()
    assert [sum(words in line for line in table) for words in ("bicubic", "as it is", "the other rule")] == [1, 1, 1]
    assert (tmp_path / "work" / "gates-tiny" / "gates").is_dir()
    assert (tmp_path / "work" / "gates-tiny" / "cache").resolve() == tmp_path / "work" / "cache"

    monkeypatch.setattr(loop, "LAG", None)  # nothing is trained anew
    assert claims.main([*command, "--out", str(second)]) == 0
    assert second.read_text() == first.read_text()


def test_a_variant_starts_from_the_weights_but_for_what_is_to_be_fresh(weights, tmp_path, monkeypatch):
    given = load_weights(str(weights)).variables["params"]
    starts = {}

    def train(config, folder, data, stages, params):
        starts.update(params)
        return None, params

    monkeypatch.setattr(loop, "train", train)
    options = argparse.Namespace(workdir=tmp_path, train=None)
    claims.train(dataclasses.replace(TINY, fresh=("gate_forward",)), "tiny", ("gates",), given, options)
    assert starts.keys() == given.keys()
    is_given = {part: all(jax.tree.leaves(jax.tree.map(np.array_equal, starts[part], given[part]))) for part in given}
    assert [part for part, same in is_given.items() if not same] == ["gate_forward"]


def test_what_a_claim_needs_is_said_before_it_works(folder, weights, monkeypatch, capsys):
    monkeypatch.setitem(claims.CLAIMS, "policies", TINY)
    assert claims.main(["policies", "--data", str(folder), "--weights", str(weights)]) == 2
    assert "--train" in capsys.readouterr().err
    assert claims.main(["policies", "--data", str(folder / "none"), "--weights", str(weights)]) == 2
    assert "none" in capsys.readouterr().err


def test_other_weights_are_refused(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(claims.CLAIMS, "policies", TINY)
    other = write(tmp_path / "other.safetensors", num_feat=4)
    command = ["policies", "--data", str(folder), "--weights", str(other), "--train", str(folder)]
    assert claims.main([*command, "--workdir", str(tmp_path / "work")]) == 2
    assert "other.safetensors" in capsys.readouterr().err
