"""The paper's tables and figure, each by one command, and the systems that it compares with.

    python -m bench.paper table1 --scale smoke      # seconds, on digits and generated images
    python -m bench.paper table3 --scale cpu --seeds 0,1,2 --stop-after 540
    python -m bench.paper table4 --scale paper      # full networks and schedules, for a GPU
    python -m bench.paper report                    # docs/paper.md and one HTML page

A command can be stopped at any moment and given again: what was finished is read from the cache,
and a training goes on from its last evaluation. With `--stop-after` it stops by itself at the first
checkpoint after so many seconds, and ends with status 3 if there is more to do. Figures go to
`bench/results/paper`, one file for each table and scale; what is recorded there is not run again.

`worlds` says what each scale trains, `workshop` makes networks in stages, `table1` to `table7` and
`figure1` are lists of rows, `baselines` other papers' methods, `report` reads the recorded figures.
"""
