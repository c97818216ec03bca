"""The cloud's part of the main job, one seed at a time: the teacher, and students of every size.

Each function is one job that runs in its own process. All figures are of test images that no
training and no choice has seen.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from pyedge.cloud.compression.report import save_pictures
from pyedge.cloud.training.train import train
from pyedge.cloud.training.transfer import transfer
from pyedge.demo.job import (
    Job,
    batches,
    begin,
    in_order,
    load_sets,
    load_teacher,
    new_teacher,
    options_of,
    plan_of,
    tested,
)


def teacher_job(job: Job) -> dict[str, Any]:
    """Train the teacher on all categories."""
    start = begin(job)
    train_set, val_set, test_set = load_sets(job.folder)
    model = new_teacher(job, train_set)
    result = train(
        model,
        batches(job, train_set, job.preset.augment),
        val=in_order(val_set),
        test=in_order(test_set),
        **options_of(job, job.preset.teacher),
    )
    torch.save(model.state_dict(), job.teacher_file)
    params = sum(parameter.numel() for parameter in model.parameters())
    return {"accuracy": result.test_accuracy, "params": params, "seconds": time.time() - start}


def compression_job(job: Job) -> dict[str, Any]:
    """Cut a student for each threshold; train it with transfer, and on labels only."""
    start = begin(job)
    train_set, val_set, test_set = load_sets(job.folder)
    teacher = load_teacher(job, train_set)
    loader = batches(job, train_set, job.preset.augment)
    plans = plan_of(job, teacher, train_set)
    if job.seed == 0:
        image = next(iter(in_order(test_set)))[0][0]
        save_pictures(plans.at(job.preset.device_threshold), job.pictures, image)
    rows = []
    common = {
        "val": in_order(val_set),
        "test": in_order(test_set),
        **options_of(job, job.preset.student),
    }
    for P in job.preset.thresholds:
        at = plans.at(P)
        student = at.build()
        cut = tested(student, test_set).accuracy
        transferred = transfer(student, teacher, loader, lambdas=job.preset.lambdas, **common)
        alone = train(at.build(), loader, **common)
        rows.append(
            {
                "P": P,
                "params": at.params,
                "macs": at.macs,
                "ratio": at.ratio,
                "widths": at.widths,
                "cut": cut,
                "accuracy": transferred.test_accuracy,
                "independent": alone.test_accuracy,
            }
        )
    return {
        "rows": rows,
        "table": plans.at(job.preset.device_threshold).table(),
        "teacher_macs": plans.teacher.macs,
        "seconds": time.time() - start,
    }
