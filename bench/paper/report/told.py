"""The words of the report: what each table asks, and how our runs differ from the paper's."""

from __future__ import annotations

from bench.paper.worlds import WORLDS

TITLES = {
    "table1": "Table 1: what compression costs",
    "table2": "Table 2: other ways of making a network small",
    "table3": "Table 3: steps until convergence",
    "table4": "Table 4: nine classes and a new one, CIFAR-10",
    "table5": "Table 5: nine classes and a new one, ImageNet",
    "table6": "Table 6: what learning a class costs a device",
    "table7": "Table 7: classes that the student never saw",
    "figure1": "Figure 1: activation maps of the first convolution",
}
ASKS = {
    "table1": "Accuracy on test images at the best validation evaluation, and at the last. P is "
    "1.0 to 0.7 from the first student to the last. Rows of the paper: the last block "
    "of each group, its transfer as written. Ours change one ingredient after another.",
    "table2": "Bytes are those of all weights; quantized ones count codes and two floats for each "
    "bucket of 256 weights. The paper's sizes of quantized networks are written as "
    "bytes here; of a student computed in 8 bits they are those of its whole file.",
    "table3": "Steps at the best validation evaluation (the paper's count, once an epoch; "
    "FitNet's first stage included), and to two goals: the best validation accuracy of labels "
    "alone in as many steps, the independent student's, and in four times as many. Rows of the "
    "paper: fresh weights for the independent student and FitNet, inherited ones for transfer. "
    "Ours take inheritance and transfer apart, and end after a quarter of the steps.",
    "table4": "The student is trained on nine classes; then it gets images of the tenth alone. "
    "The paper averages old and new in the rows of transfer and RILOD, and by images in "
    "the row without transfer: both are here. Transfer keeps the best of its frequent "
    "evaluations on validation images of all classes, which a device has not: what its last "
    "step leaves has rows of its own. Rates are chosen by accuracy over all validation images, "
    "by which what learns next to nothing of the new class may do best. Rows of the paper learn "
    "with the student that the paper writes; the other ones with ours (first block, facing "
    "channels), among them the paper's ways of learning once more.",
    "table5": "As Table 4, with another data set.",
    "table6": "The same number of steps of 64 images in each row, on one machine. The paper's "
    "seconds are those of a phone of 2017 and of another engine: only ratios compare.",
    "table7": "The student sees images of two classes; answers are among all ten. Inherited "
    "weights have seen every class: the rows of fresh weights have not. How much of what they "
    "saw is left after the cut, before any training, has a row of its own.",
    "figure1": "Filters whose maps are zero almost everywhere can go.",
}
_CPU = WORLDS["cpu"]
GROUPS = {
    "cifar": "CIFAR-10",
    "wrn": "CIFAR-10, a small WRN as teacher",
    "imagenet": "ImageNet",
    "caltech": "Caltech 101",
}
SCALES = {
    "smoke": "Scale smoke: Tiny networks on digits and generated images, some steps. Its figures "
    "say that everything runs, and nothing else.",
    "cpu": "Scale cpu: What two cores train in hours. CIFAR-10 is JPEG-compressed (quality "
    "75), its teacher a ResNet-56 of 0.85 M parameters, and not WRN-28-10; 300 images a "
    "class of the test set choose and the other 700 are reported on, because that "
    "teacher has seen every training image. ImageNet is ten classes of 64 x 64 pixels. "
    "Caltech 101 has 64 x 64 pixels, and a VGG-16 of a quarter of the width with batch "
    f"norm. Students train {_CPU['cifar'].student['steps']} steps on CIFAR-10, "
    f"{_CPU['imagenet'].student['epochs']} epochs on ImageNet, {_CPU['caltech'].student['epochs']} "
    "on Caltech 101; the paper's 200 epochs on CIFAR-10 and 100 on ImageNet.",
    "paper": "Scale paper: The paper's networks and schedules. CIFAR-10 is JPEG-compressed, "
    "ImageNet is ten classes of 64 x 64 pixels, Caltech 101 has 64 x 64 pixels; "
    "AutoAugment is left out.",
}
