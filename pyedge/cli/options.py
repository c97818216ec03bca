"""Options that several commands share, with one name and one meaning everywhere."""

from __future__ import annotations

import argparse

from pyedge.cli import parsing
from pyedge.images.preprocessing import COLOURS, NAMES, Preprocessing
from pyedge.images.resize import INTERPOLATIONS, MODES, Resize
from pyedge.runs.run_options import DEFAULT_LAMBDAS

DATA = (
    "images: a folder or archive (.zip, .tar, .tar.gz, .tar.xz) of class folders, CIFAR-10, or "
    '"digits"'
)
AUGMENTATIONS = ("auto", "none", "crop", "flip", "cutout")


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add DATA."""
    parser.add_argument("data", metavar="DATA", help=DATA)
    add_splits(parser)


def add_splits(parser: argparse._ActionsContainer, *, classes_alone: bool = False) -> None:
    """Add --splits; `classes_alone` for a command that takes class folders and no splits."""
    words = (
        {"auto": None, "no": False} if classes_alone else {"auto": None, "yes": True, "no": False}
    )

    def word(text: str) -> bool | None:
        if text not in words:
            raise argparse.ArgumentTypeError(f"wanted {', '.join(words)}, got {text!r}")
        return words[text]

    yes = "" if classes_alone else "yes: leave the folders beside train and test out; "
    parser.add_argument(
        "--splits",
        type=word,
        default=None,
        metavar="WHAT",
        help=f"folders of DATA named like train or test: {yes}no: they are classes; "
        f"auto: decide, and stop if it is unclear (default)",
    )


def add_out(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --out."""
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help=f"where to write {what}; written at the end, in one go (required)",
    )


def add_preprocessing(parser: argparse.ArgumentParser, default: str) -> None:
    """Add what the network takes of pixels: --preprocessing, --mean, --std."""
    group = parser.add_argument_group("preprocessing")
    group.add_argument(
        "--preprocessing",
        choices=NAMES,
        help="what the network takes of pixels: image (each image standardised), none (over 255), "
        f"imagenet or cifar10 (those data sets' mean and deviation of each channel); {default}",
    )
    for name, word, numbers in (
        ("--mean", "mean", "0.485,0.456,0.406"),
        ("--std", "deviation", "0.229,0.224,0.225"),
    ):
        group.add_argument(
            name,
            type=parsing.listed(parsing.number(-1e6)),
            metavar="LIST",
            help=f"{word} of each channel, of pixels over 255, such as {numbers}",
        )


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """Add how photos become what a network sees: --size, --resize, --crop and more."""
    group = parser.add_argument_group("sizes, kept in the file as the preprocessing is")
    group.add_argument(
        "--size",
        type=parsing.sides(8),
        metavar="PIXELS",
        help="cut and resize images to squares of this side (needed if they differ in size), or to "
        "HEIGHTxWIDTH",
    )
    group.add_argument(
        "--resize",
        type=parsing.whole(8),
        metavar="PIXELS",
        help="resize the shorter side to so many pixels, and cut --size out of the centre, as "
        "torchvision does: --size 224 --resize 256",
    )
    group.add_argument(
        "--crop",
        type=parsing.number(0, 1, above=True),
        metavar="SHARE",
        help="the same said otherwise: --size is this share of the shorter side, such as 0.875",
    )
    group.add_argument(
        "--crop-mode",
        choices=MODES,
        help="center cuts off what is too long (default); squash resizes both sides, whatever the "
        "proportions; border keeps the whole picture, with a border of the channels' mean",
    )
    group.add_argument(
        "--interpolation",
        choices=INTERPOLATIONS,
        help="how images are resized (default bilinear)",
    )
    group.add_argument(
        "--colour",
        choices=COLOURS,
        help="make images rgb or grey (default: as they are, photos rgb)",
    )


def resize_of(args: argparse.Namespace, brought: Preprocessing | None) -> Resize | None:
    """Read --size, --resize, --crop and more; None for --size alone, or nothing.

    brought: the network's own preprocessing, which holds where the options say nothing else.
    """
    own = None if brought is None else brought.resize
    size = args.size or (None if own is None else own.size)
    if (args.resize, args.crop, args.interpolation, args.crop_mode) == (None,) * 4:
        if own is not None and own.size == size:
            return own
        return Resize.of_fraction(size, 1.0) if isinstance(size, tuple) else None
    if size is None:
        raise parsing.UsageError("--resize, --crop, --crop-mode and --interpolation need --size")
    if args.resize is not None and args.crop is not None:
        raise parsing.UsageError("--resize and --crop say the same, give one of them")
    interpolation = args.interpolation or ("bilinear" if own is None else own.interpolation)
    mode = args.crop_mode or ("center" if own is None else own.mode)
    fill = _fill(args, brought) if mode == "border" else ()
    try:
        if args.resize is not None:
            return Resize.of(Resize(size, args.resize, interpolation, mode, fill), "--resize")
        share = args.crop or (1.0 if own is None else own.fraction)
        return Resize.of_fraction(size, share, interpolation, mode, fill)
    except ValueError as error:
        raise parsing.UsageError(f"{error} (--size {size})") from None


