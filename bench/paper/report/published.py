"""The paper's own figures, by table, group and row, under the names of our columns.

Accuracies in per cent; parameters, trainable and steps as numbers; Table 2's sizes of quantized
networks are the paper's "parameters" of 32 bits.
"""

from __future__ import annotations

Figures = dict[str, float]
_M = 1e6


def _students(
    names: str, first: int, accuracies: tuple[float, ...], millions: tuple[float, ...]
) -> dict[str, Figures]:
    pairs = enumerate(zip(accuracies, millions, strict=True), first)
    return {
        names.format(i): {"accuracy": accuracy, "parameters": m * _M} for i, (accuracy, m) in pairs
    }


def _table3(names: str, rows: tuple[tuple[float, float, float], ...]) -> dict[str, Figures]:
    systems = ("independent", "transfer", "FitNet")
    return {
        f"{names.format(i)}: {system}": {"steps": round(1000 * steps)}
        for i, row in enumerate(rows, 1)
        for system, steps in zip(systems, row, strict=True)
    }


def _learned(old: float, new: float, mean: float | None = None, **more: float) -> Figures:
    found = {"old": old, "new": new, **more}
    return found if mean is None else {**found, "mean": mean}


_TABLE1 = {
    "cifar": {
        "teacher": {"accuracy": 97.28, "parameters": 36.22 * _M},
        **_students("ResNet {}", 1, (94.37, 93.68, 92.62, 90.09), (2.00, 1.42, 0.60, 0.23)),
    },
    "imagenet": {
        "teacher": {"accuracy": 73.23, "parameters": 21.6 * _M},
        **_students("ResNet {}", 5, (69.76, 68.14, 66.07, 63.16), (9.79, 7.22, 5.09, 3.34)),
    },
    "caltech": {
        "teacher": {"accuracy": 77.10, "parameters": 134 * _M},
        **_students("VGG-16 {}", 1, (62.85, 60.55, 59.51, 56.77), (5.55, 3.78, 3.11, 0.97)),
    },
}

PUBLISHED: dict[str, dict[str, dict[str, Figures]]] = {
    "table1": _TABLE1,
    "table2": {
        "cifar": {
            "teacher": _TABLE1["cifar"]["teacher"],
            "ResNet 1": _TABLE1["cifar"]["ResNet 1"],
            "ResNet 2": _TABLE1["cifar"]["ResNet 2"],
            "L1 norm, 10% of the filters": {"accuracy": 93.55, "parameters": 1.68 * _M},
            "teacher, post mortem, 2 bits": {"accuracy": 81.09, "bytes": 4 * 7.44 * _M},
            "ResNet 1, quantized distillation, 2 bits": {
                "accuracy": 94.73,
                "bytes": 4 * 9.66 * _M,
            },
        }
    },
    "table3": {
        "cifar": _table3(
            "ResNet {}",
            (
                (70.20, 12.09, 69.42),
                (69.42, 12.87, 69.03),
                (69.42, 15.99, 69.03),
                (70.98, 8.97, 70.20),
            ),
        ),
        "caltech": _table3(
            "VGG-16 {}",
            ((8.66, 1.87, 6.08), (3.98, 3.28, 3.28), (3.28, 1.87, 3.28), (3.28, 1.87, 4.45)),
        ),
    },
    "table4": {
        "cifar": {
            "ResNet 1: without transfer": _learned(0, 100, weighted=10),
            "ResNet 1: transfer": _learned(62.83, 93.5, 78.16),
            "ResNet 2: transfer": _learned(64.12, 92.3, 78.21),
            "ResNet 3: transfer": _learned(61.5, 93.1, 77.3),
            "ResNet 4: transfer": _learned(57.02, 95, 76.01),
            "ResNet 1: RILOD": _learned(38.34, 76.3, 57.32),
            "whole network: RILOD": _learned(57.6, 83.41, 70.5),
        }
    },
    "table5": {
        "imagenet": {
            "ResNet 5: without transfer": _learned(11.1, 100, weighted=19.9),
            "ResNet 5: transfer": _learned(57.33, 72, 64),
            "ResNet 5: RILOD": _learned(51.78, 62, 56.89),
            "whole network: RILOD": _learned(33, 98, 65.5),
            "ResNet 6: transfer": _learned(62, 68, 65),
            "ResNet 7: transfer": _learned(57.7, 78, 67.89),
            "ResNet 8: transfer": _learned(56.4, 76, 66.2),
        }
    },
    "table6": {
        "imagenet": {
            f"{name}, 224 pixels": {
                "trainable": millions * _M,
                "seconds": seconds,
                "inference_seconds": inference,
            }
            for name, millions, seconds, inference in (
                ("whole network: RILOD, all layers", 11.69, 1200, 8.7),
                ("ResNet 5: transfer", 3.51, 360, 7.2),
                ("ResNet 6: transfer", 3.07, 315, 5.3),
                ("ResNet 7: transfer", 2.46, 253, 3.7),
                ("ResNet 8: transfer", 1.76, 181, 2.5),
            )
        }
    },
    "table7": {
        "cifar": {
            f"ResNet {i}: {system}": {"unseen": unseen}
            for i, transfer in enumerate((78.92, 75.72, 70.40, 61.96), 1)
            for system, unseen in (("independent", 0.0), ("transfer", transfer), ("FitNet", 0.0))
        }
    },
}


def published(table: str, group: str, name: str) -> Figures:
    """Return the paper's figures of a row; none where it has no such row."""
    return PUBLISHED.get(table, {}).get(group, {}).get(name, {})
