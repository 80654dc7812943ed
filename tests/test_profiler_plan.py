import numpy as np
import pytest

from diagnostics.contract.errors import BlobwatchError
from profiler.plan import (
    check_epochs,
    check_sizes,
    default_sizes,
    round_order,
)
from tests.fake_profiles import CONFIG
from trainer.config import load_config


def test_default_sizes_have_smaller_ones_than_the_configured_and_end_at_the_epoch():
    assert default_sizes(CONFIG) == [250, 500, 1000, 2000, 4000, 8000]
    tiny = load_config("quick_3blob", {"n_train": 10, "batch_size": 100})
    assert default_sizes(tiny) == [10]


@pytest.mark.parametrize(
    ("sizes", "complaint"),
    [
        ([0], "0 is below 1"),
        ([-5, 10], "-5 is below 1"),
        ([10, 10], "10 is given 2 times"),
        ([20001], r"20001 is more than data.n_train \(20000\)"),
        ([], "no size given"),
        ([1.5], "1.5 is not a whole number"),
        ([True], "True is not a whole number"),
        ([[10], 20], r"\[10\] is not a whole number"),
        (np.array([10.0]), "is not a whole number"),
        (500, "got 500; give a list"),
        ([0, 99999], "0 is below 1; 99999 is more"),
    ],
)
def test_impossible_sizes_are_named_in_one_line(sizes, complaint):
    with pytest.raises(BlobwatchError, match=complaint) as caught:
        check_sizes(sizes, CONFIG)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sizes", [np.array([20, 10]), [np.int32(20), 10], range(10, 21, 10)])
def test_whole_numbers_of_numpy_are_sizes_and_epochs_like_those_of_python(sizes):
    found = check_sizes(sizes, CONFIG)
    assert found == [10, 20]
    assert {type(size) for size in found} == {int}
    assert type(check_epochs(np.int64(3))) is int


def test_every_size_is_first_in_some_round():
    firsts = {round_order([1, 2, 3], n)[0] for n in range(6)}
    assert firsts == {1, 2, 3}
