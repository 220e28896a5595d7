"""Autoencoders saved as two linear layers in one file: Goodfire's `.pth` and `.pt`, and DeepSeek R1's SAE by qresearch. relu(x W + b).

    encoder_linear.weight [width, d_in], encoder_linear.bias, decoder_linear.weight [d_in, width], decoder_linear.bias
    encoder.weight, encoder.bias, decoder.weight, decoder.bias

b_dec is not subtracted from the input. The source is the file, its folder where it is the one such file there, or
owner/repository/file on the hub.
"""

from pathlib import Path

from resources.dictionaries.encoding import Threshold
from resources.dictionaries.interface import DictionaryError
from resources.dictionaries.sources import source_file
from resources.dictionaries.sparse_autoencoder import SparseAutoencoder, checked_autoencoder
from resources.dictionaries.weight_files import read_tensors

ENDINGS = (".pth", ".pt")
PREFIXES = (("encoder_linear.", "decoder_linear."), ("encoder.", "decoder."))


def load_goodfire(source: str, hook: str, width: int | None = None, d_in: int | None = None) -> SparseAutoencoder:
    """The autoencoder in the file `source`, on the CPU in float32. Raises `DictionaryError`."""
    path = goodfire_file(source)
    weights = read_tensors(path)
    for encoder, decoder in PREFIXES:
        needed = [f"{encoder}weight", f"{encoder}bias", f"{decoder}weight", f"{decoder}bias"]
        if set(needed) <= set(weights):
            W_enc, b_enc, W_dec, b_dec = (weights[name] for name in needed)
            break
    else:
        raise DictionaryError(
            f"{path} holds {sorted(weights)[:8]}; it must hold encoder_linear and decoder_linear, weight and bias of each."
        )
    autoencoder = SparseAutoencoder(
        kind="goodfire",
        hook=hook,
        output_hook=hook,
        l0_expected=None,
        W_enc=W_enc.T,
        b_enc=b_enc,
        W_dec=W_dec.T.contiguous(),
        b_dec=b_dec,
        activation=Threshold(),
        subtracts_b_dec=False,
    )
    return checked_autoencoder(autoencoder, source, width, d_in)


def goodfire_file(source: str) -> Path:
    """The file of a source. Raises `DictionaryError` for a folder with none or several."""
    return source_file(source, ENDINGS, "a Goodfire SAE")