def _fill(args: argparse.Namespace, brought: Preprocessing | None) -> tuple[int, ...]:
    """Return the colour of a border: the mean of each channel, as timm has it; black without."""
    known = preprocessing_of(args, None) or brought
    return () if known is None else tuple(min(255, max(0, round(255 * m))) for m in known.mean)


def preprocessing_of(args: argparse.Namespace, channels: int | None) -> Preprocessing | None:
    """Read --preprocessing, or --mean and --std; None where none was given."""
    given = args.preprocessing
    if args.mean is not None or args.std is not None:
        if given is not None or args.mean is None or args.std is None:
            raise parsing.UsageError(
                "--mean and --std go together, and take the place of --preprocessing"
            )
        given = {"kind": "channel", "mean": args.mean, "deviation": args.std}
    if given is None:
        return None
    try:
        return Preprocessing.of(given, channels, "--preprocessing, --mean, --std")
    except ValueError as error:
        raise parsing.UsageError(str(error)) from None


def add_own_code(parser: argparse.ArgumentParser) -> None:
    """Add --model to commands that open network files."""
    parser.add_argument(
        "--model",
        metavar="FILE.py:FUNCTION",
        help="the builder of your own network, if the teacher was trained with one: a network "
        "file names such code but never runs it by itself",
    )


def add_general(parser: argparse.ArgumentParser, *, device: bool = True) -> None:
    """Add the options of every command; `device` False: without a choice of device."""
    group = parser.add_argument_group("machine and output")
    group.add_argument(
        "--threads", type=parsing.whole(1), metavar="N", help="CPU threads (default: all cores)"
    )
    if device:
        group.add_argument(
            "--device",
            choices=("auto", "cpu", "cuda"),
            default="auto",
            help="where to compute (default: the GPU if there is one)",
        )
    _add_output(group)


