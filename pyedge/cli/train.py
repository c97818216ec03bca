"""pyedge train: a teacher from labelled images."""

from __future__ import annotations

import argparse
from dataclasses import replace

from pyedge.cli import options, parsing
from pyedge.cli.console import Console
from pyedge.cli.parsing import existing

USAGE = "DATA --out FILE [options]"

DESCRIPTION = """\
Train a classifier, the teacher, on labelled images, and write it to a file.

Images in train/ and test/ folders stay in these parts; otherwise a fifth of each class is put aside
for the test, and a tenth of the rest for validation. The network with the best validation is kept,
and its accuracy on test images that it never saw is printed.
"""

EXAMPLES = """\
examples:
  pyedge train photos --size 32 --out teacher.pt
      Photos of any size, cut to squares of 32 pixels; a small wide ResNet.
  pyedge train cifar-10-binary.tar.gz --model wrn_28_10 --epochs 200 --augment crop,flip,cutout \\
      --out teacher.pt
      The paper's teacher. It needs a GPU.
  pyedge train photos --size 64 --model resnet18 --option small_input=no --weights resnet18.pth \\
      --lr 0.01 --out teacher.pt
      Start from weights that you have, here torchvision's (whose first layer is the one of large
      images); a classifier of other classes starts afresh. With --epochs 0 they are only tested
      and written as a teacher.
  pyedge train cifar10 --model resnet56 --weights published.th --epochs 0 --preprocessing cifar10 \\
      --out teacher.pt
      Weights that were trained with the mean and deviation of each channel; --mean and --std take
      other numbers. All later commands, and the device, do as the file says.
  pyedge train photos --model timm:resnet18 --weights resnet18.safetensors --lr 0.01 \\
      --out teacher.pt
      A network of timm's, where that is installed. It brings its preprocessing and its image size.
  pyedge train photos --model torchvision:mobilenet_v2 --weights mobilenet_v2.pth --lr 0.01 \\
      --size 224 --resize 232 --out teacher.pt
      One of torchvision's, with the shorter side that its second weights had.
  pyedge train photos --size 32 --model nets.py:build --out teacher.pt
      Your own network: build(num_classes=3) in nets.py returns a torch.nn.Module.
  pyedge train photos --size 32 --out teacher.pt --resume
      Go on after Ctrl-C or a power cut.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `pyedge train`."""
    options.add_data(parser)
    options.add_out(parser, "the teacher")
    network = parser.add_argument_group("network")
    network.add_argument(
        "--model",
        default="wrn_small",
        metavar="NAME",
        help="wrn_small (default, trains on a CPU), wrn_DEPTH_WIDTH such as wrn_28_10, wrn, "
        "resnet20, resnet56, resnet110, resnet18, resnet34, vgg11, vgg11_bn, vgg16, vgg16_bn; "
        "timm:NAME or torchvision:NAME, such as torchvision:mobilenet_v2, where installed (pip "
        'install "pyedge[timm]", "pyedge[torchvision]"); or your own as FILE.py:FUNCTION or '
        "MODULE:FUNCTION",
    )
    network.add_argument(
        "--depth", type=parsing.whole(1), metavar="N", help="layers, for --model wrn (28)"
    )
    network.add_argument(
        "--width",
        type=parsing.whole(1),
        metavar="N",
        help="for wrn: the factor of its widths (10); for resnet and vgg: filters in the first "
        "group",
    )
    network.add_argument(
        "--widths",
        type=parsing.listed(parsing.whole(1)),
        metavar="LIST",
        help="filters of each group, for wrn and wrn_DEPTH_WIDTH: 16,48,128",
    )
    network.add_argument(
        "--option",
        type=parsing.setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other argument of the network, such as dropout=0.3; may be repeated",
    )
    network.add_argument(
        "--weights",
        metavar="FILE",
        help="start from these weights: a file of torch.save (.pth, .pt) or .safetensors for this "
        "network, under any prefix and, if the match is certain, any names; a classifier of "
        "another number of classes starts afresh, which --epochs 0 refuses",
    )
    options.add_sizes(parser)
    options.add_preprocessing(
        parser,
        "default: image, or what a network of timm or torchvision brings; kept in the file for all "
        "later commands and the device",
    )
    options.add_seed(parser, "first weights, order and augmentation")
    parser.add_argument(
        "--split-seed",
        type=parsing.whole(0),
        default=0,
        metavar="N",
        help="decides which images are for validation and test; kept in the file, so that later "
        "commands never learn from test images (default 0)",
    )
    options.add_training(parser, lr="default 0.1 for sgd, 0.001 for adam")
    options.add_general(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Train and write the teacher."""
    import torch

    import pyedge
    from pyedge.cli import dataset, machine, networks, outputs, train_and_transfer
    from pyedge.cloud.network_file import NetworkInfo, save_network

    if args.weights is not None:
        existing(args.weights)
    outputs.check_out(args.out, args.weights, checkpoint=bool(args.epochs or args.steps))
    machine.check_device(args.device)
    machine.use_threads(args.threads)
    builder = networks.builder_of(args.model)  # a mistyped name is told before images are read
    brought = networks.preprocessing_of(args.model)
    resize = options.resize_of(args, brought)
    said = {"size", "resize", "crop", "crop_mode", "interpolation"} & args.given
    data = dataset.load(
        *(console, args.data, resize or args.size, args.split_seed, args.splits),
        colour=args.colour or "",
        keep_own=not said,  # CIFAR-10 at 224 pixels would take 9 GB
    )
    if resize is not None and data.shape[1:] != resize.sides:
        resize = None
    given = {name: getattr(args, name) for name in ("depth", "width", "widths")}
    chosen = {name: value for name, value in given.items() if value is not None}
    torch.manual_seed(args.seed)
    model, arguments = networks.build(
        args.model,
        builder,
        {**chosen, **dict(args.option)},
        len(data.train.classes),
        data.shape,
    )
    afresh: list[str] = []
    if args.weights is not None:
        if not (args.epochs or args.steps):  # a new classifier would stay untrained
            networks.check_classes(model, args.weights, len(data.train.classes))
        taken, afresh = networks.load_weights(model, args.weights)
        console.note(
            f"{args.weights}: {taken} weights taken"
            + (f", {len(afresh)} start afresh: {', '.join(afresh[:4])}" if afresh else "")
            + (", ..." if len(afresh) > 4 else "")
        )
    preprocessing = options.preprocessing_of(args, data.shape[0])
    if preprocessing is None:
        preprocessing = networks.default_preprocessing(args.model, brought, data.shape[0])
        if args.weights is not None and not afresh:  # an untrained classifier tells nothing
            networks.guess_preprocessing(args.weights, model, data.train, preprocessing)
    preprocessing = replace(preprocessing, resize=resize, colour=args.colour or "")
    console.note(f"images as the network takes them: {preprocessing}")
    loader = dataset.training_loader(
        data.train, args.batch_size, args.seed, args.augment, preprocessing
    )
    val = dataset.evaluation_loader(data.val, preprocessing)
    test = dataset.evaluation_loader(data.test, preprocessing)
    params = sum(p.numel() for p in model.parameters())
    title = f"{args.model}, {params:,} parameters"
    console.note(title)
    result = None
    if args.epochs or args.steps:
        settings = train_and_transfer.options_of(
            args, console, lr=0.1 if args.optimizer == "sgd" else 0.001, patience=args.patience
        )
        result = train_and_transfer.run(
            console,
            args.out,
            args.resume,
            lambda score: pyedge.train(
                model,
                loader,
                val=val,
                test=test,
                score=score if val is not None else None,
                options=settings,
            ),
        )
    evaluation = result.test if result is not None else None
    if result is None and test is not None:
        evaluation = pyedge.evaluate(model, test)
        if args.weights is not None:
            networks.warn_of_chance(args.weights, evaluation)
    entry = train_and_transfer.record_of("train", args, result)
    if result is None and evaluation is not None:
        entry["test_accuracy"] = evaluation.accuracy
    info = NetworkInfo(
        builder=args.model,
        options=arguments,
        classes=data.train.classes,
        input_shape=data.shape,
        split_seed=args.split_seed,
        preprocessing=preprocessing,
        record=(entry,),
    )
    save_network(args.out, model, info)
    train_and_transfer.finish(args.out)
    lines = [title]
    if result is not None:
        lines.append(train_and_transfer.summary(result, loader, True, val is not None))
    elif evaluation is not None:
        lines.append(train_and_transfer.tested(evaluation))
    console.result(
        "\n".join([*lines, f"written to {args.out}"]),
        {
            "command": "train",
            "out": args.out,
            "model": {"builder": args.model, "options": arguments, "params": params},
            "classes": data.train.classes,
            "input_shape": data.shape,
            "images": data.counts(),
            "test_accuracy": None if evaluation is None else evaluation.accuracy,
            "training": None if result is None else result.to_dict(),
        },
    )
    return 0
