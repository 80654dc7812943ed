from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, StepPatch
from PIL import Image

from diagnostics.blobs import find_blobs
from diagnostics.contract.density import build_density
from diagnostics.contract.density_view import marginal, raster, view_of
from diagnostics.draw.histograms import draw_encoder_weights
from diagnostics.draw.pairs import decades, draw_pairs, ellipse_of, percent, title_of
from diagnostics.draw.paper import density_colours, encode_picture, pixels, write_picture
from tests.drawn_clouds import GRID, STRUCTURE, axes_of, texts


@pytest.fixture(scope="module")
def figure() -> Figure:
    return draw_pairs(GRID, STRUCTURE, epoch=17, name="a $run$ _name_")


def test_the_title_gives_epoch_blobs_and_separation(figure: Figure) -> None:
    assert "Epoch 17" in texts(figure)
    assert "3 blobs" in texts(figure)
    assert f"separation {STRUCTURE['separation']:.2f}" in texts(figure)
    assert "all 30,600 weight pairs" in texts(figure)
    assert title_of({"n_blobs": 1, "separation": None}, None) == "1 blob"
    assert "3 blobs since epoch 12" in title_of({"n_blobs": 3, "separation": 0.9}, 17, born=12)


def test_every_blob_has_its_centre_ellipse_and_share(figure: Figure) -> None:
    axes = axes_of(figure, "pairs")
    ellipses = [patch for patch in axes.patches if isinstance(patch, Ellipse)]
    marks = [line.get_xydata().tolist()[0] for line in axes.lines]  # type: ignore[union-attr]
    assert len(ellipses) == len(marks) == 3
    for blob, ellipse, mark in zip(STRUCTURE["blobs"], ellipses, marks, strict=True):
        assert tuple(ellipse.center) == tuple(mark) == tuple(blob["center"])
    assert [text.get_text() for text in axes.texts] == ["98 %", "0.98 %", "0.98 %"]


@pytest.mark.parametrize("r", [0.0, 0.6, -0.95])
def test_ellipses_are_one_sigma(r: float) -> None:
    std = np.array([0.3, 0.02])
    width, height, angle = ellipse_of({"std": std.tolist(), "correlation": r, "center": [0, 0]})
    turn = np.deg2rad(angle)
    t = np.linspace(0, 2 * np.pi, 50)
    x = width / 2 * np.cos(t) * np.cos(turn) - height / 2 * np.sin(t) * np.sin(turn)
    y = width / 2 * np.cos(t) * np.sin(turn) + height / 2 * np.sin(t) * np.cos(turn)
    covariance = np.array([[std[0] ** 2, r * std.prod()], [r * std.prod(), std[1] ** 2]])
    points = np.stack([x, y])
    distance = (points * np.linalg.solve(covariance, points)).sum(axis=0)
    np.testing.assert_allclose(distance, 1.0, rtol=1e-9)


def test_each_axis_has_its_own_scale_and_holds_every_pair(figure: Figure) -> None:
    axes = axes_of(figure, "pairs")
    assert axes.get_aspect() == "auto"
    for limits, name in ((axes.get_xlim(), "encoder"), (axes.get_ylim(), "decoder")):
        low, high = getattr(GRID, f"{name}_min"), getattr(GRID, f"{name}_max")
        assert limits[0] < low < high < limits[1]
        assert limits[1] - limits[0] < 1.2 * (high - low)
    assert "outside" not in texts(figure)


def test_the_raster_keeps_the_density() -> None:
    view = view_of([GRID])
    even = raster(GRID, view, 600)
    cell = np.ptp(view.encoder) * np.ptp(view.decoder) / even.size
    assert even.sum() * cell == pytest.approx(1.0, rel=0.02)
    x = np.linspace(*view.encoder, 601)
    center = float((even.sum(axis=0) @ (0.5 * (x[1:] + x[:-1]))) / even.sum())
    assert center == pytest.approx(GRID.encoder_mean, abs=0.005)


def test_every_pair_leaves_colour_on_the_paper(figure: Figure) -> None:
    view = view_of([GRID])
    even = raster(GRID, view)
    rows, columns = np.nonzero(GRID.counts)
    x, y = GRID.encoder_axis.centers()[rows], GRID.decoder_axis.centers()[columns]
    i = ((y - view.decoder[0]) / np.ptp(view.decoder) * len(even)).astype(int)
    j = ((x - view.encoder[0]) / np.ptp(view.encoder) * len(even)).astype(int)
    assert (even[i, j] > 0).mean() > 0.999
    image = axes_of(figure, "pairs").images[0]
    shown = image.get_array()
    assert shown is not None
    assert shown.shape == even.shape
    rgba = image.to_rgba(shown)
    drawn = rgba[i, j, :3].min(axis=1) * rgba[i, j, 3] + (1 - rgba[i, j, 3])
    assert (drawn < 0.99).mean() > 0.999


def test_a_single_pair_apart_from_the_others_is_drawn() -> None:
    rng = np.random.default_rng(1)
    pairs = rng.normal(size=(10_000, 2))
    pairs[0] = (6.0, -6.0)
    grid = build_density(pairs[:, 0].reshape(100, 100), pairs[:, 1].reshape(100, 100).T)
    figure = draw_pairs(grid, find_blobs(grid))
    axes = axes_of(figure, "pairs")
    image = pixels(figure)
    x, y = axes.transData.transform((6.0, -6.0)).round().astype(int)
    near = image[len(image) - y - 6 : len(image) - y + 6, x - 6 : x + 6]
    assert near.min() < 245