def add_precision(parser: argparse._ActionsContainer) -> None:
    """Add --precision to commands that compute with a student file."""
    parser.add_argument(
        "--precision",
        choices=("float32", "half", "int8"),
        default="float32",
        help="half: convolutions in 16 bits; int8: answers in 8 bits, for a student of pyedge "
        "export --int8; faster where the CPU multiplies them, refused where it does not (default "
        "float32)",
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the output options of every command, for one that does little work."""
    _add_output(parser.add_argument_group("output"))


def _add_output(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--json", action="store_true", help="print the result as one JSON object, for programs"
    )
    group.add_argument("--quiet", action="store_true", help="print only the result, no progress")


def add_batch_size(parser: argparse._ActionsContainer, default: int = 128) -> None:
    """Add --batch-size for a command that only runs a network."""
    parser.add_argument(
        "--batch-size",
        type=parsing.whole(1),
        default=default,
        metavar="N",
        help=f"images at a time (default {default})",
    )


def add_seed(parser: argparse._ActionsContainer, what: str) -> None:
    """Add --seed."""
    parser.add_argument(
        "--seed",
        type=parsing.whole(0),
        default=0,
        metavar="N",
        help=f"decides {what} (default 0)",
    )


def add_compression(parser: parsing.Parser, P: float | None) -> None:
    """Add the options of `pyedge.plan`; P is the default of --P."""
    group = parser.add_argument_group("how much to cut")
    parser.rename("--images", "--max-images")
    default = "" if P is None else f" (default {P:g})"
    group.add_argument(
        "--P",
        type=parsing.number(0, 1),
        metavar="P",
        help="a filter can go when at least this share of its activation map is zero, 0 to 1; "
        f"lower cuts more{default}",
    )
    group.add_argument(
        "--max-params",
        type=parsing.amount,
        metavar="N",
        help="instead of --P, or with it: the widest student within this number of parameters "
        "(500k, 1.5M)",
    )
    group.add_argument(
        "--max-macs",
        type=parsing.amount,
        metavar="N",
        help="the same for multiply-accumulates an image (20M)",
    )
    group.add_argument(
        "--widths",
        type=parsing.widths,
        metavar="LIST",
        help="give the number of filters that stay: 14,120,138,... in order, or "
        "stem=14,groups.0.0.conv1=120 by name, the others by --P",
    )
    group.add_argument(
        "--near-zero",
        type=parsing.number(0, 0.99, above=True),
        default=0.05,
        metavar="SHARE",
        help="for activations without exact zeros (SiLU, GELU, hard-swish, LeakyReLU): what is at "
        "most this share of the layer's largest value counts as zero (default 0.05)",
    )
    group.add_argument(
        "--min-width",
        type=parsing.whole(1),
        default=1,
        metavar="N",
        help="the least number of filters that stay in a layer (default 1)",
    )
    group.add_argument(
        "--round-to",
        type=parsing.whole(1),
        default=1,
        metavar="N",
        help="round widths up to a multiple, which suits some hardware (8, 16; default 1)",
    )
    group.add_argument(
        "--keep",
        choices=("first", "last"),
        default="first",
        help="which block of a group stays: first inherits better, last is the paper's wording "
        "(default first)",
    )
    group.add_argument(
        "--head",
        choices=("single", "keep"),
        default="single",
        help="single: one linear layer instead of VGG's three; keep: leave them (default single)",
    )
    group.add_argument(
        "--structure",
        type=parsing.blocks,
        metavar="BLOCKS",
        help="if the blocks cannot be found: their module names, groups separated by semicolons, "
        '"layer1.0,layer1.1;layer2.0,layer2.1"',
    )
    group.add_argument(
        "--max-images",
        type=parsing.whole(1),
        default=1024,
        metavar="N",
        help="at most this many training images to measure zeros on (default 1024)",
    )


def add_losses(group: argparse._ArgumentGroup) -> None:
    """Add the options of a student's losses: --no-labels, --lambdas, --norms."""
    group.add_argument(
        "--no-labels", action="store_true", help="do not use the names of the class folders"
    )
    group.add_argument(
        "--lambdas",
        type=parsing.lambdas,
        default=DEFAULT_LAMBDAS,
        metavar="L1,L2,L3",
        help="weights of J_1, J_b and J_3 (default 1,10,1)",
    )
    group.add_argument(
        "--norms",
        choices=("batch", "image"),
        default="batch",
        help="maps are compared over the whole batch (default, the paper) or image by image",
    )


def add_training(parser: argparse.ArgumentParser, *, lr: str) -> None:
    """Add length, optimizer and other options of a training run; `lr` explains its default."""
    add_length(parser, epochs=20)
    learning = add_learning(parser, lr=lr, batch_size=128)
    learning.add_argument(
        "--augment",
        type=_augmentations,
        default=["auto"],
        metavar="LIST",
        help="change each image a little each time: crop, flip, cutout (the paper has all three), "
        "none; default: crop,flip for colour images, crop for grey ones, whose mirror image may "
        "mean something else",
    )
    learning.add_argument(
        "--precision",
        choices=("32-true", "16-mixed", "bf16-mixed"),
        default="32-true",
        help="(default 32-true; 16-mixed is faster on a GPU)",
    )


def add_length(parser: argparse.ArgumentParser, *, epochs: int) -> None:
    """Add options for how long to learn, and how often to validate."""
    length = parser.add_argument_group("length")
    length.add_argument(
        "--epochs",
        type=parsing.whole(0),
        default=epochs,
        metavar="N",
        help=f"passes over the images (default {epochs})",
    )
    length.add_argument(
        "--steps", type=parsing.whole(1), metavar="N", help="batches, instead of --epochs"
    )
    length.add_argument(
        "--eval-every",
        type=parsing.whole(1),
        metavar="N",
        help="validate every N steps (default: each epoch)",
    )
    length.add_argument(
        "--patience",
        type=parsing.whole(1),
        metavar="N",
        help="stop after N validations without a better one",
    )
    length.add_argument(
        "--resume",
        action="store_true",
        help="go on from where an interrupted run of the same command stopped (OUT.checkpoint)",
    )


def add_learning(
    parser: argparse.ArgumentParser, *, lr: str, batch_size: int
) -> argparse._ArgumentGroup:
    """Add rate, batch, optimizer and schedule. Returns the group, so that more can be added."""
    learning = parser.add_argument_group("learning")
    learning.add_argument(
        "--lr", type=parsing.number(0, above=True), metavar="X", help=f"learning rate ({lr})"
    )
    learning.add_argument(
        "--batch-size",
        type=parsing.whole(1),
        default=batch_size,
        metavar="N",
        help=f"images a step (default {batch_size})",
    )
    learning.add_argument(
        "--optimizer",
        choices=("sgd", "adam"),
        default="sgd",
        help="(default sgd, with Nesterov momentum)",
    )
    learning.add_argument(
        "--schedule",
        choices=("cosine", "exponential", "constant"),
        default="cosine",
        help="how the learning rate falls (default cosine, to zero at the end)",
    )
    learning.add_argument(
        "--weight-decay", type=parsing.number(0), default=5e-4, metavar="X", help="(default 0.0005)"
    )
    learning.add_argument(
        "--warmup-steps",
        type=parsing.whole(0),
        default=0,
        metavar="N",
        help="steps in which the rate rises (default 0)",
    )
    return learning


def _augmentations(text: str) -> list[str]:
    names: list[str] = parsing.listed(str)(text)
    for name in names:
        if name not in AUGMENTATIONS:
            raise argparse.ArgumentTypeError(
                f"wanted some of crop, flip, cutout, or none, got {name!r}"
                f"{parsing.suggestion(name, AUGMENTATIONS)}"
            )
    if len(names) > 1 and {"auto", "none"} & set(names):
        raise argparse.ArgumentTypeError(f"none and auto stand alone, got {text!r}")
    return names
