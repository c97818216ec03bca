"""What a student is worth after it has learned class after class: `python -m bench.learning`.

Class-incremental protocols (nine classes and one, five times two) on digits, CIFAR-10 and ten
ImageNet classes; every method of pyedge beside the strategies of Avalanche and the joint bounds,
on the same student and the same images. All choices are made on validation images.
"""
