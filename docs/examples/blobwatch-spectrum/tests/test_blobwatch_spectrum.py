"""The diagnostic of this package, on every kind of weights and on known ones."""

import numpy as np
import pytest
from blobwatch_spectrum import Spectrum

from diagnostics.testing import check_diagnostic, fake_epoch


def test_it_copes_with_every_kind_of_weights():
    """The check that comes with blobwatch: each case in a real worker process."""
    check_diagnostic(Spectrum, options={"k": 3})


def test_three_equal_directions_count_as_three():
    """The participation ratio of three equal singular values."""
    encoder = np.diag([2.0, 2.0, 2.0, 0.0])
    fields = Spectrum(k=2).compute(fake_epoch(encoder=encoder, decoder=encoder))
    assert fields["spectrum_encoder_values"] == pytest.approx([2.0, 2.0])
    assert fields["spectrum_decoder_participation"] == pytest.approx(3.0)