def test_lightness_falls_steadily_from_paper_to_peak() -> None:
    rgb = density_colours()(np.linspace(0, 1, 256))[:, :3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ (0.2126, 0.7152, 0.0722)
    lightness = 116 * np.cbrt(np.maximum(luminance, 0.00886)) - 16
    assert np.diff(lightness).max() < 0.05
    assert lightness[0] > 95
    assert lightness[-1] < 10


def test_the_scale_is_logarithmic_and_ends_at_the_peak(figure: Figure) -> None:
    norm = axes_of(figure, "pairs").images[0].norm
    widths = np.outer(GRID.encoder_axis.widths(), GRID.decoder_axis.widths())
    assert norm.vmax == pytest.approx((GRID.counts / widths).max() / GRID.n_pairs)
    assert float(norm(np.sqrt(norm.vmin * norm.vmax))) == pytest.approx(0.5)
    ticks = axes_of(figure, "scale").get_xticklabels()
    assert ticks[0].get_text() == "1"


def test_marginals_are_densities_on_a_logarithmic_scale(figure: Figure) -> None:
    for label, axis, along in (
        ("encoder marginal", GRID.encoder_axis, 1),
        ("decoder marginal", GRID.decoder_axis, 0),
    ):
        axes = axes_of(figure, label)
        assert "log" in (axes.get_xscale(), axes.get_yscale())
        patch = next(p for p in axes.patches if isinstance(p, StepPatch))
        values, edges, _ = patch.get_data()
        counts = GRID.counts.sum(axis=along)
        expected = counts / (np.diff(edges) * GRID.n_pairs)
        np.testing.assert_allclose(values[counts > 0], expected[counts > 0])
        np.testing.assert_array_equal(edges, axis.edges())
        assert (values * np.diff(edges))[counts > 0].sum() == pytest.approx(1.0)


def test_the_bars_of_a_blob_of_one_per_cent_are_seen(figure: Figure) -> None:
    """On the logarithmic marginal it rises to a third of the axis; linearly, to a hundredth."""
    low, high = axes_of(figure, "encoder marginal").get_ylim()
    _, density = marginal(GRID.encoder_axis, GRID.counts.sum(axis=1))
    outer = density[GRID.encoder_axis.centers() > 1.0].max()
    assert np.log(outer / low) / np.log(high / low) > 1 / 3
    assert outer / high < 0.02


def test_stray_weights_do_not_squeeze_the_rest_and_are_counted() -> None:
    rng = np.random.default_rng(2)
    encoder, decoder = rng.normal(size=(2, 500, 1000))
    encoder[0, 0] = 1e4
    grid = build_density(encoder, decoder.T)
    figure = draw_pairs(grid, find_blobs(grid))
    assert np.ptp(axes_of(figure, "pairs").get_xlim()) < 20
    assert "1 outside the frame" in texts(figure)


@pytest.mark.parametrize(
    "weights",
    [
        np.zeros((8, 16)),
        np.full((8, 16), np.nan),
        np.full((8, 16), 3e-30),
        np.random.default_rng(0).choice([-1.0, 1.0], (8, 16)),
        np.random.default_rng(0).standard_t(1, (64, 100)) * 1e20,
        np.random.default_rng(0).normal(size=(1, 2)),
    ],
)
def test_degenerate_weights_are_drawn_without_a_warning(weights: np.ndarray) -> None:
    grid = build_density(weights, weights.T)
    structure = find_blobs(grid)
    assert len(encode_picture(draw_pairs(grid, structure, epoch=1))) > 5000
    assert len(encode_picture(draw_encoder_weights(grid, structure))) > 3000


def test_pictures_do_not_depend_on_the_users_settings(tmp_path: Path) -> None:
    from matplotlib import rc_context

    write_picture(draw_pairs(GRID, STRUCTURE), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (990, 990)
    with rc_context({"font.size": 30, "axes.grid": False, "savefig.dpi": 20, "lines.linewidth": 9}):
        again = encode_picture(draw_pairs(GRID, STRUCTURE))
    assert again == (tmp_path / "a.png").read_bytes()


def test_decades_and_shares_are_written_shortly() -> None:
    assert decades(1e-6, 1.0) == [1.0, 1e-3, 1e-6]
    assert decades(0.5, 3.0) == [1.0]
    assert [percent(s) for s in (0.97705, 0.0114918, 0.00054321)] == ["97.7 %", "1.15 %", "0.054 %"]


def test_weights_that_are_not_finite_are_said_to_be_so_and_not_drawn() -> None:
    nothing = np.full((4, 8), np.nan, dtype=np.float32)
    grid = build_density(nothing, nothing.T.copy())
    structure = find_blobs(grid)
    for figure in (
        draw_pairs(grid, structure, epoch=3, born=1),
        draw_encoder_weights(grid, structure),
    ):
        shown = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
        words = "\n".join(text.get_text() for text in shown)
        assert "no finite weight pair\n32 are not finite" in words
        assert "since epoch" not in words


@pytest.mark.parametrize(("size", "ending"), [(3e4, "  / 10⁵"), (1.0, ""), (1e-6, "  / 10⁻⁶")])
def test_long_numbers_of_weights_lose_their_power_of_ten_to_the_label(
    size: float, ending: str
) -> None:
    weights = np.random.default_rng(0).normal(size=(64, 100)) * size
    grid = build_density(weights, weights.T)
    figure = draw_pairs(grid, find_blobs(grid))
    pixels(figure)  # ticks are made when it is drawn
    axes = axes_of(figure, "pairs")
    for axis, name in ((axes.xaxis, "W₁[i, j]"), (axes.yaxis, "W₂[j, i]")):
        assert axis.get_label_text().endswith(f"{name}{ending}")
        assert all(len(label.get_text()) <= 4 for label in axis.get_ticklabels())
