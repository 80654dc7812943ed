"""The all-pairs density grid: what it promises about counts, moments, travel and memory."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from diagnostics.contract.axis import MANTISSA_BITS
from diagnostics.contract.density import DensityGrid, build_density

torch = pytest.importorskip("torch")
Floats = npt.NDArray[Any]


def make_weights(
    n_hidden: int = 40, n_inputs: int = 70, offset: float = 0.0, seed: int = 0
) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    encoder = rng.standard_normal((n_hidden, n_inputs)) + offset
    decoder = 0.1 * (0.3 * encoder + rng.standard_normal((n_hidden, n_inputs))).T - offset
    return encoder.astype(np.float32), np.ascontiguousarray(decoder.astype(np.float32))


def assert_exact_moments(grid: DensityGrid, encoder: Floats, decoder: Floats) -> None:
    x, y = encoder.astype(np.float64).ravel(), decoder.T.astype(np.float64).ravel()
    keep = np.isfinite(x) & np.isfinite(y)
    x, y = x[keep], y[keep]
    assert grid.n_pairs == len(x)
    expected = {
        "encoder_mean": x.mean(), "encoder_std": x.std(), "encoder_min": x.min(),
        "encoder_max": x.max(), "decoder_mean": y.mean(), "decoder_std": y.std(),
        "decoder_min": y.min(), "decoder_max": y.max(), "correlation": np.corrcoef(x, y)[0, 1],
    }  # fmt: skip
    for name, value in expected.items():
        assert getattr(grid, name) == pytest.approx(value, rel=1e-6), name


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, -7.0])
def test_every_pair_is_counted_in_the_bin_that_holds_it(kind: type, offset: float) -> None:
    encoder, decoder = (w.astype(kind) for w in make_weights(300, 200, offset))
    grid = build_density(encoder, decoder, n_bins=64)
    assert grid.counts.sum() == encoder.size
    for along, axis, weights in (
        (1, grid.encoder_axis, encoder),
        (0, grid.decoder_axis, decoder),
    ):
        below = np.cumsum(grid.counts.sum(axis=along))[:-1]
        edges, values = axis.edges()[1:-1], np.sort(weights.ravel())
        # Edges are met to within half a unit of the last of their bits, and float32 rounding.
        slack = np.abs(edges - axis.center) * 2.0**-MANTISSA_BITS + 1e-6 * axis.scale
        assert (below >= np.searchsorted(values, edges - slack)).all()
        assert (below <= np.searchsorted(values, edges + slack)).all()
        assert np.abs(below - np.searchsorted(values, edges)).max() < 0.001 * weights.size


@pytest.mark.parametrize("offset", [0.0, 5.0, 3000.0])
def test_moments_equal_float64_numpy_even_with_a_large_common_offset(offset: float) -> None:
    encoder, decoder = make_weights(300, 500, offset)
    assert_exact_moments(build_density(encoder, decoder), encoder, decoder)


@pytest.mark.parametrize("name", ["float64", "float32", "float16", "bfloat16"])
def test_tensors_of_any_floating_type_give_the_same_moments_as_arrays(name: str) -> None:
    encoder, decoder = (torch.tensor(w).to(getattr(torch, name)) for w in make_weights())
    grid = build_density(encoder.requires_grad_(), decoder.requires_grad_())
    arrays = [w.detach().double().numpy() for w in (encoder, decoder)]
    assert_exact_moments(grid, *arrays)
    # The torch path (bfloat16 here, CUDA elsewhere) must bin as the NumPy path does.
    same = arrays if name == "float64" else [w.astype(np.float32) for w in arrays]
    assert np.array_equal(grid.counts, build_density(*same).counts)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_tensors_give_the_host_grid() -> None:
    encoder, decoder = make_weights(512, 1024)
    grid = build_density(torch.tensor(encoder).cuda(), torch.tensor(decoder).cuda())
    assert_exact_moments(grid, encoder, decoder)
    assert np.abs(grid.counts.astype(int) - build_density(encoder, decoder).counts).sum() < 500


def test_the_caller_s_weights_are_not_changed() -> None:
    for kind in (np.float32, np.float64):
        encoder, decoder = (w.astype(kind) for w in make_weights())
        before = encoder.copy(), decoder.copy()
        build_density(encoder, decoder)
        build_density(torch.from_numpy(encoder), torch.from_numpy(decoder))
        assert np.array_equal(encoder, before[0]) and np.array_equal(decoder, before[1])


def test_non_finite_pairs_are_left_out_and_counted() -> None:
    encoder, decoder = make_weights()
    encoder[3, 5], encoder[7, 8], decoder[8, 7], decoder[1, 2] = np.nan, np.inf, np.nan, -np.inf
    grid = build_density(encoder, decoder)
    assert grid.n_nonfinite_pairs == 3
    assert_exact_moments(grid, encoder, decoder)


def test_without_a_finite_pair_the_statistics_are_none() -> None:
    grid = build_density(np.full((3, 4), np.nan), np.zeros((4, 3)))
    assert (grid.n_pairs, grid.n_nonfinite_pairs, grid.counts.sum()) == (0, 12, 0)
    assert grid.encoder_mean is None and grid.decoder_std is None and grid.correlation is None


def test_constant_weights_have_standard_deviation_zero_and_correlation_none() -> None:
    grid = build_density(np.full((8, 16), 0.3, np.float32), np.full((16, 8), -2.0, np.float32))
    assert grid.encoder_std == grid.decoder_std == 0.0
    assert grid.decoder_mean == -2.0 and grid.correlation is None
    assert grid.counts[0, 0] == 128


def test_one_pair_is_a_grid_of_one_count() -> None:
    grid = build_density(np.ones((1, 1)), np.ones((1, 1)))
    assert grid.n_pairs == 1 and grid.counts.sum() == 1


def test_shapes_that_do_not_fit_are_named_in_the_error() -> None:
    with pytest.raises(ValueError, match=r"\(3, 4\).*\(3, 4\).*expected \(hidden, d\)"):
        build_density(np.zeros((3, 4)), np.zeros((3, 4)))
    with pytest.raises(ValueError, match="n_bins: got 100; accepted: multiples of 32"):
        build_density(np.zeros((3, 4)), np.zeros((4, 3)), n_bins=100)


def test_heavy_tails_leave_the_centre_well_resolved() -> None:
    rng = np.random.default_rng(1)
    encoder, decoder = (rng.standard_t(3, size=s) for s in ((500, 1000), (1000, 500)))
    grid = build_density(encoder, decoder)
    middle = grid.encoder_axis.widths()[np.abs(grid.encoder_axis.centers()) < 1.0]
    assert middle.max() < 0.2


def test_parts_travel_through_msgpack_and_back() -> None:
    grid = build_density(*make_weights())
    meta, counts = grid.to_parts()
    received = msgspec.msgpack.decode(msgspec.msgpack.encode(meta))
    frame = np.frombuffer(counts.tobytes(), np.uint32).reshape(counts.shape)
    again = DensityGrid.from_parts(received, frame)
    assert again.to_parts()[0] == meta and np.array_equal(again.counts, grid.counts)


def test_a_compact_grid_takes_tens_of_kilobytes_and_comes_back_whole() -> None:
    grid = build_density(*make_weights(512, 1024))
    packed = grid.compact()
    again = DensityGrid.from_compact(packed)
    assert len(packed) < 60_000
    assert again.to_parts()[0] == grid.to_parts()[0]
    assert np.array_equal(again.counts, grid.counts)


def test_damaged_parts_and_bytes_raise_value_error() -> None:
    grid = build_density(*make_weights())
    meta, counts = grid.to_parts()
    with pytest.raises(ValueError, match="n_pairs"):
        DensityGrid.from_parts({**meta, "n_pairs": 5}, counts)
    with pytest.raises(ValueError, match="wrong_key"):
        DensityGrid.from_parts({**meta, "wrong_key": 1}, counts)
    with pytest.raises(ValueError, match="expected uint32"):
        DensityGrid.from_parts(meta, counts[:5])
    packed = grid.compact()
    for damaged in (b"", packed[:100], packed[:-500], b"\x93" + packed):
        with pytest.raises(ValueError):
            DensityGrid.from_compact(damaged)


def test_a_compact_grid_that_claims_absurdly_many_bins_is_refused_before_it_takes_memory() -> None:
    packed = msgspec.msgpack.decode(build_density(*make_weights()).compact())
    packed["meta"]["encoder_axis"]["n_bins"] = packed["meta"]["decoder_axis"]["n_bins"] = 10**6
    with pytest.raises(ValueError, match="accepted: 1 to 4096"):
        DensityGrid.from_compact(msgspec.msgpack.encode(packed))


def test_bin_positions_and_values_are_inverse_to_the_documented_mapping() -> None:
    axis = build_density(*make_weights()).encoder_axis
    u = [3.0 * math.asinh((v - axis.center) / axis.scale / 3.0) for v in axis.edges().tolist()]
    assert np.allclose(np.diff(u), (axis.high - axis.low) / axis.n_bins)


def test_the_contract_module_imports_neither_torch_nor_scipy() -> None:
    code = "import sys, diagnostics.contract.density; print({'torch', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


LARGE = """
import numpy as np
from diagnostics.contract.density import build_density

def peak_mib():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024

rng = np.random.default_rng(0)
encoder = rng.standard_normal((4096, 8192), np.float32)
decoder = rng.standard_normal((8192, 4096), np.float32)
before = peak_mib()
assert build_density(encoder, decoder).n_pairs == 4096 * 8192
print(peak_mib() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_33_million_pairs_take_less_than_50_mib_above_the_weights() -> None:
    # In a process of its own: peak memory is a high-water mark.
    done = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 50.0
