"""scikit-learn's digits: 1,797 scans of 8x8 pixels that come with a dependency."""

from __future__ import annotations

import torch

from pyedge.data.imageset import ImageSet


def load_digits(
    *, val_fraction: float = 0.1, test_fraction: float = 0.2, seed: int = 0
) -> tuple[ImageSet, ImageSet, ImageSet]:
    """Load the digits as (train, val, test): images uint8 [n, 1, 8, 8], classes "0" to "9".

    Split by class with the seed: `test_fraction` of all is the test set, `val_fraction` of the rest
    the validation set. The scans' 17 grey levels 0..16 become 0, 15, ..., 240.
    Raises ImportError with the install command if scikit-learn is missing.
    """
    try:
        from sklearn.datasets import load_digits as load
    except ImportError as error:
        raise ImportError(
            'load_digits: the digits are part of scikit-learn: pip install "pyedge[demo]"'
        ) from error
    bunch = load()
    images = torch.from_numpy((bunch.images * 15).astype("uint8"))[:, None].contiguous()
    labels = torch.from_numpy(bunch.target.astype("int64"))
    rest, test = ImageSet(images, labels, [str(d) for d in range(10)]).split(test_fraction, seed)
    train, val = rest.split(val_fraction, seed)
    return train, val, test
